"""Damage label files in every way that comes to mind and take them in.

    python tests/benchmarks/fuzz_importers.py --minutes 10 --family coco

A family passes where every import either answers with a report or with one sentence for the
user, where what came in is sound and goes away again with one undo, and where a refused file
leaves no trace. Inputs that break this are kept in the folder named by --keep.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.importing import ImportOptions
from infosam_studio.interchange.registry import exporter, importer

SIZES = {"a.png": (24, 18), "b.jpg": (17, 31), "sub/c.png": (40, 12), "sub/a.png": (9, 9)}
# Family -> (export formats whose files are damaged, the importer that reads them)
FAMILIES = {
    "coco": (("coco",), "coco"),
    "png": (("png", "png-semantic", "png-binary"), "png"),
    "yolo": (("yolo",), "yolo"),
    "voc": (("voc",), "voc"),
    "labelme": (("labelme",), "labelme"),
    "isat": (("labelme",), "isat"),
    "geojson": (("geojson",), "geojson"),
    "tiff": (("tiff",), "tiff"),
}
STRANGE: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1.5, -0.0, 1e-300, 1e300, -1e300, 2**31, 2**63, -(2**63),
    10**30, float("nan"), float("inf"), "", " ", "a", "a.png", "../a.png", "/etc/passwd",
    "C:\\a.png", "\ud800", "\x00", "😀" * 50, "x" * 5000, "#ffffff", "1", "nan",
    [], [[]], [[[]]], {}, {"a": 1},
    [1, 2], [1, 2, 3, 4, 5, 6], [[1, 2], [3, 4], [5, 6]], ["a"] * 6, [None] * 6,
    {"size": [18, 24], "counts": [1, 2, 3]}, {"size": [18, 24], "counts": "0"},
    {"size": [10**9, 10**9], "counts": [10**18]}, "polygon", "mask", "Polygon", "MultiPolygon",
]  # fmt: skip
TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"null", b"NaN", b"-", b"1e999",
    b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"9" * 5000, b"[" * 3000, b"\\ud800", b"\n",
    b"nan", b"inf", b"0 ",
]  # fmt: skip


def make_project(folder: Path, name: str) -> Project:
    images = folder / "images"
    for number, (path, (width, height)) in enumerate(SIZES.items()):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((height, width), 9 * number, np.uint8)
        Image.fromarray(pixels).save(images / path)
    project = Project.create(folder / name, images)
    project.scan()
    return project


def seeds(folder: Path, formats: tuple[str, ...], family: str) -> list[Path]:
    """Good label files of a family, one folder each."""
    rng = np.random.default_rng(0)
    found = []
    with make_project(folder, "seed-project") as project:
        classes = [project.add_class(n).id for n in ("cell", "Kern ü", "a b:c")]
        for image in project.images():
            bitmaps = [rng.random((image.height, image.width)) < p for p in (0.5, 0.1, 0.9, 0.02)]
            project.add_objects(
                [
                    ObjectRecord(0, image.id, classes[k % 3], masks.encode(b))
                    for k, b in enumerate(bitmaps)
                    if b.any()
                ]
            )
        for format in formats:
            for geometry in ("auto", "rle", "polygon"):
                out = folder / f"seed-{format}-{geometry}"
                out.mkdir(exist_ok=True)
                place = out / "labels.json" if format == "coco" else out / "labels"
                options = ExportOptions(geometry=geometry, check=False)
                exporter(format)(project, place, options=options)
                found.append(out)
    if family == "isat":
        for out in found:
            for path in out.rglob("*.json"):
                path.write_text(json.dumps(as_isat(json.loads(path.read_text()))))
    return found


def as_isat(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "info": {
            "description": "ISAT",
            "name": content["imagePath"],
            "width": content["imageWidth"],
            "height": content["imageHeight"],
        },
        "objects": [
            {
                "category": "__background__" if k % 3 == 2 else s["label"],
                "group": k // 2,
                "layer": float(k),
                "segmentation": s["points"],
                "iscrowd": False,
            }
            for k, s in enumerate(content["shapes"])
        ],
    }


def damage_json(data: bytes, rng: random.Random) -> bytes:
    """Replace, drop or repeat parts of the structure."""
    try:
        content = json.loads(data)
    except ValueError:  # a renamed file that is damaged already has taken this one's place
        return damage_bytes(data, rng)
    for _ in range(rng.randint(1, 6)):
        holder, key = random_place(content, rng)
        if holder is None:
            break
        action = rng.random()
        if action < 0.65:
            holder[key] = copy.deepcopy(rng.choice(STRANGE))
        elif action < 0.8:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[rng.randrange(len(holder))]))
        else:
            holder[str(rng.choice(STRANGE))[:50]] = copy.deepcopy(holder[key])
    return json.dumps(content, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")


def random_place(content: Any, rng: random.Random) -> tuple[Any, Any]:
    """Some container inside the content and one of its keys."""
    node, place = content, (None, None)
    while isinstance(node, dict | list) and node:
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        place = (node, key)
        if rng.random() < 0.25:
            break
        node = node[key]
    return place


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, insert, repeat."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(changed) + 1)
        action = rng.randrange(5)
        if action == 0 and changed:
            changed[at % len(changed)] = rng.randrange(256)
        elif action == 1:
            del changed[at : at + rng.choice((1, 2, 10, 100))]
        elif action == 2:
            changed[at:at] = rng.choice(TOKENS)
        elif action == 3:
            changed[at:at] = changed[at : at + rng.choice((1, 10, 200))]
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def random_picture(path: Path, rng: random.Random) -> None:
    """A picture of some mode, often of the right size."""
    numbers = np.random.default_rng(rng.randrange(2**32))
    width, height = rng.choice([*SIZES.values(), (1, 1), (300, 2)])
    mode = rng.choice(["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK", "F"])
    pixels = numbers.integers(0, rng.choice((2, 5, 256)), (height, width)).astype(np.uint8)
    image = Image.fromarray(pixels)
    if mode == "I;16":
        image = Image.fromarray(pixels.astype(np.uint16) * 200)
    elif mode != "L":
        image = image.convert(mode)
    kind = rng.choice(["PNG", "GIF", "BMP", "TIFF", "WEBP"])
    try:
        image.save(path, format=kind)
    except (OSError, ValueError, KeyError):
        Image.fromarray(pixels).save(path, format="PNG")


def damage_folder(folder: Path, rng: random.Random) -> None:
    """Damage some of the files of a copy of good ones."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    for path in rng.sample(files, k=min(len(files), rng.randint(1, 3))):
        data = path.read_bytes()
        if path.suffix in (".json", ".geojson") and rng.random() < 0.6:
            data = damage_json(data, rng)
        elif path.suffix in (".png", ".tif") and rng.random() < 0.3:
            random_picture(path, rng)
            data = path.read_bytes()
        else:
            data = damage_bytes(data, rng)
        path.write_bytes(data)
        if rng.random() < 0.05:
            path.rename(path.with_name(rng.choice(["stranger", "a", "b.jpg"]) + path.suffix))


STOP = threading.Event()  # asked to end: what was counted so far is told


def stop(_signal: int, _frame: object) -> None:
    STOP.set()


class Broken(Exception):
    """An import did something that it must never do."""


def check_import(project: Project, format: str, source: Path, options: ImportOptions) -> str:
    """Run one import; "read" or "refused"; raises where a promise is broken."""
    started = time.process_time()
    try:
        report = importer(format)(project, source, options=options)
    except StudioError as error:
        if project.objects() or project.classes() or project.can_undo():
            raise Broken("refused, but something came in") from error
        if "\n" in str(error) or not str(error).strip():
            raise Broken("the refusal is no sentence") from error
        return "refused"
    objects = project.objects()
    if len(objects) != report.objects:
        raise Broken(f"{report.objects} reported, {len(objects)} came in")
    sizes = {i.id: (i.height, i.width) for i in project.images()}
    for item in objects:
        if masks.decode(item.mask).shape != sizes[item.image_id] or not masks.area(item.mask):
            raise Broken("an unsound mask came in")
    json.dumps(report.to_json(), allow_nan=False).encode()
    if objects:
        project.undo()
    if project.objects() or project.classes() or project.can_undo():
        raise Broken("one undo did not take it back")
    if time.process_time() - started > 20:
        raise Broken("it took over 20 seconds")
    return "read"


def fuzz(
    family: str, minutes: float, seed: int, keep: Path, most_cases: int = 10**9
) -> dict[str, Any]:
    """Damage and read for so many minutes of processor time; the counts of what happened."""
    formats, reader = FAMILIES[family]
    outcome: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    busy = time.process_time()  # of this process: other work on the machine does not count
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = seeds(folder, formats, family)
        project = make_project(folder, "target")
        number = 0
        while (
            time.process_time() - busy < 60 * minutes and number < most_cases and not STOP.is_set()
        ):
            number += 1
            rng = random.Random(f"{seed}/{number}")
            case = folder / "case"
            shutil.rmtree(case, ignore_errors=True)
            shutil.copytree(rng.choice(good), case)
            damage_folder(case, rng)
            found = sorted(case.iterdir())
            options = ImportOptions(
                meaning=rng.choice(["auto", "instances", "classes", "binary"]),
                components=rng.random() < 0.3,
            )
            try:
                source = rng.choice(found)
                outcome[check_import(project, reader, source, options)] += 1
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                broken[
                    f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}: {error}"[
                        :200
                    ]
                ] += 1
                shutil.copytree(case, keep / f"{family}-{seed}-{number}", dirs_exist_ok=True)
                traceback.print_exc()
                project.close()
                shutil.rmtree(folder / "target")
                project = make_project(folder, "target")
        sound = project.check(full=True) == []
        project.close()
    return {
        "family": family,
        "seed": seed,
        "minutes": minutes,
        "cpu_s": round(time.process_time() - busy, 1),
        "cases": number,
        **outcome,
        "broken": dict(broken),
        "project_sound": sound,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="of processor time, for each family"
    )
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-broken")
    args = parser.parse_args()
    failed = False
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for family in args.family or FAMILIES:
        result = fuzz(family, args.minutes, args.seed, args.keep)
        print(json.dumps(result), flush=True)
        failed |= bool(result["broken"]) or not result["project_sound"]
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
