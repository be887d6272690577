"""Masks over the picture, composed in tiles at the scale of the screen.

Only what is looked at exists: tiles are made when they are first painted, kept while memory
lasts, and repaired in the rectangle that changed. So neither the size of the image nor the number
of its objects is felt, only how much of them is in view.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QColor

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.ui.canvas.samples import LiveSamples, Samples, scaled, unscaled
from infosam_studio.ui.crops import BoolArray, Rect, intersect, union_rect

TILE = 512
FINEST = -3
KEPT_TILES = 144
CELL = 1024
MOST_CELLS = 256
HALO = 0xE6E6E6E6  # white, nearly opaque, premultiplied

Spot = tuple[int, bool, int, int]
"""Level, whether outlines are drawn, column and row of a tile."""


@dataclass(frozen=True)
class Style:
    """How a mask is drawn: its colour, how opaque its fill is (0..1) and its outline.

    ``line`` is the outline's width in pixels of the level, 0 for none; ``halo`` draws a light
    line around it.
    """

    color: QColor
    alpha: float
    line: int = 0
    halo: bool = False

    def fill(self) -> int:
        """The fill as 0xAARRGGBB with the colour multiplied by alpha."""
        alpha = self.alpha
        red, green, blue = self.color.red(), self.color.green(), self.color.blue()
        value = (round(alpha * 255) << 24) | (round(red * alpha) << 16)
        return value | (round(green * alpha) << 8) | round(blue * alpha)


@dataclass
class _Tile:
    """``pixels`` uint32 [TILE, TILE], None where nothing lies; ``dirty`` within the tile."""

    pixels: NDArray[np.uint32] | None
    dirty: Rect | None


class Budget:
    """How long one paint may compose: what is left over comes with the next one."""

    def __init__(self, milliseconds: float) -> None:
        self._ends = time.perf_counter() + milliseconds / 1000
        self.exceeded = False

    def left(self) -> bool:
        """Whether there is time for another tile; the answer False is remembered."""
        if time.perf_counter() > self._ends:
            self.exceeded = True
        return not self.exceeded


def _invisible(_key: int) -> Style | None:
    return None


class Overlay:
    """Masks by key, the later one on top, and the tiles they make.

    ``style`` tells how a key's mask is drawn when its tile is composed; None hides it.
    """

    def __init__(self) -> None:
        self.width = self.height = 0
        self.masks: dict[int, Samples] = {}
        self.style: Callable[[int], Style | None] = _invisible
        self._order: dict[int, int] = {}
        self._count = 0
        self._cells: dict[tuple[int, int], dict[int, None]] = {}
        self._wide: dict[int, None] = {}
        self._tiles: OrderedDict[Spot, _Tile] = OrderedDict()

    def reset(self, width: int, height: int) -> None:
        """No masks, on an image of this size."""
        self.width, self.height = width, height
        for held in (self.masks, self._order, self._cells, self._wide, self._tiles):
            held.clear()

    # masks -------------------------------------------------------------------------------

    def set(self, key: int, mask: Samples | None, *, only: Rect | None = None) -> Rect | None:
        """Add, replace or (None) take away a mask; returns what of the image changed.

        ``only``: the part that differs, where the caller knows it.
        """
        before = self.masks.get(key)
        changed = before.rect if before is not None else None
        if before is not None:
            self._unlist(key, before.rect)
        if mask is None:
            self.masks.pop(key, None)
            self._order.pop(key, None)
        else:
            self.masks[key] = mask
            if key not in self._order:
                self._count += 1
                self._order[key] = self._count
            self._list(key, mask.rect)
            changed = union_rect(changed, mask.rect)
        changed = only or changed
        if changed is not None:
            self.spoil(changed)
        return changed

    def _cells_of(self, rect: Rect) -> Iterator[tuple[int, int]]:
        for row in range(rect[1] // CELL, -(-rect[3] // CELL)):
            for column in range(rect[0] // CELL, -(-rect[2] // CELL)):
                yield column, row

    def _is_wide(self, rect: Rect) -> bool:
        return (rect[2] - rect[0]) * (rect[3] - rect[1]) > MOST_CELLS * CELL * CELL

    def _list(self, key: int, rect: Rect) -> None:
        if self._is_wide(rect):
            self._wide[key] = None
            return
        for cell in self._cells_of(rect):
            self._cells.setdefault(cell, {})[key] = None

    def _unlist(self, key: int, rect: Rect) -> None:
        if self._is_wide(rect):
            self._wide.pop(key, None)
            return
        for cell in self._cells_of(rect):
            self._cells.get(cell, {}).pop(key, None)

    def near(self, rect: Rect) -> list[int]:
        """The masks whose boxes reach into a rectangle of the image, the undermost first."""
        found = set(self._wide)
        if (rect[2] - rect[0]) // CELL * ((rect[3] - rect[1]) // CELL) > len(self._cells):
            found.update(self.masks)
        else:
            for cell in self._cells_of(rect):
                found.update(self._cells.get(cell, ()))
        inside = [key for key in found if intersect(self.masks[key].rect, rect) is not None]
        return sorted(inside, key=self._order.__getitem__)

    # tiles -------------------------------------------------------------------------------

    def spoil(self, rect: Rect | None = None) -> None:
        """What lies in ``rect`` of the image (None: everything) is to be composed anew."""
        if rect is None:
            self._tiles.clear()
            return
        for level, lines in {(level, lines) for level, lines, _, _ in self._tiles}:
            x0, y0, x1, y1 = scaled(rect, level)
            # Outlines reach a little beyond the mask.
            around = (x0 - 4, y0 - 4, x1 + 4, y1 + 4)
            for spot in self._spots(level, lines, around):
                tile = self._tiles[spot]
                left, top = spot[2] * TILE, spot[3] * TILE
                moved = (around[0] - left, around[1] - top, around[2] - left, around[3] - top)
                common = intersect(moved, (0, 0, TILE, TILE))
                tile.dirty = union_rect(tile.dirty, common)

    def _spots(self, level: int, lines: bool, area: Rect) -> list[Spot]:
        """The tiles there are of a level that an area of it touches."""
        columns = range(area[0] // TILE, -(-area[2] // TILE))
        rows = range(area[1] // TILE, -(-area[3] // TILE))
        if len(columns) * len(rows) > len(self._tiles):
            kept = [one for one in self._tiles if one[:2] == (level, lines)]
            return [one for one in kept if one[2] in columns and one[3] in rows]
        spots = [(level, lines, column, row) for row in rows for column in columns]
        return [one for one in spots if one in self._tiles]

    def state(self, spot: Spot) -> tuple[bool, NDArray[np.uint32] | None]:
        """Whether a tile is up to date, and its pixels as they are (None: nothing)."""
        tile = self._tiles.get(spot)
        if tile is None:
            return False, None
        self._tiles.move_to_end(spot)
        return tile.dirty is None, tile.pixels

    def color_at(self, x: int, y: int) -> int:
        """The fill at a pixel of the image, as 0xAARRGGBB premultiplied; 0 where there is none."""
        pixels = self.compose((0, False, x // TILE, y // TILE))
        return 0 if pixels is None else int(pixels[y % TILE, x % TILE])

    def compose(self, spot: Spot, budget: Budget | None = None) -> NDArray[np.uint32] | None:
        """Bring a tile up to date and return its pixels, None where nothing lies in it.

        Where the ``budget`` ends while masks are still being unpacked, the tile stays as it was.
        """
        tile = self._tiles.get(spot)
        if tile is None:
            tile = self._tiles[spot] = _Tile(None, (0, 0, TILE, TILE))
            while len(self._tiles) > KEPT_TILES:
                self._tiles.popitem(last=False)
        if tile.dirty is None:
            return tile.pixels
        dirty = tile.dirty
        level, lines, column, row = spot
        left, top = column * TILE, row * TILE
        area = (left + dirty[0], top + dirty[1], left + dirty[2], top + dirty[3])
        keys = self.near(unscaled((area[0] - 4, area[1] - 4, area[2] + 4, area[3] + 4), level))
        if budget is not None and not self._prepared(keys, level, budget):
            return tile.pixels
        tile.dirty = None
        if tile.pixels is None:
            if not keys:
                return None
            tile.pixels = np.zeros((TILE, TILE), np.uint32)
        part = tile.pixels[dirty[1] : dirty[3], dirty[0] : dirty[2]]
        part[:] = 0
        for key in keys:
            style = self.style(key)
            if style is not None:
                _blend(part, area, self.masks[key], style, level, lines)
        if dirty == (0, 0, TILE, TILE) and not part.any():
            tile.pixels = None
        return tile.pixels

    def _prepared(self, keys: list[int], level: int, budget: Budget) -> bool:
        """Unpack the masks of a tile; False where the time did not suffice for all."""
        return all(not self.masks[key].prepare(level) or budget.left() for key in keys)


def _blend(
    part: NDArray[np.uint32], area: Rect, mask: Samples, style: Style, level: int, lines: bool
) -> None:
    """Paint one mask into the pixels of ``area``."""
    width = style.line if lines and not isinstance(mask, LiveSamples) else 0
    reach = width + 1 if width else 0
    x0, y0, x1, y1 = scaled(mask.rect, level)
    around = (x0 - reach, y0 - reach, x1 + reach, y1 + reach)
    common = intersect(around, area)
    if common is None:
        return
    seen = (common[0] - reach, common[1] - reach, common[2] + reach, common[3] + reach)
    inside = mask.sample(level, seen)
    target = part[
        common[1] - area[1] : common[3] - area[1], common[0] - area[0] : common[2] - area[0]
    ]
    kept = slice(reach, -reach) if reach else slice(None)
    if style.alpha > 0:
        np.copyto(target, np.uint32(style.fill()), where=inside[kept, kept])
    if width:
        _draw_edges(target, inside, kept, style)


_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def _draw_edges(target: NDArray[np.uint32], inside: BoolArray, kept: slice, style: Style) -> None:
    """The mask's outermost pixels in its colour, and a light line around them."""
    flat = np.ascontiguousarray(inside).view(np.uint8)
    inner = cv2.erode(flat, _CROSS, iterations=style.line)
    if style.halo:
        outer = cv2.dilate(flat, _CROSS)
        np.copyto(target, np.uint32(HALO), where=(outer > flat)[kept, kept])
    opaque = 0xFF000000 | (style.color.rgb() & 0xFFFFFF)
    np.copyto(target, np.uint32(opaque), where=(flat > inner)[kept, kept])
