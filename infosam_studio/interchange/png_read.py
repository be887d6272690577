"""PNG in: instance maps, class maps, palettes, colour-coded maps and binary masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ImageRecord
from infosam_studio.errors import StudioError
from infosam_studio.interchange import label_maps, runs
from infosam_studio.interchange.class_file import ClassFile, read_class_file, read_label_colors
from infosam_studio.interchange.importing import Found, ReadContext
from infosam_studio.interchange.label_files import label_files
from infosam_studio.interchange.matching import NoMatch

ENDINGS = (".png", ".bmp", ".gif", ".webp")
MEANINGS = ("auto", "instances", "classes", "binary")


@dataclass(frozen=True)
class MapReading:
    """What a folder of maps says about its values, beyond the pixels."""

    meaning: str
    file: ClassFile
    colors: dict[int, str]  # names by packed colour
    known_file: bool


def read_png(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a folder of label maps (or of one map)."""
    if context.options.meaning not in MEANINGS:
        raise StudioError(f"The meaning of the maps is one of {', '.join(MEANINGS)}.")
    if source.name == "classes.json":
        source = source.parent
    folder = source if source.is_dir() else source.parent
    own = read_class_file(folder, context)
    colors = read_label_colors(folder, context) | (own.colors if own else {})
    file = own or ClassFile("instances")
    reading = MapReading(context.options.meaning, file, colors, own is not None)
    found = 0
    for path, relative in label_files(source, ENDINGS, context):
        found += 1
        image = _image_of(relative, reading, context)
        if image is not None:
            yield from objects_of_map(path, relative, image, reading, context)
    if not found:
        raise StudioError(f"{source} holds no label maps (PNG, BMP, GIF or WebP).")


def _image_of(relative: str, reading: MapReading, context: ReadContext) -> ImageRecord | None:
    entry = reading.file.files.get(relative)
    if entry is not None:
        page = entry.get("page", 0)
        try:
            return context.images.find(entry.get("image"), page if type(page) is int else 0)
        except NoMatch:
            pass  # the images may have been renamed; the file's own name may still fit
    try:
        return context.images.find_label_file(relative)
    except NoMatch as error:
        folder = PurePosixPath(relative).parent
        if folder.name:  # one folder of binary masks per image, as `predict` writes them
            try:
                return context.images.find_label_file(f"{folder.as_posix()}.png")
            except NoMatch:
                pass
        context.problems.add(relative, str(error))
        return None


def objects_of_map(
    path: Path, relative: str, image: ImageRecord, reading: MapReading, context: ReadContext
) -> Iterator[Found]:
    """The objects of one map, by the meaning of its values."""
    try:
        found = label_maps.read_label_map(path, image.width, image.height, own=reading.known_file)
        for value, mask in _masks(found, reading, context):
            yield Found(image, _class_name(value, relative, found, reading, context), mask)
    except label_maps.BadLabelMap as error:
        context.problems.add(relative, str(error))


def meaning_of(found: label_maps.LabelMap, reading: MapReading) -> str:
    """What the values are, where the user has not said it."""
    if reading.meaning != "auto":
        return reading.meaning
    if reading.known_file:
        return reading.file.kind
    return {"binary": "binary", "colors": "classes", "index": "instances"}[found.kind]


def _masks(
    found: label_maps.LabelMap, reading: MapReading, context: ReadContext
) -> Iterator[tuple[int, Rle]]:
    values = found.values
    meaning = meaning_of(found, reading)
    if meaning == "binary":
        values = np.where(values > 0, values.max(initial=0), 0)
    groups = runs.split_label_map(values)
    if len(groups) > label_maps.MAX_VALUES:
        raise label_maps.BadLabelMap(f"the map has {len(groups):,} values; is it a photograph?")
    split = context.options.components and meaning != "instances"
    for value, mask in groups.items():
        if not split:
            yield value, mask
            continue
        parts = label_maps.parts_of(_bitmap(values, value))
        for part in runs.split_label_map(parts).values():
            yield value, part


def _bitmap(values: NDArray[Any], value: int) -> NDArray[np.bool_]:
    return np.asarray(values == value)


def _class_name(
    value: int,
    relative: str,
    found: label_maps.LabelMap,
    reading: MapReading,
    context: ReadContext,
) -> str:
    default = context.options.default_class
    meaning = meaning_of(found, reading)
    if meaning == "classes":
        return _name_of_class_value(value, found, reading, context)
    ids = reading.file.classes_of(relative)
    place = value - 1 if meaning == "instances" else 0
    if 0 <= place < len(ids):
        return reading.file.names.get(ids[place], default)
    return default


def _name_of_class_value(
    value: int, found: label_maps.LabelMap, reading: MapReading, context: ReadContext
) -> str:
    if found.kind == "colors":
        color = value
    elif value in reading.file.names:
        return reading.file.names[value]
    elif value in found.palette:
        red, green, blue = found.palette[value]
        color = red << 16 | green << 8 | blue
    else:
        return f"class {value}"
    if color in reading.colors:
        return reading.colors[color]
    name = f"class {value}" if found.kind != "colors" else label_maps.hex_of(color)
    context.declare(name, color=label_maps.hex_of(color))
    return name
