"""Which format a file or folder of labels probably has, from its names and its first bytes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

_HEAD = 65536
_FILES = 400  # looked at in a folder before an answer is given
_BY_SUFFIX = {
    ".geojson": "geojson",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".xml": "voc",
    ".yaml": "yolo",
    ".yml": "yolo",
    ".txt": "yolo",
    ".png": "png",
    ".bmp": "png",
    ".gif": "png",
    ".webp": "png",
}


def guess_format(source: Path) -> str | None:
    """The name of the format, None where nothing tells; never raises."""
    try:
        if source.is_dir():
            return _of_folder(source)
        return _of_file(source) if source.is_file() else None
    except OSError:
        return None


def _of_file(path: Path) -> str | None:
    if path.name == "classes.json":  # lies beside our own label maps
        return _of_folder(path.parent)
    if path.suffix.lower() == ".json":
        return _of_json(path)
    return _BY_SUFFIX.get(path.suffix.lower())


def _of_json(path: Path) -> str | None:
    """By the keys that stand at the beginning of the file."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    keys = {found.decode("latin-1") for found in re.findall(rb'"(\w{1,20})"\s*:', head)}
    if "shapes" in keys or "imagePath" in keys:
        return "labelme"
    if b'"FeatureCollection"' in head or ("geometry" in keys and "coordinates" in keys):
        return "geojson"
    if "objects" in keys and "info" in keys and "annotations" not in keys:
        return "isat"
    return "coco" if keys & {"images", "annotations", "categories", "licenses"} else None


def _of_folder(folder: Path) -> str | None:
    names = {entry.lower() for entry in os.listdir(folder)}
    if names & {"segmentationobject", "segmentationclass"}:
        return "voc"
    if "data.yaml" in names or "labels" in names:
        return "yolo"
    found: dict[str, int] = {}
    for path in islice(_files(folder), _FILES):
        guess = _of_file(path) if path.name != "classes.json" and path.is_file() else None
        if guess is not None:
            found[guess] = found.get(guess, 0) + 1
        if guess == "coco":  # one file is everything
            return guess
    return max(found, key=lambda name: found[name]) if found else None


def _files(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(base, name) for name in sorted(names) if not name.startswith("."))
