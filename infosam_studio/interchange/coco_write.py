"""COCO out: one JSON file, written and checked image by image."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

from infosam_studio import __version__
from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ImageRecord, ObjectRecord
from infosam_studio.interchange import runs
from infosam_studio.interchange.coco_geometry import BadSegmentation, parse_segmentation
from infosam_studio.interchange.exporting import Job, area
from infosam_studio.interchange.json_stream import JsonProblem, read_elements
from infosam_studio.interchange.keeping import kept_fields
from infosam_studio.interchange.rings import bridged, flat_list, rings_of

OWN_KEYS = frozenset({"id", "image_id", "category_id", "segmentation", "area", "bbox"})


class CocoWriter:
    """The COCO format: ids from 1, boxes and areas as pycocotools computes them."""

    folder = False

    def write(self, job: Job) -> None:
        kept = kept_fields(job.project, "coco")
        with job.place.open("w", encoding="utf-8", newline="\n") as file:
            file.write('{"info":' + _text(self._info(kept)))
            file.write(',\n"licenses":' + _text(kept.get("top", {}).get("licenses", [])))
            for key, value in kept.get("top", {}).items():
                if key not in ("info", "licenses"):
                    file.write(f",\n{_text(key)}:{_text(value)}")
            file.write(',\n"categories":' + _text(self._categories(job, kept)))
            _write_array(file, "images", self._images(job, kept))
            _write_array(file, "annotations", self._annotations(job))
            file.write("\n}\n")
        job.report.files = 1

    def _info(self, kept: dict[str, Any]) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC)
        info = {
            "description": "",
            "version": "1.0",
            "year": now.year,
            "contributor": "",
            "url": "",
        }
        before = kept.get("top", {}).get("info")
        info.update(before if isinstance(before, dict) else {})
        info["date_created"] = now.isoformat(timespec="seconds")
        info["exported_by"] = f"InfoSAM Studio {__version__}"
        return info

    def _categories(self, job: Job, kept: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            {
                **kept.get("categories", {}).get(c.name, {}),
                "id": c.id,
                "name": c.name,
                "supercategory": c.supercategory,
            }
            for c in job.classes
        ]

    def _images(self, job: Job, kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number, image in enumerate(job.images, start=1):
            entry = {
                **kept.get("images", {}).get(str(image.id), {}),
                "id": number,
                "file_name": image.path,
                "width": image.width,
                "height": image.height,
            }
            if image.page:
                entry["page"] = image.page
            yield entry

    def _annotations(self, job: Job) -> Iterator[dict[str, Any]]:
        number = 0
        for image_number, (_, objects) in enumerate(job.labelled(), start=1):
            for item in objects:
                number += 1
                yield _annotation(item, number, image_number, job.options.geometry)
        job.report.objects = number

    def check(self, job: Job) -> None:
        """Read the file back as any reader would and compare mask, box, area and ids."""
        expected = (
            (image, number, item)
            for number, (image, objects) in enumerate(job.labelled(), start=1)
            for item in objects
        )
        found = (
            element
            for key, element in read_elements(
                job.place, frozenset({"images", "annotations", "categories"})
            )
            if key == "annotations"
        )
        try:
            for image, number, item in expected:
                element = next(found, None)
                job.report.checked += 1
                if not _same(element, image, number, item):
                    job.report.different = (job.report.different or 0) + 1
            job.report.different = (job.report.different or 0) + sum(1 for _ in found)
        except JsonProblem as error:
            job.report.problems.add(job.place.name, str(error))
            job.report.different = job.report.objects


def _annotation(
    item: ObjectRecord, number: int, image_number: int, geometry: str
) -> dict[str, Any]:
    kept = item.extra.get("coco")
    return {
        **({k: v for k, v in kept.items() if k not in OWN_KEYS} if isinstance(kept, dict) else {}),
        "id": number,
        "image_id": image_number,
        "category_id": item.class_id,
        "iscrowd": _crowd(item),
        # Many readers expect run lengths of a crowd, as COCO's own files have them.
        "segmentation": segmentation(
            item.mask, "rle" if geometry == "auto" and _crowd(item) else geometry
        ),
        "area": area(item),
        "bbox": _box(item),
    }


def _box(item: ObjectRecord) -> list[int]:
    return list(runs.box(runs.toggles(item.mask), item.mask.height))


def _crowd(item: ObjectRecord) -> int:
    kept = item.extra.get("coco")
    return int(bool(kept.get("iscrowd"))) if isinstance(kept, dict) else 0


def segmentation(mask: masks.Rle, geometry: str) -> Any:
    """COCO's polygons, or its RLE object where asked for or where polygons cannot say it."""
    if geometry == "rle":
        return mask.to_coco()
    polygons = masks.rle_polygons(mask)
    if any(p.holes for p in polygons):
        if geometry == "auto":
            return mask.to_coco()
        return [flat_list(bridged(rings_of(p))) for p in polygons]
    return [flat_list(p.exterior) for p in polygons]


def _same(element: Any, image: ImageRecord, number: int, item: ObjectRecord) -> bool:
    if not isinstance(element, dict):
        return False
    try:
        mask, _ = parse_segmentation(element.get("segmentation"), image.height, image.width)
    except BadSegmentation:
        return False
    return (
        np.array_equal(runs.toggles(mask), runs.toggles(item.mask))
        and element.get("image_id") == number
        and element.get("category_id") == item.class_id
        and element.get("area") == area(item)
        and element.get("bbox") == _box(item)
    )


def _write_array(file: TextIO, key: str, elements: Iterator[dict[str, Any]]) -> None:
    file.write(f',\n"{key}":[')
    separator = "\n"
    for element in elements:
        file.write(separator + _text(element))
        separator = ",\n"
    file.write("]")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
