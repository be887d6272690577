"""Masks as the canvas holds them: a bounding box and the pixels inside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle

BoolArray = NDArray[np.bool_]
Rect = tuple[int, int, int, int]
"""``x0, y0, x1, y1`` in image pixels, the end excluded."""


@dataclass(frozen=True)
class Crop:
    """A mask without its empty surroundings: ``pixels`` bool [h, w] with corner ``x0, y0``."""

    x0: int
    y0: int
    pixels: BoolArray

    @property
    def rect(self) -> Rect:
        height, width = self.pixels.shape
        return (self.x0, self.y0, self.x0 + width, self.y0 + height)

    @property
    def empty(self) -> bool:
        return self.pixels.size == 0 or not bool(self.pixels.any())

    @property
    def empty_quickly(self) -> bool:
        """Whether there is no bounding box at all (crops made by this module then have none)."""
        return self.pixels.size == 0

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.pixels))

    def contains(self, x: int, y: int) -> bool:
        """Whether the pixel ``x, y`` of the image belongs to the mask."""
        x0, y0, x1, y1 = self.rect
        return x0 <= x < x1 and y0 <= y < y1 and bool(self.pixels[y - y0, x - x0])


EMPTY = Crop(0, 0, np.zeros((0, 0), dtype=bool))


def from_mask(mask: BoolArray, *, x0: int = 0, y0: int = 0) -> Crop:
    """Cut ``mask`` bool [H, W] (its corner at ``x0, y0`` of the image) to its bounding box."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return EMPTY
    band = mask[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(band.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    pixels = np.ascontiguousarray(band[:, left:right])
    return Crop(x0 + left, y0 + int(rows[0]), pixels)


def from_rle(rle: Rle) -> Crop:
    """The crop of a stored mask; only its bounding box is decoded."""
    x, y, width, height = masks.bbox(rle)
    if width == 0 or height == 0:
        return EMPTY
    return Crop(x, y, masks.decode_window(rle, x, y, x + width, y + height))


def to_mask(crop: Crop, height: int, width: int) -> BoolArray:
    """The whole mask, bool [height, width]."""
    mask = np.zeros((height, width), dtype=bool)
    x0, y0, x1, y1 = crop.rect
    if not crop.empty:
        mask[y0:y1, x0:x1] = crop.pixels
    return mask


def to_rle(crop: Crop, height: int, width: int) -> Rle:
    """The mask as it is stored."""
    return masks.encode_window(crop.pixels, crop.x0, crop.y0, height, width)


def union_rect(first: Rect | None, second: Rect | None) -> Rect | None:
    """The smallest rectangle around both; None is nothing."""
    if first is None or first[0] >= first[2] or first[1] >= first[3]:
        return second
    if second is None or second[0] >= second[2] or second[1] >= second[3]:
        return first
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def intersect(first: Rect, second: Rect) -> Rect | None:
    """The common part of two rectangles, None where they share no pixel."""
    x0, y0 = max(first[0], second[0]), max(first[1], second[1])
    x1, y1 = min(first[2], second[2]), min(first[3], second[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def window(crop: Crop, rect: Rect) -> BoolArray:
    """The part of a mask inside ``rect``, bool [rect height, rect width]."""
    x0, y0, x1, y1 = rect
    out = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    common = intersect(crop.rect, rect)
    if common is not None:
        left, top, right, bottom = common
        out[top - y0 : bottom - y0, left - x0 : right - x0] = crop.pixels[
            top - crop.y0 : bottom - crop.y0, left - crop.x0 : right - crop.x0
        ]
    return out


def combine(first: Crop, second: Crop, operation: str) -> Crop:
    """``union``, ``subtract`` (first without second) or ``intersect`` of two masks."""
    rect = union_rect(first.rect, second.rect)
    if rect is None:
        return EMPTY
    a, b = window(first, rect), window(second, rect)
    result = {"union": a | b, "subtract": a & ~b, "intersect": a & b}[operation]
    return from_mask(result, x0=rect[0], y0=rect[1])
