"""Throughput and peak memory of labels in and out.

    python tests/benchmarks/bench_interchange.py --images 10000 --objects 20

Makes a project of small images with discs and rings, then runs every stage in a process of its
own and prints one JSON line for each: processor seconds (other work on the machine does not
count), objects a second, peak resident memory, and how much of that the stage added.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDE = 128
ROUND_TRIPS = (("coco", "coco"), ("png", "png"), ("yolo", "yolo"))


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def make_images(folder: Path, count: int) -> None:
    """Small PNG files, each of other content, spread over folders."""
    import numpy as np
    from PIL import Image

    for number in range(count):
        path = folder / f"{number // 1000:02d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((SIDE, SIDE), np.uint8)
        pixels[0, :4] = [number >> shift & 255 for shift in (0, 8, 16, 24)]
        Image.fromarray(pixels).save(path, compress_level=1)


def stage_project(work: Path, images: int, objects: int) -> int:
    """A project with its labels, added image by image."""
    import numpy as np

    from infosam_studio.annotation import masks
    from infosam_studio.annotation.model import ObjectRecord
    from infosam_studio.annotation.project import Project

    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    shapes = []
    for _ in range(200):
        x, y, radius = rng.uniform(10, SIDE - 10), rng.uniform(10, SIDE - 10), rng.uniform(3, 16)
        distance = np.hypot(columns - x, rows - y)
        shapes.append(
            masks.encode((distance <= radius) & (distance > rng.choice([-1, radius / 2])))
        )
    with Project.create(work / "one", work / "images") as project:
        project.scan()
        class_id = project.add_class("cell").id
        with project.bulk("Labels"):
            for image in project.images():
                chosen = rng.integers(0, len(shapes), objects)
                project.add_objects(
                    [ObjectRecord(0, image.id, class_id, shapes[k]) for k in chosen]
                )
    return images * objects


def stage_empty(work: Path, _images: int, _objects: int) -> int:
    from infosam_studio.annotation.project import Project

    with Project.create(work / "two", work / "images") as project:
        project.scan()
    return 0


def stage_export(work: Path, format: str) -> int:
    from infosam_studio.annotation.project import Project
    from infosam_studio.interchange.registry import exporter

    with Project.open(work / "one", read_only=True) as project:
        report = exporter(format)(project, work / f"out-{format}")
    assert report.different == 0, report.summary
    return report.objects


def stage_import(work: Path, format: str) -> int:
    """Take the labels in, as one step that is undone again."""
    from infosam_studio.annotation.project import Project
    from infosam_studio.interchange.registry import importer

    with Project.open(work / "two") as project:
        report = importer(format)(project, work / f"out-{format}")
        assert len(project.history()) == 1
        assert report.problems.count == 0, report.summary
    return report.objects


def stage_undo(work: Path, _format: str) -> int:
    from infosam_studio.annotation.project import Project

    with Project.open(work / "two") as project:
        step = project.undo()
        assert not project.object_counts()
    return 0 if step is None else step.changes


def run_stage(name: str, work: Path, images: int, objects: int, format: str) -> dict[str, Any]:
    import infosam_studio.interchange.registry  # noqa: F401  (its memory is there before)

    before, started = peak_mb(), time.process_time()
    if name in ("project", "empty"):
        stages = {"project": stage_project, "empty": stage_empty}
        done = stages[name](work, images, objects)
    else:
        done = {"export": stage_export, "import": stage_import, "undo": stage_undo}[name](
            work, format
        )
    seconds = time.process_time() - started
    return {
        "stage": f"{name} {format}".strip(),
        "images": images,
        "objects": done,
        "cpu_s": round(seconds, 2),
        "objects_per_s": round(done / seconds) if done else None,
        "peak_mb": peak_mb(),
        "added_mb": round(peak_mb() - before, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=20, help="on each image")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--format", default="", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        result = run_stage(args.stage, args.work, args.images, args.objects, args.format)
        print(json.dumps(result), flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_images(work / "images", args.images)
        stages = [("project", ""), ("empty", "")]
        for out, back in ROUND_TRIPS:
            stages += [("export", out), ("import", back), ("undo", back)]
        for stage, format in stages:
            command = [sys.executable, __file__, "--stage", stage, "--work", name]
            command += ["--images", str(args.images), "--objects", str(args.objects)]
            subprocess.run([*command, "--format", format], check=True)


if __name__ == "__main__":
    main()
