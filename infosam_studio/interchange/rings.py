"""Outlines as other formats want them: one ring per object, flat lists, parts of an object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.masks import Polygon
from infosam_studio.interchange.reports import counted

Points = NDArray[np.float64]

# Beyond this many rings the nearest pair of points is not searched any more.
MANY_RINGS = 200
MAX_COORDINATE = 1e7


class BadPolygon(Exception):
    """An outline that is no outline; the text is the reason, for the report."""


def bridged(rings: Sequence[Points]) -> Points:
    """One ring for several: each further ring is joined by a bridge walked there and back.

    By the even-odd rule the bridges enclose nothing, so holes stay open and parts apart.
    """
    whole = rings[0]
    for ring in rings[1:]:
        i, j = _nearest(whole, ring) if len(rings) <= MANY_RINGS else (0, 0)
        detour = np.concatenate((ring[j:], ring[: j + 1], whole[i : i + 1]))
        whole = np.concatenate((whole[: i + 1], detour, whole[i + 1 :]))
    return whole


def _nearest(a: Points, b: Points) -> tuple[int, int]:
    if len(a) * len(b) > 1_000_000:
        return 0, 0
    distance = ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)
    i, j = np.unravel_index(int(distance.argmin()), distance.shape)
    return int(i), int(j)


def rings_of(polygon: Polygon) -> list[Points]:
    """The outline of a part and those of its holes."""
    return [polygon.exterior, *polygon.holes]


def flat_list(ring: Points) -> list[float]:
    """`[x1, y1, x2, y2, ...]`, whole numbers as such."""
    return [int(v) if v == int(v) else float(v) for v in ring.ravel()]


def pairs(ring: Points, *, close: bool = False) -> list[list[float]]:
    """`[[x1, y1], ...]`, with the first point repeated at the end where `close`."""
    points = [[int(v) if v == int(v) else float(v) for v in point] for point in ring]
    return [*points, points[0]] if close else points


def parse_flat(values: Any) -> Points:
    """Points from `[x1, y1, ...]`; raises `BadPolygon`."""
    if not isinstance(values, list | tuple) or len(values) % 2:
        raise BadPolygon("an outline has half a point")
    return checked(_numbers(values).reshape(-1, 2))


def parse_pairs(values: Any) -> Points:
    """Points from `[[x1, y1], ...]`; raises `BadPolygon`."""
    if not isinstance(values, list | tuple):
        raise BadPolygon("an outline is not a list of points")
    numbers = _numbers(values)
    if numbers.size and (numbers.ndim != 2 or numbers.shape[1] < 2):
        raise BadPolygon("an outline is not a list of points")
    return checked(numbers[:, :2] if numbers.size else np.empty((0, 2)))


def checked(points: Points, least: int = 3) -> Points:
    """The points as they are; raises `BadPolygon` where they are too few, NaN or absurd."""
    if len(points) < least:
        raise BadPolygon(f"an outline has only {counted(len(points), 'point')}")
    if not np.isfinite(points).all():
        raise BadPolygon("a coordinate is not a number")
    if np.abs(points).max() > MAX_COORDINATE:
        raise BadPolygon("a coordinate is absurdly large")
    return points


def _numbers(values: Any) -> Points:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            if array.dtype.kind == "b" or array.dtype.kind in "US":
                raise BadPolygon("a coordinate is not a number")
            array = np.asarray(values, dtype=np.float64)  # None becomes NaN
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadPolygon("a coordinate is not a number") from error
