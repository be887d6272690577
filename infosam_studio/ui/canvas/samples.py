"""Masks at the scale they are drawn in: every level has half the size of the one before.

Level 0 are the image's pixels, level k covers 2**k of them with one, level -k divides each into
2**k. Areas are rectangles in pixels of a level.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.ui import crops
from infosam_studio.ui.crops import BoolArray, Crop, Rect

# A mask whose box has more pixels than this is never unpacked to be drawn.
LARGEST_BOX = 16_000_000


class Samples(Protocol):
    """What the overlay asks of a mask."""

    @property
    def rect(self) -> Rect:
        """Its bounding box in image pixels; empty (x0 == x1) where there is no mask."""

    def sample(self, level: int, area: Rect) -> BoolArray:
        """The mask inside ``area`` of ``level``, bool [h, w]."""


def scaled(rect: Rect, level: int) -> Rect:
    """An image rectangle in pixels of a level, rounded outwards."""
    x0, y0, x1, y1 = rect
    if level <= 0:
        return (x0 << -level, y0 << -level, x1 << -level, y1 << -level)
    return (x0 >> level, y0 >> level, -(-x1 >> level), -(-y1 >> level))


def unscaled(area: Rect, level: int) -> Rect:
    """The image pixels an area of a level touches."""
    return scaled(area, -level)


class _Enlarging:
    """Levels below 0, made of level 0."""

    def sample(self, level: int, area: Rect) -> BoolArray:
        if level >= 0:
            return self._sample(level, area)
        base = unscaled(area, level)
        times = 1 << -level
        pixels = self._sample(0, base).repeat(times, axis=0).repeat(times, axis=1)
        left, top = area[0] - base[0] * times, area[1] - base[1] * times
        return pixels[top : top + area[3] - area[1], left : left + area[2] - area[0]]

    def _sample(self, level: int, area: Rect) -> BoolArray:
        raise NotImplementedError


class CropSamples(_Enlarging):
    """A mask in memory; coarser levels are made when first asked for and kept.

    A pixel of a coarser level belongs to the mask where half of what it covers does, but no
    mask vanishes altogether: then every pixel it touches belongs to it.
    """

    def __init__(self, crop: Crop) -> None:
        self.crop = crop
        self._levels = [crop]

    @property
    def rect(self) -> Rect:
        return self.crop.rect

    def _sample(self, level: int, area: Rect) -> BoolArray:
        while len(self._levels) <= level:
            self._levels.append(_halved(self._levels[-1]))
        return crops.window(self._levels[level], area)


def _halved(crop: Crop) -> Crop:
    if crop.pixels.size == 0:
        return crop
    x0, y0, x1, y1 = crop.rect
    left, top = x0 % 2, y0 % 2
    pixels = crop.pixels
    if left or top or x1 % 2 or y1 % 2:
        pixels = np.pad(pixels, ((top, y1 % 2), (left, x1 % 2)))
    counts = pixels.view(np.uint8)
    covered = counts[::2, ::2] + counts[1::2, ::2]
    covered += counts[::2, 1::2]
    covered += counts[1::2, 1::2]
    half = covered >= 2
    return Crop(x0 // 2, y0 // 2, half if half.any() else covered > 0)


class RleSamples(_Enlarging):
    """A mask that is only ever looked up in its runs: huge ones are not unpacked."""

    def __init__(self, rle: Rle, rect: Rect) -> None:
        self._rle, self._rect = rle, rect
        self._ends = np.cumsum(rle.runs())

    @property
    def rect(self) -> Rect:
        return self._rect

    def _sample(self, level: int, area: Rect) -> BoolArray:
        """The middle of every pixel decides."""
        step = 1 << level
        xs = np.arange(area[0], area[2], dtype=np.int64) * step + step // 2
        ys = np.arange(area[1], area[3], dtype=np.int64) * step + step // 2
        x_in = (xs >= 0) & (xs < self._rle.width)
        y_in = (ys >= 0) & (ys < self._rle.height)
        places = xs[x_in, None] * self._rle.height + ys[None, y_in]
        inside = np.searchsorted(self._ends, places.ravel(), side="right") & 1
        out = np.zeros((len(ys), len(xs)), bool)
        out[np.ix_(y_in, x_in)] = inside.reshape(places.shape).T
        return out


class LiveSamples(_Enlarging):
    """A mask that is being drawn: looked up where it is now, never kept."""

    def __init__(self, crop: Crop) -> None:
        self.crop = crop

    @property
    def rect(self) -> Rect:
        return self.crop.rect

    def _sample(self, level: int, area: Rect) -> BoolArray:
        step = 1 << level
        x0, y0 = self.crop.x0, self.crop.y0
        first = (-(-x0 // step), -(-y0 // step))
        pixels = self.crop.pixels[first[1] * step - y0 :: step, first[0] * step - x0 :: step]
        return crops.window(Crop(first[0], first[1], pixels), area)


def samples_of(rle: Rle) -> Samples:
    """A stored mask as it is drawn."""
    x, y, width, height = masks.bbox(rle)
    rect = (x, y, x + width, y + height)
    if width * height > LARGEST_BOX:
        return RleSamples(rle, rect)
    return CropSamples(Crop(x, y, masks.decode_window(rle, *rect)))
