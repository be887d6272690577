"""Pascal VOC segmentation: `SegmentationObject` and `SegmentationClass` palette PNGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from infosam_studio.annotation.masks import Rle, bbox, decode_window
from infosam_studio.annotation.model import ImageRecord, ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.interchange import label_maps, runs
from infosam_studio.interchange.class_file import ClassFile, read_label_colors
from infosam_studio.interchange.exporting import (
    Job,
    by_priority,
    copy_image,
    count_overlaps,
    label_names,
    make_parent,
    visible,
)
from infosam_studio.interchange.importing import Found, ReadContext
from infosam_studio.interchange.label_files import label_files
from infosam_studio.interchange.png_read import MapReading, objects_of_map
from infosam_studio.interchange.png_write import compare, painted_map

MAX_VALUE = 254  # 255 is VOC's border between objects
# fmt: off
CLASSES_2012 = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)
# fmt: on


class VocWriter:
    """The folders of a VOC data set; images are copied into `JPEGImages` where asked for."""

    folder = True

    def write(self, job: Job) -> None:
        job.names = label_names(job.images)
        sets: dict[str, list[str]] = {"train": [], "val": [], "trainval": []}
        for image, objects in job.labelled():
            objects = self._fitting(job, image, objects)
            painted = by_priority(job, objects)
            count_overlaps(job, painted, visible(painted))
            name = job.names[image.id]
            for folder, values in self._values(job, objects, painted).items():
                pixels = painted_map(image, painted, values, np.uint8)
                path = make_parent(job.place / folder / f"{name}.png")
                label_maps.write_palette_png(path, pixels, {})
            sets[image.split or "train"].append(name)
            sets["trainval"].append(name)
            if job.options.copy_images:
                ending = PurePosixPath(image.path).suffix
                copy_image(job, image, job.place / "JPEGImages" / f"{name}{ending}")
            job.report.objects += len(objects)
            job.report.files += 2
        self._write_lists(job, sets)

    def _fitting(
        self, job: Job, image: ImageRecord, objects: list[ObjectRecord]
    ) -> list[ObjectRecord]:
        numbers = _class_values(job)
        for item in objects:
            if numbers[item.class_id] > MAX_VALUE:
                job.leave_out(image, item, f"VOC holds {MAX_VALUE} classes")
        objects = [o for o in objects if o.id not in job.left_out]
        for item in objects[MAX_VALUE:]:
            job.leave_out(image, item, f"VOC holds {MAX_VALUE} objects an image")
        return objects[:MAX_VALUE]

    def _values(
        self, job: Job, objects: list[ObjectRecord], painted: list[ObjectRecord]
    ) -> dict[str, list[int]]:
        index = {item.id: k for k, item in enumerate(objects, start=1)}
        numbers = _class_values(job)
        return {
            "SegmentationObject": [index[o.id] for o in painted],
            "SegmentationClass": [numbers[o.class_id] for o in painted],
        }

    def _write_lists(self, job: Job, sets: dict[str, list[str]]) -> None:
        folder = job.place / "ImageSets" / "Segmentation"
        folder.mkdir(parents=True)
        for name, entries in sets.items():
            (folder / f"{name}.txt").write_text(
                "".join(f"{e}\n" for e in entries), encoding="utf-8"
            )
        lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
        for number, found in enumerate(job.classes[:MAX_VALUE], start=1):
            red, green, blue = label_maps.voc_color(number)
            lines.append(f"{found.name.replace(':', ' ')}:{red},{green},{blue}::")
        (job.place / "labelmap.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        job.report.files += len(sets) + 1

    def check(self, job: Job) -> None:
        """Read both maps of every image back and compare them with the visible objects."""
        for image, objects in job.labelled():
            painted = by_priority(job, objects)
            left = visible(painted)
            checked = job.report.checked
            for folder, values in self._values(job, objects, painted).items():
                path = job.place / folder / f"{job.names[image.id]}.png"
                found = label_maps.read_label_map(path, image.width, image.height, own=True)
                by_value: dict[int, list[runs.Toggles]] = {}
                for value, edges in zip(values, left, strict=True):
                    by_value.setdefault(value, []).append(edges)
                whole = [(v, runs.union(parts)) for v, parts in by_value.items()]
                compare(job, found.values, [(v, e) for v, e in whole if len(e)])
            job.report.checked = checked + len(objects)


def _class_values(job: Job) -> dict[int, int]:
    return {c.id: k for k, c in enumerate(job.classes, start=1)}


def read_voc(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a VOC data set, or of its classes alone where it has no objects."""
    if not source.is_dir():
        raise StudioError(f"{source} is not a folder; name the VOC data set's folder.")
    root = source.parent if source.name.startswith("Segmentation") else source
    object_maps, class_maps = root / "SegmentationObject", root / "SegmentationClass"
    colors = read_label_colors(root, context)
    if not colors:
        colors = {_packed(k): name for k, name in enumerate(CLASSES_2012)}
    colors = {color: name for color, name in colors.items() if color}
    reading = MapReading("classes", ClassFile("classes"), colors, False)
    folder = object_maps if object_maps.is_dir() else class_maps
    if not folder.is_dir():
        raise StudioError(f"{source} has neither SegmentationObject nor SegmentationClass.")
    for path, relative in label_files(folder, (".png",), context):
        image = context.find_label_file(relative)
        if image is None:
            continue
        if folder == class_maps:
            yield from objects_of_map(path, relative, image, reading, context)
        else:
            yield from _objects(path, class_maps / relative, relative, image, colors, context)


def _packed(value: int) -> int:
    red, green, blue = label_maps.voc_color(value)
    return red << 16 | green << 8 | blue


def _objects(
    path: Path,
    class_path: Path,
    relative: str,
    image: ImageRecord,
    colors: dict[int, str],
    context: ReadContext,
) -> Iterator[Found]:
    try:
        found = label_maps.read_label_map(path, image.width, image.height)
        classes = None
        if class_path.is_file():
            classes = label_maps.read_label_map(class_path, image.width, image.height)
    except label_maps.BadLabelMap as error:
        context.problems.add(relative, str(error))
        return
    void = {label_maps.VOID} if found.kind == "index" else {0xE0E0C0}
    groups = runs.split_label_map(found.values)
    if len(groups) > label_maps.MAX_VALUES:
        context.problems.add(relative, f"the map has {len(groups):,} values")
        return
    for value, mask in groups.items():
        if value not in void:
            yield Found(image, _class_name(mask, classes, colors, context), mask)


def _class_name(
    mask: Rle,
    classes: label_maps.LabelMap | None,
    colors: dict[int, str],
    context: ReadContext,
) -> str:
    """The class that most of the object's pixels have in the class map."""
    if classes is None:
        return context.options.default_class
    x, y, width, height = bbox(mask)
    inside = decode_window(mask, x, y, x + width, y + height)
    values = classes.values[y : y + height, x : x + width][inside]
    present, times = np.unique(
        values[(values != 0) & (values != label_maps.VOID)], return_counts=True
    )
    if not len(present):
        return context.options.default_class
    value = int(present[times.argmax()])
    if classes.kind == "colors":
        color = value
    elif value in classes.palette:
        red, green, blue = classes.palette[value]
        color = red << 16 | green << 8 | blue
    else:
        color = _packed(value)
    return colors.get(color, f"class {value}" if classes.kind != "colors" else f"#{value:06x}")
