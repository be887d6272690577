"""Masks as COCO run-length encoding, converted exactly to and from bitmaps.

A mask's runs go down the columns, background first, as in pycocotools; the compressed text is
the same, byte for byte. The document keeps masks in this form because it is exact (holes, parts
and overlaps survive), small, and what COCO files contain. Polygons: ``polygons.py``, whose
functions are offered here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.polygons import Polygon, from_polygons, simplify, to_polygons
from infosam_studio.errors import StudioError

__all__ = [
    "MaskError",
    "Polygon",
    "Rle",
    "area",
    "bbox",
    "decode",
    "decode_window",
    "empty",
    "encode",
    "encode_window",
    "from_polygons",
    "intersection",
    "iou",
    "rle_polygons",
    "simplify",
    "to_polygons",
]

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class MaskError(StudioError):
    """A run-length text that does not describe a mask of its size."""


@dataclass(frozen=True)
class Rle:
    """A mask of ``height`` x ``width`` pixels as COCO's compressed run-length text."""

    height: int
    width: int
    counts: str

    def to_coco(self) -> dict[str, Any]:
        """The JSON object of COCO files: {"size": [height, width], "counts": text}."""
        return {"size": [self.height, self.width], "counts": self.counts}

    @classmethod
    def from_coco(cls, obj: Mapping[str, Any]) -> Rle:
        """Read COCO's object, compressed (text or bytes) or not (list); MaskError if unsound."""
        try:
            height, width = (int(side) for side in obj["size"])
            given = obj["counts"]
            if isinstance(given, bytes):
                given = given.decode("ascii")
            counts = _parse(given) if isinstance(given, str) else np.array(given, np.int64)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise MaskError(f"This run-length mask cannot be read ({error!r}).") from error
        if height < 0 or width < 0 or counts.ndim != 1 or (counts < 0).any():
            raise MaskError("This run-length mask has negative or nested numbers.")
        if int(counts.sum()) != height * width:
            raise MaskError(
                f"This run-length mask covers {int(counts.sum())} pixels, "
                f"but its size is {width} x {height}."
            )
        return cls(height, width, given if isinstance(given, str) else _format(counts))

    def runs(self) -> Counts:
        """Run lengths down the columns, int64, background first."""
        return _parse(self.counts)


def encode(mask: npt.NDArray[Any]) -> Rle:
    """The run-length form of a [H, W] bitmap (bool; other types: everything but 0 is inside)."""
    bitmap = np.asarray(mask)
    if bitmap.ndim != 2:
        raise ValueError(f"a mask has two axes, not {bitmap.ndim}")
    height, width = bitmap.shape
    return encode_window(bitmap, 0, 0, height, width)


def encode_window(window: npt.NDArray[Any], x0: int, y0: int, height: int, width: int) -> Rle:
    """The mask of a ``height`` x ``width`` image that is ``window`` at (x0, y0), empty elsewhere.

    Takes time for the window's pixels, not the image's. The window must lie inside the image.
    """
    bitmap = np.asarray(window)
    if bitmap.dtype != np.bool_:
        bitmap = bitmap != 0
    h, w = bitmap.shape
    if x0 < 0 or y0 < 0 or x0 + w > width or y0 + h > height:
        raise ValueError("the window reaches outside the image")
    columns = np.flatnonzero(bitmap.any(axis=0)) if bitmap.size else np.empty(0, np.intp)
    if columns.size == 0:
        return empty(height, width)
    first, last = int(columns[0]), int(columns[-1]) + 1
    down = _columns(bitmap[:, first:last])
    if h < height:
        # A row of zeros ends every run with its column, so that each can be moved on its own.
        down = np.pad(down, ((0, 0), (0, 1)))
    flat = down.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    begin = [0] if flat[0] else []
    end = [flat.size] if flat[-1] else []
    column, row = np.divmod(np.concatenate([begin, changes, end]).astype(np.int64), down.shape[1])
    positions = (column + first + x0) * height + row + y0
    total = height * width
    bounds = np.concatenate([[0], positions, [total] if positions[-1] < total else []])
    return Rle(height, width, _format(np.subtract(bounds[1:], bounds[:-1]).astype(np.int64)))


def _columns(bitmap: Mask) -> npt.NDArray[np.uint8]:
    """The bitmap with columns as rows, contiguous."""
    if bitmap.flags.f_contiguous:
        return bitmap.T.view(np.uint8)
    # Several times faster than numpy's copy of the transposed view.
    return np.asarray(cv2.transpose(bitmap.view(np.uint8)), dtype=np.uint8)


def empty(height: int, width: int) -> Rle:
    """The mask without a pixel."""
    return Rle(height, width, _format(np.array([height * width], np.int64)))


def decode(rle: Rle) -> Mask:
    """The [H, W] bitmap, bool, C-contiguous and writable."""
    return decode_window(rle, 0, 0, rle.width, rle.height)


def decode_window(rle: Rle, x0: int, y0: int, x1: int, y1: int) -> Mask:
    """The part [y0:y1, x0:x1] of the bitmap, in time for its columns only."""
    x0, y0 = max(x0, 0), max(y0, 0)
    x1, y1 = min(x1, rle.width), min(y1, rle.height)
    out = np.zeros((max(y1 - y0, 0), max(x1 - x0, 0)), bool)
    if out.size == 0:
        return out
    ends = np.cumsum(rle.runs())
    inside = ends[:-1:2]  # where runs of the object begin
    reach = ends[1::2]
    touched = np.flatnonzero((reach > x0 * rle.height) & (inside[: reach.size] < x1 * rle.height))
    if touched.size == 0:
        return out
    starts, stops = inside[touched], reach[touched]
    columns = starts // rle.height
    if np.array_equal(columns, (stops - 1) // rle.height):
        # Every run lies in one column: only the window's own rows are ever unpacked.
        rows = (starts - columns * rle.height, stops - columns * rle.height)
        down = _fill_columns(columns - x0, *rows, y0, out.shape)
        out.view(np.uint8)[:] = cv2.transpose(down)
        return out
    first = max(x0, int(inside[touched[0]]) // rle.height)
    last = min(x1, (int(reach[touched[-1]]) - 1) // rle.height + 1)
    flat = _expand(ends, first * rle.height, last * rle.height)
    down = flat.reshape(last - first, rle.height)[:, y0:y1]
    out.view(np.uint8)[:, first - x0 : last - x0] = cv2.transpose(down)
    return out


def _fill_columns(
    columns: Counts, tops: Counts, bottoms: Counts, y0: int, shape: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """Runs within single columns as pixels 0 and 1, columns as rows: [width, height]."""
    height, width = shape
    tops = np.clip(tops - y0, 0, height)
    bottoms = np.clip(bottoms - y0, 0, height)
    kept = (columns >= 0) & (columns < width) & (bottoms > tops)
    at = columns[kept] * height
    bounds = np.empty(2 * at.size + 1, np.int64)
    bounds[:-1:2], bounds[1:-1:2], bounds[-1] = at + tops[kept], at + bottoms[kept], width * height
    values = (np.arange(bounds.size) & 1).astype(np.uint8)
    flat = np.repeat(values, np.diff(bounds, prepend=0))
    return flat.reshape(width, height)


def _expand(ends: Counts, start: int, stop: int) -> npt.NDArray[np.uint8]:
    """The pixels [start, stop) in column order, 0 and 1."""
    low = int(np.searchsorted(ends, start, side="right"))
    high = int(np.searchsorted(ends, stop, side="left"))
    bounds = np.minimum(ends[low : high + 1], stop)
    lengths = np.diff(bounds, prepend=start)
    values = (np.arange(low, low + lengths.size) & 1).astype(np.uint8)
    return np.repeat(values, lengths)


def area(rle: Rle) -> int:
    """Pixels inside."""
    return int(rle.runs()[1::2].sum())


def bbox(rle: Rle) -> tuple[int, int, int, int]:
    """The tight box (x, y, width, height) in pixels; all 0 for an empty mask."""
    ends = np.cumsum(rle.runs())
    stops = ends[1::2]
    starts = ends[::2][: stops.size]
    kept = stops > starts
    starts, stops = starts[kept], stops[kept]
    if starts.size == 0:
        return 0, 0, 0, 0
    h = rle.height
    left, right = int(starts[0]) // h, (int(stops[-1]) - 1) // h
    # A run over more than one column fills a column's first and last pixel.
    if ((starts // h) != ((stops - 1) // h)).any():
        top, bottom = 0, h - 1
    else:
        top, bottom = int((starts % h).min()), int(((stops - 1) % h).max())
    return left, top, right - left + 1, bottom - top + 1


def intersection(a: Rle, b: Rle) -> int:
    """Pixels inside both, counted on the runs without a bitmap."""
    if (a.height, a.width) != (b.height, b.width):
        raise ValueError("the masks belong to images of different sizes")
    ends_a, ends_b = np.cumsum(a.runs()), np.cumsum(b.runs())
    stops = ends_b[1::2]
    starts = ends_b[::2][: stops.size]
    return int((_inside_before(ends_a, stops) - _inside_before(ends_a, starts)).sum())


def _inside_before(ends: Counts, positions: Counts) -> Counts:
    """How many pixels inside come before each position, in column order."""
    lengths = np.diff(ends, prepend=0)
    lengths[::2] = 0
    before = np.concatenate([[0], np.cumsum(lengths)])
    run = np.searchsorted(ends, positions, side="right")
    start = np.concatenate([[0], ends])[run]
    return np.asarray(before[run] + np.where(run % 2 == 1, positions - start, 0), np.int64)


def iou(a: Rle, b: Rle) -> float:
    """Intersection over union in 0..1; 0 where both are empty, as in pycocotools."""
    both = intersection(a, b)
    union = area(a) + area(b) - both
    return both / union if union else 0.0


def rle_polygons(rle: Rle) -> list[Polygon]:
    """``to_polygons`` of the mask, in time for its box instead of the image."""
    x, y, w, h = bbox(rle)
    return to_polygons(decode_window(rle, x, y, x + w, y + h), offset=(x, y))


# COCO's text: each run (from the fourth on: its difference to the run two before) as groups of
# five bits, lowest first, a sixth bit saying that more follow; each group plus 48 is a character.


def _format(runs: Counts) -> str:
    values = runs.copy()
    values[3:] -= runs[1:-2]
    chars = np.empty((values.size, 13), np.uint8)
    used = np.zeros((values.size, 13), bool)
    more = np.ones(values.size, bool)
    for group in range(13):
        used[:, group] = more
        bits = values & 31
        values >>= 5
        more = more & np.where(bits & 16, values != -1, values != 0)
        chars[:, group] = bits + (more << 5) + 48
        if not more.any():
            break
    return chars[:, : group + 1][used[:, : group + 1]].tobytes().decode("ascii")


def _parse(text: str) -> Counts:
    groups = np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - 48
    if groups.size == 0:
        return np.zeros(0, np.int64)
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("not a run-length text")
    last = np.flatnonzero((groups & 32) == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    position = np.arange(groups.size) - np.repeat(first, last - first + 1)
    if position.max() > 12:
        raise ValueError("a number in the run-length text is too long")
    values = np.add.reduceat((groups & 31) << (5 * position), first)
    shift = 5 * (position[last] + 1)
    values = np.where(groups[last] & 16, values - (np.int64(1) << np.minimum(shift, 62)), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
