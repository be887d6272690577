"""PNG out: instance maps, class maps and binary masks, with `classes.json` beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.model import ImageRecord, ObjectRecord
from infosam_studio.interchange import label_maps, runs
from infosam_studio.interchange.class_file import NAME as CLASS_FILE
from infosam_studio.interchange.class_file import write_class_file
from infosam_studio.interchange.exporting import (
    Job,
    by_priority,
    count_overlaps,
    label_names,
    make_parent,
    visible,
)

MAX_INDEX = 65535


def painted_map(
    image: ImageRecord, painted: list[ObjectRecord], values: list[int], dtype: Any
) -> NDArray[Any]:
    """The map [H, W] after painting each object with its value, in this order."""
    canvas = np.zeros(image.height * image.width, dtype)
    for item, value in zip(painted, values, strict=True):
        runs.paint(canvas, runs.toggles(item.mask), value)
    return np.ascontiguousarray(canvas.reshape(image.width, image.height).T)


class InstanceWriter:
    """One uint8 or uint16 map per image: value k is the image's k-th object, 0 background."""

    folder = True
    ending = ".png"

    def write(self, job: Job) -> None:
        job.names = label_names(job.images)
        files: dict[str, Any] = {}
        for image, objects in job.labelled():
            for item in objects[self.highest() :]:
                job.leave_out(image, item, f"the format holds {self.highest():,} objects an image")
            objects = objects[: self.highest()]
            index = {item.id: k for k, item in enumerate(objects, start=1)}
            painted = by_priority(job, objects)
            values = [index[o.id] for o in painted]
            count_overlaps(job, painted, visible(painted))
            name = job.names[image.id] + self.ending
            self.save(
                make_parent(job.place / name),
                painted_map(image, painted, values, self.type_for(len(objects))),
            )
            files[name] = {
                "image": image.path,
                "page": image.page,
                "classes": [o.class_id for o in objects],
            }
            job.report.objects += len(objects)
        write_class_file(job.place, "instances", job.classes, files)
        job.report.files = len(files) + 1

    def highest(self) -> int:
        return MAX_INDEX

    def type_for(self, count: int) -> Any:
        return np.uint8 if count <= 255 else np.uint16

    def save(self, path: Path, values: NDArray[Any]) -> None:
        label_maps.write_index_png(path, values)

    def load(self, path: Path, image: ImageRecord) -> NDArray[Any]:
        return label_maps.read_label_map(path, image.width, image.height, own=True).values

    def check(self, job: Job) -> None:
        """Read every map back: each object has to be where nothing above it lies."""
        for image, objects in job.labelled():
            index = {item.id: k for k, item in enumerate(objects, start=1)}
            painted = by_priority(job, objects)
            values = self.load(job.place / (job.names[image.id] + self.ending), image)
            expected = [(index[o.id], e) for o, e in zip(painted, visible(painted), strict=True)]
            compare(job, values, expected)


def compare(job: Job, values: NDArray[Any], expected: list[tuple[int, runs.Toggles]]) -> None:
    """Compare a map read back with the pixels that every value should have."""
    found = {v: runs.toggles(mask) for v, mask in runs.split_label_map(values).items()}
    wrong = 0
    for value, edges in expected:
        wrong += not np.array_equal(found.pop(value, runs.EMPTY), edges)
    job.report.checked += len(expected)
    job.report.different = (job.report.different or 0) + wrong + len(found)


class SemanticWriter:
    """One palette PNG per image: the values are class ids (uint16 without palette above 255)."""

    folder = True

    def write(self, job: Job) -> None:
        job.names = label_names(job.images)
        files: dict[str, Any] = {}
        colors = {c.id: label_maps.rgb_of(c.color) for c in job.classes} | {0: (0, 0, 0)}
        wide = max((c.id for c in job.classes), default=0) > 255
        for image, objects in job.labelled():
            painted = by_priority(job, objects)
            count_overlaps(job, painted, visible(painted))
            values = [o.class_id for o in painted]
            pixels = painted_map(image, painted, values, np.uint16 if wide else np.uint8)
            name = job.names[image.id] + ".png"
            if wide:
                label_maps.write_index_png(make_parent(job.place / name), pixels)
            else:
                label_maps.write_palette_png(make_parent(job.place / name), pixels, colors)
            files[name] = {"image": image.path, "page": image.page}
            job.report.objects += len(objects)
        write_class_file(job.place, "classes", job.classes, files)
        job.report.files = len(files) + 1

    def check(self, job: Job) -> None:
        """Read every map back: each class has to be where its visible objects are."""
        for image, objects in job.labelled():
            painted = by_priority(job, objects)
            by_class: dict[int, list[runs.Toggles]] = {}
            for item, edges in zip(painted, visible(painted), strict=True):
                by_class.setdefault(item.class_id, []).append(edges)
            path = job.place / (job.names[image.id] + ".png")
            values = label_maps.read_label_map(path, image.width, image.height, own=True).values
            checked = job.report.checked
            expected = [(c, runs.union(parts)) for c, parts in by_class.items()]
            compare(job, values, [(c, e) for c, e in expected if len(e)])
            job.report.checked = checked + len(objects)


@dataclass(frozen=True)
class _Binary:
    name: str
    class_ids: list[int]
    edges: runs.Toggles


class BinaryWriter:
    """A folder per image with one 0/255 PNG per object or per class; nothing is hidden."""

    folder = True

    def write(self, job: Job) -> None:
        job.names = label_names(job.images, taken=[CLASS_FILE])
        files: dict[str, Any] = {}
        for image, objects in job.labelled():
            for binary in self._binaries(job, image, objects):
                canvas = np.zeros(image.height * image.width, np.uint8)
                runs.paint(canvas, binary.edges, 255)
                pixels = canvas.reshape(image.width, image.height).T
                path = make_parent(job.place / binary.name)
                label_maps.write_index_png(path, np.ascontiguousarray(pixels))
                files[binary.name] = {
                    "image": image.path,
                    "page": image.page,
                    "classes": binary.class_ids,
                }
            job.report.objects += len(objects)
        write_class_file(job.place, "binary", job.classes, files)
        job.report.files = len(files) + 1

    def _binaries(
        self, job: Job, image: ImageRecord, objects: list[ObjectRecord]
    ) -> Iterator[_Binary]:
        folder = job.names[image.id]
        if job.options.per == "object":
            for number, item in enumerate(objects):
                name = f"{folder}/{number}_{file_word(job.class_of(item).name)}.png"
                yield _Binary(name, [item.class_id], runs.toggles(item.mask))
            return
        by_class: dict[int, list[ObjectRecord]] = {}
        for item in objects:
            by_class.setdefault(item.class_id, []).append(item)
        used: set[str] = set()
        for class_id, items in by_class.items():
            word = file_word(job.class_of(items[0]).name)
            if word.casefold() in used:
                word = f"{word}_{class_id}"
            used.add(word.casefold())
            edges = runs.union([runs.toggles(i.mask) for i in items])
            yield _Binary(f"{folder}/{word}.png", [class_id], edges)

    def check(self, job: Job) -> None:
        """Read every file back and compare it with its object, or with its class."""
        for image, objects in job.labelled():
            checked = job.report.checked
            for binary in self._binaries(job, image, objects):
                path = job.place / binary.name
                values = label_maps.read_label_map(path, image.width, image.height, own=True).values
                compare(job, values, [(255, binary.edges)])
            job.report.checked = checked + len(objects)


def file_word(name: str) -> str:
    """A class name as part of a file name on every system."""
    word = re.sub(r"[^\w-]+", "_", name).strip("_")
    return word[:60] or "class"
