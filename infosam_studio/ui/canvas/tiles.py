"""Huge pictures on the canvas: the tiles in view, read off the main thread."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QRectF, Signal, Slot
from PySide6.QtGui import QImage, QPainter, QTransform

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.pyramid import TILE, Pyramid
from infosam_studio.ui.canvas.overlay_item import level_for, on_pixels
from infosam_studio.ui.canvas.picture import as_qimage
from infosam_studio.ui.workers_images import Done, TaskThread

Table = NDArray[np.uint8]
Place = tuple[int, int, int]
"""Level, column and row of a tile."""

MEMORY_BYTES = 256 * 2**20
KEPT_VALUES = 4
# This many tiles around the view are read as well, once the view has what it needs.
AROUND = 1


@dataclass(frozen=True)
class _Key:
    """A tile of one picture in one look; ``serial`` counts pictures and looks."""

    serial: int
    place: Place
    raw: bool = False


class TileSource(QObject):
    """The tiles of one picture at a time: in memory as far as it reaches, else on their way.

    ``arrived`` tells that a tile can be drawn now, ``failed`` that the pyramid's file is damaged.
    """

    arrived = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread: TaskThread | None = None
        self.pyramid: Pyramid | None = None
        self._table: Table | None = None
        self._serial = 0
        self._tiles: OrderedDict[Place, QImage] = OrderedDict()
        self._stale: set[Place] = set()
        self._values: OrderedDict[Place, NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._pinned: set[Place] = set()
        self._asked: set[Place] = set()
        self._wanted: tuple[int, ...] = ()

    def show(self, pyramid: Pyramid | None, table: Table | None = None) -> None:
        """Serve this pyramid from now on, its values looked up in ``table`` uint8 [256]."""
        same = pyramid is self.pyramid
        self._serial += 1
        self.pyramid, self._table = pyramid, table
        self._asked.clear()
        self._wanted = ()
        if self._thread is not None:
            self._thread.drop(lambda _key: False)
        if same:
            self._stale = set(self._tiles)  # shown until the new look is there
        else:
            self._tiles.clear()
            self._stale.clear()
            self._values.clear()
            self._bytes, self._pinned = 0, set()
        if pyramid is not None:
            self._start()
            last = len(pyramid.levels) - 1
            # The two smallest levels are always there to fall back on.
            self._pinned = set(_all_of(pyramid, last)) | set(_all_of(pyramid, max(0, last - 1)))
            self._ask(self._pinned, rank=0)

    def _start(self) -> TaskThread:
        if self._thread is None:
            self._thread = TaskThread("tiles", self)
            self._thread.done.connect(self._take)
        return self._thread

    def get(self, place: Place) -> QImage | None:
        """The tile where it is in memory."""
        found = self._tiles.get(place)
        if found is not None:
            self._tiles.move_to_end(place)
        return found

    def want(self, level: int, columns: range, rows: range) -> None:
        """What is in view now: read it first, its surroundings next, nothing else any more."""
        pyramid = self.pyramid
        wanted = (level, columns.start, columns.stop, rows.start, rows.stop)
        if pyramid is None or wanted == self._wanted:
            return
        self._wanted = wanted
        inside = [(level, column, row) for row in rows for column in columns]
        x, y = (columns.start + columns.stop - 1) / 2, (rows.start + rows.stop - 1) / 2
        inside.sort(key=lambda place: abs(place[1] - x) + abs(place[2] - y))
        scale = pyramid.levels[level]
        wide = range(max(0, columns.start - AROUND), min(scale.columns, columns.stop + AROUND))
        high = range(max(0, rows.start - AROUND), min(scale.rows, rows.stop + AROUND))
        around = [(level, column, row) for row in high for column in wide]
        kept = {*inside, *around, *self._pinned}
        serial = self._serial
        self._start().drop(lambda key: key.serial == serial and (key.raw or key.place in kept))
        self._asked &= kept
        self._ask(inside, rank=1)
        self._ask(around, rank=2)

    def _ask(self, places: list[Place] | set[Place], rank: int) -> None:
        assert self.pyramid is not None
        for place in places:
            there = place in self._tiles and place not in self._stale
            if not there and place not in self._asked:
                self._asked.add(place)
                key = _Key(self._serial, place)
                self._start().submit(key, _Read(self.pyramid, place, self._table), rank=rank)

    @Slot(object)
    def _take(self, done: Done) -> None:
        key = done.key
        if key.serial != self._serial:
            return
        if not key.raw:
            self._asked.discard(key.place)
        if done.error is not None:
            self.failed.emit(str(done.error))
        elif key.raw:
            self._values[key.place] = done.result
            while len(self._values) > KEPT_VALUES:
                self._values.popitem(last=False)
        else:
            self._keep(key.place, done.result)
            self.arrived.emit(key.place)

    def _keep(self, place: Place, image: QImage) -> None:
        if place not in self._tiles:
            self._bytes += image.sizeInBytes()
        self._tiles[place] = image
        self._stale.discard(place)
        self._trim()

    def _trim(self) -> None:
        for place in [one for one in self._tiles if one not in self._pinned]:
            if self._bytes <= MEMORY_BYTES:
                return
            self._bytes -= self._tiles.pop(place).sizeInBytes()

    def value_at(self, x: int, y: int) -> NDArray[np.uint8] | None:
        """The pixel's colour in the file, uint8 [3]; None while it is being looked up."""
        place = (0, x // TILE, y // TILE)
        values = self._values.get(place)
        if values is not None:
            return np.asarray(values[y % TILE, x % TILE])
        if self.pyramid is not None:
            thread = self._start()
            key = _Key(self._serial, place, raw=True)
            thread.drop(lambda one: not one.raw)
            thread.submit(key, _ReadValues(self.pyramid, place), rank=0)
        return None

    def close(self) -> None:
        """End the reading thread."""
        if self._thread is not None:
            self._thread.close()


def _all_of(pyramid: Pyramid, level: int) -> Iterator[Place]:
    scale = pyramid.levels[level]
    for row in range(scale.rows):
        for column in range(scale.columns):
            yield level, column, row


class _Read:
    """Reads one tile and makes it drawable; runs on the tiles' thread."""

    def __init__(self, pyramid: Pyramid, place: Place, table: Table | None) -> None:
        self._pyramid, self._place, self._table = pyramid, place, table

    def __call__(self) -> QImage:
        pixels = self._pyramid.tile(*self._place)
        if self._table is not None:
            pixels = np.asarray(cv2.LUT(pixels, self._table), np.uint8)
        drawable = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA), np.uint8)
        return as_qimage(drawable, QImage.Format.Format_RGB32)


class _ReadValues:
    """Reads one tile as it is in the file."""

    def __init__(self, pyramid: Pyramid, place: Place) -> None:
        self._pyramid, self._place = pyramid, place

    def __call__(self) -> NDArray[np.uint8]:
        return self._pyramid.tile(*self._place)


def draw_tiles(
    painter: QPainter, source: TileSource, exposed: QRectF, seen: QRectF, ratio: float
) -> None:
    """Draw what there is of the tiles in ``exposed``, and ask for all of those in ``seen``.

    Both rectangles are in image pixels; ``ratio`` is the screen's device pixel ratio. Where a
    tile is not there yet the nearest coarser one takes its place.
    """
    pyramid = source.pyramid
    if pyramid is None:
        return
    transform = painter.worldTransform()
    level = min(level_for(transform.m11() * ratio, finest=0), len(pyramid.levels) - 1)
    source.want(level, *_range(pyramid, level, seen))
    columns, rows = _range(pyramid, level, exposed)
    painter.save()
    painter.resetTransform()
    for row in rows:
        for column in columns:
            _draw(painter, transform, source, (level, column, row))
    painter.restore()


def _range(pyramid: Pyramid, level: int, rect: QRectF) -> tuple[range, range]:
    """The columns and rows of tiles that a rectangle of the image touches."""
    scale, size = pyramid.levels[level], float(TILE << level)
    columns = range(
        max(0, int(rect.left() // size)), min(scale.columns, int(rect.right() // size) + 1)
    )
    rows = range(max(0, int(rect.top() // size)), min(scale.rows, int(rect.bottom() // size) + 1))
    return columns, rows


def _draw(painter: QPainter, transform: QTransform, source: TileSource, place: Place) -> None:
    pyramid = source.pyramid
    assert pyramid is not None
    level, column, row = place
    scale = pyramid.levels[level]
    width = min(TILE, scale.width - column * TILE)
    height = min(TILE, scale.height - row * TILE)
    size = float(1 << level)
    left, top = column * TILE * size, row * TILE * size
    # The last pixel of a level may stand for one column less than the others.
    right = min(left + width * size, float(pyramid.width))
    bottom = min(top + height * size, float(pyramid.height))
    target = on_pixels(transform.mapRect(QRectF(left, top, right - left, bottom - top)))
    for up in range(len(pyramid.levels) - level):
        image = source.get((level + up, column >> up, row >> up))
        if image is None:
            continue
        corner_x, corner_y = (column >> up) * TILE, (row >> up) * TILE
        part = QRectF(
            left / (size * 2**up) - corner_x,
            top / (size * 2**up) - corner_y,
            (right - left) / (size * 2**up),
            (bottom - top) / (size * 2**up),
        )
        painter.drawImage(target, image, part)
        return
