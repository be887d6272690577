"""Masks at the scale they are drawn in: every level has half the size of the one before.

Level 0 are the image's pixels, level k covers 2**k of them with one, level -k divides each into
2**k. Areas are rectangles in pixels of a level.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.ui import crops
from infosam_studio.ui.crops import BoolArray, Crop, Rect

# A mask whose box has more pixels than this is never unpacked to be drawn.
LARGEST_BOX = 16_000_000
UNPACKED_BYTES = 192 * 2**20
# Coarser levels than this take a sixteenth of the memory at most.
KEPT_FROM = 2


class Samples(Protocol):
    """What the overlay asks of a mask."""

    @property
    def rect(self) -> Rect:
        """Its bounding box in image pixels; empty (x0 == x1) where there is no mask."""

    def sample(self, level: int, area: Rect) -> BoolArray:
        """The mask inside ``area`` of ``level``, bool [h, w]."""

    def prepare(self, level: int) -> bool:
        """Do now what makes the first `sample` of a level slow; False where nothing was left."""


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

    def prepare(self, level: int) -> bool:
        return False

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


class Room:
    """Bounds the memory of unpacked masks: the least recently drawn ones are packed again."""

    def __init__(self, limit_bytes: int = UNPACKED_BYTES) -> None:
        self.limit_bytes, self.bytes = limit_bytes, 0
        self._held: OrderedDict[int, tuple[CropSamples, int]] = OrderedDict()

    def use(self, mask: CropSamples, size: int) -> None:
        """``mask`` is being drawn and takes ``size`` bytes."""
        self.forget(mask)
        self._held[id(mask)] = (mask, size)
        self.bytes += size
        while self.bytes > self.limit_bytes and len(self._held) > 1:
            oldest = next(iter(self._held.values()))[0]
            self.forget(oldest)
            oldest.pack()

    def touch(self, mask: CropSamples) -> None:
        """``mask`` is being drawn again."""
        if id(mask) in self._held:
            self._held.move_to_end(id(mask))

    def forget(self, mask: CropSamples) -> None:
        """``mask`` takes no memory any more."""
        _, size = self._held.pop(id(mask), (mask, 0))
        self.bytes -= size

    def clear(self) -> None:
        """Nothing is drawn any more."""
        self._held.clear()
        self.bytes = 0


class CropSamples(_Enlarging):
    """A mask's pixels; coarser levels are made when first asked for and kept.

    A pixel of a coarser level belongs to the mask where half of what it covers does, but no
    mask vanishes altogether: then every pixel it touches belongs to it. With ``unpack`` and a
    ``room`` the fine levels come and go; only levels from `KEPT_FROM` on stay.
    """

    def __init__(
        self,
        crop: Crop | None,
        *,
        rect: Rect | None = None,
        unpack: Callable[[], Crop] | None = None,
        room: Room | None = None,
    ) -> None:
        self._rect = rect or (crop.rect if crop is not None else (0, 0, 0, 0))
        self._unpack, self._room = unpack, room
        self._levels: dict[int, Crop] = {} if crop is None else {0: crop}

    @property
    def rect(self) -> Rect:
        return self._rect

    @property
    def crop(self) -> Crop:
        """The mask at the image's own resolution."""
        return self._at(0)

    def _at(self, level: int) -> Crop:
        found = self._levels.get(level)
        if found is None and level == 0:
            assert self._unpack is not None
            found = self._levels[0] = self._unpack()
            if self._room is not None:
                self._room.use(self, found.pixels.nbytes * 5 // 4)
        elif found is None:
            found = self._levels[level] = _halved(self._at(level - 1))
        elif self._room is not None and level < KEPT_FROM:
            self._room.touch(self)
        return found

    def prepare(self, level: int) -> bool:
        if max(level, 0) in self._levels:
            return False
        self._at(max(level, 0))
        return True

    def pack(self) -> None:
        """Give the memory of the fine levels back."""
        for level in range(KEPT_FROM):
            self._levels.pop(level, None)

    def _sample(self, level: int, area: Rect) -> BoolArray:
        return crops.window(self._at(level), area)


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


def samples_of(rle: Rle, room: Room) -> Samples:
    """A stored mask as it is drawn; it is unpacked when it first comes into view."""
    x, y, width, height = masks.bbox(rle)
    rect = (x, y, x + width, y + height)
    if width * height > LARGEST_BOX:
        return RleSamples(rle, rect)

    def unpack() -> Crop:
        return Crop(x, y, masks.decode_window(rle, *rect))

    return CropSamples(None, rect=rect, unpack=unpack, room=room)
