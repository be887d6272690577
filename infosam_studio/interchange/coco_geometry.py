"""COCO's three ways to say a mask: polygons, run lengths as text, run lengths as numbers."""

from __future__ import annotations

from typing import Any

from infosam_studio.annotation.masks import MaskError, Rle
from infosam_studio.interchange import runs
from infosam_studio.interchange.rings import BadPolygon, Points, parse_flat


class BadSegmentation(Exception):
    """A segmentation without a usable mask; the text is the reason."""


def parse_segmentation(value: Any, height: int, width: int) -> tuple[Rle, list[str]]:
    """The mask of a `segmentation`, and the reasons for parts of it that were left out.

    Polygons are filled exactly as pycocotools fills them, their parts united. Raises
    `BadSegmentation` where nothing usable is left.
    """
    if isinstance(value, dict):
        return _run_lengths(value, height, width), []
    if not isinstance(value, list) or not value:
        raise BadSegmentation("there is no mask")
    parts = [value] if not isinstance(value[0], list) else value
    polygons: list[Points] = []
    reasons: list[str] = []
    for part in parts:
        try:
            polygons.append(parse_flat(part))
        except BadPolygon as error:
            reasons.append(str(error))
    if not polygons:
        raise BadSegmentation(reasons[0])
    try:
        return runs.polygons_rle(polygons, height, width), reasons
    except ValueError as error:
        raise BadSegmentation(str(error)) from error


def _run_lengths(value: dict[str, Any], height: int, width: int) -> Rle:
    size = value.get("size")
    if not isinstance(size, list) or size != [height, width] or isinstance(size[0], bool):
        raise BadSegmentation("the run-length mask has another size than the image")
    counts = value.get("counts")
    if not isinstance(counts, str | list):
        raise BadSegmentation("the run-length mask has no runs")
    if isinstance(counts, list) and not all(type(c) is int or type(c) is float for c in counts):
        raise BadSegmentation("the run-length mask has runs that are not numbers")
    try:
        mask = Rle.from_coco({"size": [height, width], "counts": counts})
        lengths = mask.runs()
        if len(lengths) and int(lengths.max()) > height * width:
            raise BadSegmentation("the run-length mask has absurd runs")
    except (MaskError, ValueError, OverflowError) as error:
        raise BadSegmentation("the run-length mask does not fit its size") from error
    return runs.from_toggles(runs.toggles(mask), height, width)
