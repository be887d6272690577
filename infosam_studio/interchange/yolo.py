"""YOLO segmentation: `labels/*.txt` with one outline a line, and `data.yaml`.

The format knows neither holes nor parts, so the rings of an object are joined by bridges that
enclose nothing; reading them back gives the very same pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ClassRecord, ImageRecord, ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.interchange import runs
from infosam_studio.interchange.exporting import Job, copy_image, label_names, make_parent
from infosam_studio.interchange.importing import Found, ReadContext, clean_name
from infosam_studio.interchange.label_files import label_files, read_head
from infosam_studio.interchange.matching import ImageIndex
from infosam_studio.interchange.rings import BadPolygon, Points, bridged, checked, rings_of

DIGITS = 10
MAX_LINE = 4_000_000
MAX_FILE = 256 << 20
MAX_NAMES = 1 << 20
NOT_LABELS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt", "obj.names"})


class YoloWriter:
    """`data.yaml`, `labels/train`, `labels/val`; with `copy_images` also `images/...`."""

    folder = True

    def write(self, job: Job) -> None:
        job.names = _names(job)
        numbers = {c.id: k for k, c in enumerate(job.classes)}
        for image, objects in job.labelled():
            lines = []
            for item in objects:
                polygons = masks.rle_polygons(item.mask)
                if job.options.holes == "refuse" and any(p.holes for p in polygons):
                    job.leave_out(image, item, "it has a hole, which YOLO cannot say")
                    continue
                ring = bridged([ring for p in polygons for ring in rings_of(p)])
                lines.append(_line(numbers[item.class_id], ring, image))
            path = make_parent(self._label_path(job, image))
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            if job.options.copy_images:
                name = f"{job.names[image.id]}{PurePosixPath(image.path).suffix}"
                folder = job.place / "images" / (image.split or "train")
                copy_image(job, image, folder / name)
            job.report.objects += len(lines)
            job.report.files += 1
        self._write_yaml(job)
        job.report.files += 1

    def _label_path(self, job: Job, image: ImageRecord) -> Path:
        return job.place / "labels" / (image.split or "train") / f"{job.names[image.id]}.txt"

    def _write_yaml(self, job: Job) -> None:
        splits = {image.split or "train" for image in job.images} | {"train"}
        lines = ["path: ."]
        # YOLO wants a validation part; where the project has none it is the training part.
        lines += ["train: images/train", f"val: images/{'val' if 'val' in splits else 'train'}"]
        if not job.options.copy_images:
            lines.append("# Put the images into these folders, as the labels lie in labels/.")
        lines += ["names:"]
        # JSON strings are YAML strings, whatever the name contains.
        lines += [
            f"  {k}: {json.dumps(c.name, ensure_ascii=False)}" for k, c in enumerate(job.classes)
        ]
        (job.place / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def check(self, job: Job) -> None:
        """Read every line back and compare its pixels and class with the object's."""
        for image, objects in job.labelled():
            lines = self._label_path(job, image).read_text(encoding="utf-8").splitlines()
            wrong = abs(len(lines) - len(objects))
            for line, item in zip(lines, objects, strict=False):
                wrong += not _same(line, item, image, job.classes)
            job.report.checked += len(objects)
            job.report.different = (job.report.different or 0) + wrong


def _names(job: Job) -> dict[int, str]:
    """Names below `labels/train` and so on that do not read as those of another image.

    Where the images have a folder `train` themselves, `labels/train/a.txt` would be the label of
    `train/a.jpg` as well as of `a.jpg`; that of the latter is then called `a.jpg.txt`.
    """
    names = label_names(job.images)
    index = ImageIndex(job.project.images())
    for image in job.images:
        if index.has(f"{image.split or 'train'}/{names[image.id]}.txt"):
            names[image.id] += PurePosixPath(image.path).suffix
    return names


def _line(number: int, ring: Points, image: ImageRecord) -> str:
    relative = ring / np.array([image.width, image.height], np.float64)
    return f"{number} " + " ".join(f"{v:.{DIGITS}g}" for v in relative.ravel())


def _same(line: str, item: ObjectRecord, image: ImageRecord, classes: list[ClassRecord]) -> bool:
    try:
        number, mask = _parse_line(line, image)
    except BadPolygon:
        return False
    same = np.array_equal(runs.toggles(mask), runs.toggles(item.mask))
    return same and classes[number].id == item.class_id


def _parse_line(line: str, image: ImageRecord) -> tuple[int, Rle]:
    if len(line) > MAX_LINE:
        raise BadPolygon("the line is absurdly long")
    words = line.split()
    try:
        number = float(words[0])
        values = np.array(words[1:], dtype=np.float64)
    except ValueError as error:
        raise BadPolygon("the line has something that is not a number") from error
    if number != number or number < 0 or number > 1e6 or number != int(number):
        raise BadPolygon("the class is not a number from 0 on")
    if len(values) == 4:
        raise BadPolygon("it has a box but no mask")
    if len(values) % 2:
        raise BadPolygon("an outline has half a point")
    points = checked(values.reshape(-1, 2))
    if np.abs(points).max() > 10:
        raise BadPolygon("the coordinates are not shares of the image's size")
    pixels = points * np.array([image.width, image.height], np.float64)
    try:
        return int(number), runs.polygons_rle([pixels], image.height, image.width)
    except ValueError as error:
        raise BadPolygon(str(error)) from error


def read_yolo(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a YOLO data set: its folder, its `data.yaml`, or its labels."""
    root = source if source.is_dir() else source.parent
    names = _class_names(source, root, context)
    labels = source if source.suffix.lower() == ".txt" else root
    if labels.is_dir() and (root / "labels").is_dir():
        labels = root / "labels"
    found = 0
    for path, relative in label_files(labels, (".txt",), context):
        name = _without_split(relative, context)
        if path.name in NOT_LABELS and not context.images.has(name):
            continue
        found += 1
        image = context.find_label_file(name)
        if image is not None:
            yield from _objects(path, relative, image, names, context)
    if not found:
        raise StudioError(f"{source} holds no YOLO label files (.txt).")


def _without_split(relative: str, context: ReadContext) -> str:
    """`train/sub/a.txt` is the label of `sub/a.jpg`, unless the images have such a folder too."""
    first, _, rest = relative.partition("/")
    if rest and first in ("train", "val", "valid", "test") and not context.images.has(relative):
        return rest
    return relative


def _objects(
    path: Path, relative: str, image: ImageRecord, names: dict[int, str], context: ReadContext
) -> Iterator[Found]:
    if not image.width:
        context.problems.add(relative, "the image cannot be read, so its labels have no place")
        return
    try:
        if path.stat().st_size > MAX_FILE:
            context.problems.add(relative, "the file is too large for one image")
            return
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), start=1):
                if not line.strip():
                    continue
                try:
                    class_number, mask = _parse_line(line, image)
                except BadPolygon as error:
                    context.problems.add(f"{relative}, line {number}", str(error))
                    continue
                name = names.get(class_number, f"class {class_number}")
                yield Found(image, name, mask)
    except OSError as error:
        context.problems.add(relative, f"the file cannot be read: {error.strerror}")


def _class_names(source: Path, root: Path, context: ReadContext) -> dict[int, str]:
    """The names in `data.yaml` (or any .yaml beside the labels) or `classes.txt`."""
    folders = (root, root.parent, root.parent.parent)
    candidates = [source] if source.suffix.lower() in (".yaml", ".yml") else []
    candidates += [f / n for f in folders for n in ("data.yaml", "dataset.yaml", "data.yml")]
    for path in candidates:
        if path.is_file():
            return _yaml_names(path, context)
    for path in (f / n for f in folders for n in ("classes.txt", "obj.names")):
        if path.is_file():
            lines = read_head(path, MAX_NAMES).decode("utf-8", "replace").splitlines()
            return {k: clean_name(line, f"class {k}") for k, line in enumerate(lines)}
    return {}


def _yaml_names(path: Path, context: ReadContext) -> dict[int, str]:
    import yaml  # type: ignore[import-untyped]

    try:
        content = yaml.safe_load(read_head(path, MAX_NAMES))
    # A recursive or damaged file may raise anything from the parser's depths.
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OSError) as error:
        context.problems.add(path.name, f"the class names cannot be read ({type(error).__name__})")
        return {}
    names: Any = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        context.problems.add(path.name, "the file has no class names")
        return {}
    return {
        int(k): clean_name(v, f"class {k}")
        for k, v in list(names.items())[:10_000]
        if str(k).isdigit() and len(str(k)) < 9
    }
