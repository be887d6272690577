"""Masks as runs: polygons, label maps and set operations straight on COCO run lengths.

A mask is a sorted int64 array of *toggles*: the flat column-major positions (x * height + y)
where it changes from outside to inside and back. No bitmap of the image is ever made, so the
cost follows the outline of an object and not the size of its image.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.masks import Rle

Toggles = NDArray[np.int64]
Points = NDArray[np.float64]

# Outlines are walked in steps of a fifth of a pixel, as pycocotools does.
SCALE = 5
MAX_STEPS = 20_000_000
EMPTY: Toggles = np.empty(0, np.int64)


# An export asks for the same masks several times: for their area, their place and their pixels.
@functools.lru_cache(maxsize=4096)
def toggles(rle: Rle) -> Toggles:
    """The toggles of `rle`: pairs of start and end, int64, strictly increasing, read-only."""
    counts = rle.runs()
    edges = np.cumsum(counts)
    if len(edges) % 2:  # the last run is outside
        edges = edges[:-1]
    edges = _without_pairs(edges)
    edges.flags.writeable = False
    return edges


def from_toggles(edges: Toggles, height: int, width: int) -> Rle:
    """The RLE for sorted toggles; an odd one out runs to the end of the image."""
    total = height * width
    counts = np.diff(np.concatenate(([0], edges[edges < total], [total])))
    return Rle.from_coco({"size": (height, width), "counts": counts})


def _without_pairs(sorted_edges: Toggles) -> Toggles:
    """Drop positions that occur an even number of times: the mask does not change there."""
    if len(sorted_edges) < 2 or np.all(sorted_edges[1:] > sorted_edges[:-1]):
        return sorted_edges
    values, times = np.unique(sorted_edges, return_counts=True)
    return np.asarray(values[times % 2 == 1])


def polygon_toggles(points: Points, height: int, width: int) -> Toggles:
    """The pixels inside a closed polygon, by the even-odd rule, exactly as pycocotools has them.

    `points` is float [N, 2] (x, y) in pixels, the corner of the image being (0, 0), so that a
    polygon along pixel edges gives exactly those pixels. Raises ValueError where the outline is
    too long to walk.
    """
    fine = np.trunc(SCALE * points + 0.5).astype(np.int64)
    start, end = fine, np.roll(fine, -1, axis=0)
    delta = np.abs(end - start)
    if not (fine % SCALE).any() and not delta.min(axis=1).any():
        return _pixel_edge_toggles(start // SCALE, end // SCALE, height, width)
    steps = delta.max(axis=1) + 1
    if int(steps.sum()) > MAX_STEPS:
        raise ValueError("the outline is too long")
    u, v = _walk(start, end, delta, steps)
    crossing = np.flatnonzero(u[1:] != u[:-1])
    column = np.minimum(u[crossing], u[crossing + 1])
    row = np.minimum(v[crossing], v[crossing + 1])
    # A column counts where its pixel centres are crossed: at 5 c + 2.5 on the fine grid.
    centre = column % SCALE == 2
    x = (column[centre] - 2) // SCALE
    y = np.ceil(np.clip((row[centre] + 0.5) / SCALE - 0.5, 0, height)).astype(np.int64)
    inside = (x >= 0) & (x <= width - 1)
    return _without_pairs(np.sort(x[inside] * height + y[inside]))


def _pixel_edge_toggles(
    start: NDArray[np.int64], end: NDArray[np.int64], height: int, width: int
) -> Toggles:
    """The same for an outline along pixel edges, where only its horizontal pieces matter."""
    level = start[:, 1] == end[:, 1]
    left = np.clip(np.minimum(start[level, 0], end[level, 0]), 0, width)
    right = np.clip(np.maximum(start[level, 0], end[level, 0]), 0, width)
    row = np.clip(start[level, 1], 0, height)
    length = right - left
    if int(length.sum()) > MAX_STEPS:
        raise ValueError("the outline is too long")
    first = np.repeat(left - (np.cumsum(length) - length), length)
    column = first + np.arange(len(first))
    return _without_pairs(np.sort(column * height + np.repeat(row, length)))


def _walk(
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    delta: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every point of the outline on the fine grid, edge by edge (the longer axis in unit steps)."""
    flat = delta[:, 0] >= delta[:, 1]
    flip = np.where(flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    low = np.where(flip[:, None], end, start)
    high = np.where(flip[:, None], start, end)
    length = np.where(flat, delta[:, 0], delta[:, 1])
    rise = np.where(flat, high[:, 1] - low[:, 1], high[:, 0] - low[:, 0])
    slope = rise / np.maximum(length, 1)
    edge = np.repeat(np.arange(len(steps)), steps)
    t = np.arange(len(edge)) - np.repeat(np.cumsum(steps) - steps, steps)
    t = np.where(flip[edge], length[edge] - t, t)
    along_x, along_y = low[edge, 0], low[edge, 1]
    other = slope[edge] * t
    u = np.where(flat[edge], along_x + t, np.trunc(along_x + other + 0.5).astype(np.int64))
    v = np.where(flat[edge], np.trunc(along_y + other + 0.5).astype(np.int64), along_y + t)
    return u, v


def _coverage(masks: Sequence[Toggles]) -> tuple[Toggles, NDArray[np.int64]]:
    """Sorted change positions and how many of the masks cover what follows each."""
    positions = np.concatenate([*masks, EMPTY])
    signs = np.concatenate([*(_signs(len(m)) for m in masks), EMPTY])
    order = np.argsort(positions, kind="stable")
    positions = positions[order]
    level = np.cumsum(signs[order])
    last = np.flatnonzero(np.append(positions[1:] != positions[:-1], True))
    if not len(positions):
        return positions, level
    return positions[last], level[last]


def _signs(length: int) -> NDArray[np.int64]:
    signs = np.ones(length, np.int64)
    signs[1::2] = -1
    return signs


def _where(positions: Toggles, inside: NDArray[np.bool_]) -> Toggles:
    before = np.concatenate(([False], inside[:-1])) if len(inside) else inside
    return np.asarray(positions[inside != before])


def union(masks: Sequence[Toggles]) -> Toggles:
    """The pixels in at least one of the masks (each with an even number of toggles)."""
    if len(masks) == 1:
        return masks[0]
    positions, level = _coverage(masks)
    return _where(positions, level > 0)


def are_apart(masks: Sequence[Toggles]) -> bool:
    """Whether no pixel is in two of the masks."""
    return bool(_coverage(masks)[1].max(initial=0) <= 1)


def subtract(mask: Toggles, other: Toggles) -> Toggles:
    """The pixels of `mask` that are not in `other`."""
    if not len(mask) or not len(other):
        return mask
    positions = np.concatenate((mask, other))
    signs = np.concatenate((_signs(len(mask)), -2 * _signs(len(other))))
    order = np.argsort(positions, kind="stable")
    positions, level = positions[order], np.cumsum(signs[order])
    last = np.flatnonzero(np.append(positions[1:] != positions[:-1], True))
    return _where(positions[last], level[last] == 1)


def closed(edges: Toggles, total: int) -> Toggles:
    """The toggles with an end for the last run, where it reaches the end of the image."""
    return np.append(edges, total) if len(edges) % 2 else edges


def pixels(edges: Toggles) -> NDArray[np.int64]:
    """The flat column-major positions of all pixels inside."""
    starts, lengths = edges[0::2], edges[1::2] - edges[0::2]
    offsets = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return offsets + np.arange(len(offsets))


def pixel_count(edges: Toggles) -> int:
    """How many pixels are inside."""
    return int((edges[1::2] - edges[0::2]).sum())


def box(edges: Toggles, height: int) -> tuple[int, int, int, int]:
    """The tight box (x, y, width, height) of a mask in an image of that height."""
    if not len(edges):
        return 0, 0, 0, 0
    starts, lasts = edges[0::2], edges[1::2] - 1
    left, right = int(starts[0]) // height, int(lasts[-1]) // height
    top, bottom = 0, height - 1
    # A run over more than one column fills a column's first and last pixel.
    if np.array_equal(starts // height, lasts // height):
        top, bottom = int((starts % height).min()), int((lasts % height).max())
    return left, top, right - left + 1, bottom - top + 1


def polygons_rle(polygons: Iterable[Points], height: int, width: int) -> Rle:
    """The union of polygons as RLE, as pycocotools merges the parts of one annotation."""
    total = height * width
    parts = [closed(polygon_toggles(p, height, width), total) for p in polygons]
    parts = [p[p <= total] for p in parts]
    return from_toggles(union(parts) if parts else EMPTY, height, width)


def split_label_map(labels: NDArray[Any]) -> dict[int, Rle]:
    """The mask of every value but 0 of an integer map [H, W], in rising order of the values."""
    height, width = labels.shape
    flat = labels.T.ravel()
    if not len(flat):
        return {}
    change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate(([0], change))
    ends = np.concatenate((change, [len(flat)]))
    values = flat[starts]
    order = np.argsort(values, kind="stable")
    values, starts, ends = values[order], starts[order], ends[order]
    found: dict[int, Rle] = {}
    bounds = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1], [True])))
    for low, high in itertools.pairwise(bounds.tolist()):
        value = int(values[low])
        if value:
            edges = np.stack((starts[low:high], ends[low:high]), axis=1).ravel()
            found[value] = from_toggles(_without_pairs(edges), height, width)
    return found


def paint(canvas: NDArray[Any], edges: Toggles, value: int) -> None:
    """Set the pixels of a mask in a flat column-major canvas."""
    canvas[pixels(edges)] = value
