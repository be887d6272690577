"""LabelMe JSON, one file per image (X-AnyLabeling writes the same with more fields)."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ImageRecord, ObjectRecord
from infosam_studio.interchange import runs
from infosam_studio.interchange.exporting import Job, copy_image, label_names, make_parent
from infosam_studio.interchange.importing import Found, ReadContext, clean_name
from infosam_studio.interchange.json_stream import load_small
from infosam_studio.interchange.keeping import storable
from infosam_studio.interchange.label_files import label_objects
from infosam_studio.interchange.rings import (
    BadPolygon,
    Points,
    bridged,
    checked,
    pairs,
    parse_pairs,
    rings_of,
)

VERSION = "5.5.0"
CIRCLE_POINTS = 360
SHAPE_KEYS = frozenset({"label", "points", "shape_type", "mask", "group_id"})


class LabelmeWriter:
    """A JSON file per image: polygons, the parts of an object sharing a group; masks for holes."""

    folder = True

    def write(self, job: Job) -> None:
        job.names = label_names(job.images)
        for image, objects in job.labelled():
            content: dict[str, Any] = {
                "version": VERSION,
                "flags": {},
                "shapes": list(_shapes(job, objects)),
                "imagePath": PurePosixPath(image.path).name,
                "imageData": None,
                "imageHeight": image.height,
                "imageWidth": image.width,
            }
            path = make_parent(self._path(job, image))
            if job.options.copy_images:
                # Two images of one name may lie in one folder here.
                copy = _free_name(path, PurePosixPath(image.path))
                content["imagePath"] = copy.name
                copy_image(job, image, copy)
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            job.report.objects += len(objects)
            job.report.files += 1

    def _path(self, job: Job, image: ImageRecord) -> Path:
        return job.place / f"{job.names[image.id]}.json"

    def check(self, job: Job) -> None:
        """Read every file back and compare each object's pixels and class."""
        for image, objects in job.labelled():
            shapes = load_small(self._path(job, image))["shapes"]
            found = [g for g, _ in _groups(shapes, image, lambda _item, _reason: None)]
            wrong = abs(len(found) - len(objects))
            for (name, mask, _), item in zip(found, objects, strict=False):
                same = np.array_equal(runs.toggles(mask), runs.toggles(item.mask))
                wrong += not (same and name == clean_name(job.class_of(item).name, ""))
            job.report.checked += len(objects)
            job.report.different = (job.report.different or 0) + wrong


def _free_name(label_file: Path, image: PurePosixPath) -> Path:
    """Where the copy of an image goes: its own name, or the label file's where that is taken."""
    place = label_file.with_name(image.name)
    return label_file.with_name(label_file.stem + image.suffix) if place.exists() else place


def _shapes(job: Job, objects: list[ObjectRecord]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(objects, start=1):
        polygons = masks.rle_polygons(item.mask)
        kept = item.extra.get("labelme")
        shape = {
            "flags": {},
            "description": "",
            **({k: v for k, v in kept.items() if k not in SHAPE_KEYS} if kept else {}),
            "label": job.class_of(item).name,
            "group_id": number if len(polygons) > 1 else None,
        }
        holes = any(p.holes for p in polygons)
        if job.options.geometry == "rle" or (holes and job.options.geometry == "auto"):
            yield {**shape, "group_id": None, "shape_type": "mask", **_mask_shape(item.mask)}
            continue
        for polygon in polygons:
            ring = bridged(rings_of(polygon))
            yield {**shape, "shape_type": "polygon", "points": pairs(ring)}


def _mask_shape(mask: Rle) -> dict[str, Any]:
    """LabelMe's mask: the corners' pixels (both inside) and a PNG of what lies between."""
    x, y, width, height = masks.bbox(mask)
    window = masks.decode_window(mask, x, y, x + width, y + height)
    data = io.BytesIO()
    Image.fromarray(window).save(data, format="PNG")
    return {
        "points": [[x, y], [x + width - 1, y + height - 1]],
        "mask": base64.b64encode(data.getvalue()).decode("ascii"),
    }


def read_labelme(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a folder of LabelMe files (or of one)."""
    for content, relative in label_objects(source, context, _is_labelme, "a LabelMe"):
        yield from _objects(content, relative, context)


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def image_beside(name: Any, relative: str, context: ReadContext) -> ImageRecord | None:
    """The image that a label file names (seen from its own folder), or is itself named after."""
    folder = PurePosixPath(relative).parent.as_posix()
    if isinstance(name, str) and name.strip():
        for candidate in (f"{folder}/{name}", name):
            if image := context.images.peek(candidate):
                return context.find(relative, image.path, image.page)
    return context.find_label_file(relative)


def _objects(content: dict[str, Any], relative: str, context: ReadContext) -> Iterator[Found]:
    image = image_beside(content.get("imagePath"), relative, context)
    size = content.get("imageWidth"), content.get("imageHeight")
    if image is None or (all(size) and not context.fits(relative, image, *size)):
        return

    def report(item: str, reason: str) -> None:
        context.problems.add(f"{relative}, {item}", reason)

    for (name, mask, extra), first in _groups(content["shapes"], image, report):
        kept = storable(extra) if extra else None
        if extra and kept is None:
            report(f"shape {first + 1}", "its further fields are too deep or too large to keep")
        label = clean_name(name, context.options.default_class)
        yield Found(image, label, mask, {"labelme": kept} if kept else {})


Group = tuple[str, Rle, dict[str, Any]]


def _groups(shapes: list[Any], image: ImageRecord, report: Any) -> Iterator[tuple[Group, int]]:
    """Label, mask and further fields of every object; shapes of one label and group are one."""
    height, width = image.height, image.width
    members: dict[Any, list[int]] = {}
    parts: dict[int, runs.Toggles] = {}
    for number, shape in enumerate(shapes):
        try:
            parts[number] = _shape_toggles(shape, height, width)
        except (BadPolygon, ValueError) as error:
            report(f"shape {number + 1}", str(error))
            continue
        group = shape.get("group_id")
        grouped = isinstance(group, int | str) and not isinstance(group, bool)
        key = (str(shape.get("label")), group) if grouped else number
        members.setdefault(key, []).append(number)
    for numbers in members.values():
        first = shapes[numbers[0]]
        edges = runs.union([parts[n] for n in numbers])
        extra = {
            k: v for k, v in first.items() if k not in SHAPE_KEYS and v not in (None, "", {}, [])
        }
        name = clean_name(first.get("label"), "")
        yield (name, runs.from_toggles(edges, height, width), extra), numbers[0]


def _shape_toggles(shape: Any, height: int, width: int) -> runs.Toggles:
    if not isinstance(shape, dict):
        raise BadPolygon("not a shape")
    kind = shape.get("shape_type") or "polygon"
    if kind == "mask":
        return _mask_toggles(shape, height, width)
    points = parse_shape_points(shape.get("points"), kind)
    return runs.toggles(runs.polygons_rle([points], height, width))


def parse_shape_points(values: Any, kind: Any) -> Points:
    """The outline of a polygon, rectangle or circle; raises `BadPolygon`."""
    if kind in ("polygon", "rotation", "quadrilateral"):
        return parse_pairs(values)
    if kind == "rectangle":
        points = _few(values, 2)
        if len(points) > 2:
            return points
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if kind == "circle":
        (x, y), edge = _few(values, 2)[:2]
        radius = math.hypot(edge[0] - x, edge[1] - y)
        angle = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    raise BadPolygon(f"a shape of the kind {str(kind)[:30]!r} is not a mask")


def _few(values: Any, least: int) -> Points:
    if not isinstance(values, list) or len(values) < least:
        raise BadPolygon("the shape has too few points")
    if any(not isinstance(v, list) or len(v) != 2 for v in values):
        raise BadPolygon("the shape's points are no points")
    try:
        return checked(np.array(values, dtype=np.float64), least)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadPolygon("a coordinate is not a number") from error


def _mask_toggles(shape: dict[str, Any], height: int, width: int) -> runs.Toggles:
    corner = _few(shape.get("points"), 1)[0]
    data = shape.get("mask")
    if not isinstance(data, str):
        raise BadPolygon("the shape has no mask")
    try:
        with Image.open(io.BytesIO(base64.b64decode(data)), formats=("PNG",)) as image:
            if image.size[0] > width or image.size[1] > height:
                raise BadPolygon("the mask is larger than the image")
            window = np.asarray(image.convert("L")) > 0
    except BadPolygon:
        raise
    except (
        binascii.Error,
        ValueError,
        OSError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise BadPolygon("the mask is not a picture") from error
    x, y = int(corner[0]), int(corner[1])
    # Where the window reaches outside the image that part is cut off.
    left, top = max(0, -x), max(0, -y)
    window = window[top : max(top, height - y), left : max(left, width - x)]
    if not window.size:
        raise BadPolygon("the mask lies outside the image")
    return runs.toggles(masks.encode_window(window, x + left, y + top, height, width))
