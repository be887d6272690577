"""Tile pyramids: huge images in pieces that can be read one by one, at every scale.

One file per image and view. Level 0 is the view itself, each further level has half its size,
down to one tile. Tiles are lossless (differences along the rows, then Zstandard), so what the
model and the person see is the view, bit for bit.

    magic | tiles | index uint64 [n, 3] (offset, length, checksum) | JSON | its length | magic

A file that was cut off or belongs to something else counts as absent.
"""

from __future__ import annotations

import contextlib
import json
import threading
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.pixels import View
from infosam_studio.errors import Cancelled, StudioError

TILE: Final = 512
MAGIC: Final = b"INFOSAM-PYRAMID-1\n"
_LENGTH: Final = 8


class PyramidError(StudioError):
    """A pyramid's file is damaged or gone."""


@dataclass(frozen=True)
class Level:
    """One scale: its size in pixels, in tiles, and the number of its first tile."""

    width: int
    height: int
    first: int

    @property
    def columns(self) -> int:
        return -(-self.width // TILE)

    @property
    def rows(self) -> int:
        return -(-self.height // TILE)


def levels_of(width: int, height: int) -> tuple[Level, ...]:
    """The scales of an image: halved, rounded up, until one tile holds it."""
    found = [Level(width, height, 0)]
    while max(found[-1].width, found[-1].height) > TILE:
        last = found[-1]
        first = last.first + last.columns * last.rows
        found.append(Level((last.width + 1) // 2, (last.height + 1) // 2, first))
    return tuple(found)


class Pyramid:
    """An open pyramid. All methods may be called from any thread."""

    def __init__(
        self, path: Path, stream: BinaryIO, header: dict[str, Any], index: NDArray[np.uint64]
    ) -> None:
        self.path = path
        self.width, self.height = int(header["width"]), int(header["height"])
        self.levels = levels_of(self.width, self.height)
        self._stream, self._index = stream, index
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, key: str) -> Pyramid | None:
        """The pyramid with this key; None where there is no sound file."""
        try:
            stream = open(path, "rb")  # noqa: SIM115  stays open for its tiles
        except OSError:
            return None
        try:
            header, index = _read_index(stream)
            if header["key"] == key:
                return cls(path, stream, header, index)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            pass
        stream.close()
        return None

    def tile(self, level: int, column: int, row: int) -> View:
        """One tile, uint8 [h, w, 3] RGB; those at the right and lower edge are smaller."""
        scale = self.levels[level]
        number = scale.first + row * scale.columns + column
        offset, length, checksum = (int(value) for value in self._index[number])
        try:
            with self._lock:
                self._stream.seek(offset)
                data = self._stream.read(length)
        except (OSError, ValueError) as error:
            raise self._damaged() from error
        if zlib.crc32(data) != checksum:
            raise self._damaged()
        height = min(TILE, scale.height - row * TILE)
        width = min(TILE, scale.width - column * TILE)
        return _decode(data, height, width)

    def _damaged(self) -> PyramidError:
        return PyramidError(f"The tiles in {self.path.name} are damaged; open the image again.")

    def region(self, x0: int, y0: int, x1: int, y1: int, level: int = 0) -> View:
        """A rectangle of one level in that level's pixels, uint8 [y1-y0, x1-x0, 3]."""
        out = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for row in range(y0 // TILE, -(-y1 // TILE)):
            for column in range(x0 // TILE, -(-x1 // TILE)):
                left, top = column * TILE, row * TILE
                tile = self.tile(level, column, row)
                ax, ay = max(x0, left), max(y0, top)
                bx, by = min(x1, left + tile.shape[1]), min(y1, top + tile.shape[0])
                part = tile[ay - top : by - top, ax - left : bx - left]
                out[ay - y0 : by - y0, ax - x0 : bx - x0] = part
        return out

    def close(self) -> None:
        """Close the file; tiles cannot be read any more."""
        with self._lock:
            self._stream.close()


def _read_index(stream: BinaryIO) -> tuple[dict[str, Any], NDArray[np.uint64]]:
    """The header and where each tile lies; ValueError where the file is not whole."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("no pyramid")
    size = stream.seek(0, 2)
    tail = size - len(MAGIC) - _LENGTH
    stream.seek(tail)
    length = int.from_bytes(stream.read(_LENGTH), "little")
    if stream.read(len(MAGIC)) != MAGIC or length > tail:
        raise ValueError("cut off")
    stream.seek(tail - length)
    header = json.loads(stream.read(length))
    last = levels_of(int(header["width"]), int(header["height"]))[-1]
    count = last.first + last.columns * last.rows
    stream.seek(tail - length - count * 24)
    content = stream.read(count * 24)
    if zlib.crc32(content) != header["index_crc32"]:
        raise ValueError("damaged")
    return header, np.frombuffer(content, "<u8").reshape(count, 3)


# One byte before the data says how it is packed: grey tiles are a third of the work.
_GREY, _COLOR = b"\1", b"\3"


def _encode(tile: View) -> bytes:
    grey = bool((tile[:, :, :1] == tile[:, :, 1:]).all())
    stored = np.ascontiguousarray(tile[:, :, :1] if grey else tile)
    steps = stored.copy()
    steps[:, 1:] -= stored[:, :-1]
    return (_GREY if grey else _COLOR) + bytes(imagecodecs.zstd_encode(steps.tobytes(), 1))


def _decode(data: bytes, height: int, width: int) -> View:
    channels = data[0]
    try:
        steps = np.frombuffer(imagecodecs.zstd_decode(data[1:]), np.uint8)
        steps = steps.reshape(height, width, channels)
    except (RuntimeError, ValueError) as error:
        raise PyramidError("A tile of a large image is damaged; open the image again.") from error
    values = np.cumsum(steps, axis=1, dtype=np.uint8)
    return np.repeat(values, 3, axis=2) if channels == 1 else values


def build(
    path: Path,
    key: str,
    size: tuple[int, int],
    bands: Iterable[View],
    *,
    progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> None:
    """Write the pyramid of an image of ``size`` (width, height) from its ``bands``, top to bottom.

    Written aside and renamed. Needs memory for about three bands. `Cancelled` where ``cancelled``
    answers True between bands; ``progress`` gets the share done, 0..1.
    """
    width, height = size
    part = path.with_name(f"{path.name}.{threading.get_ident()}.part")
    try:
        with open(part, "wb") as stream:
            writer = _Writer(stream, width, height)
            done = 0
            for band in bands:
                if cancelled is not None and cancelled():
                    raise Cancelled
                if band.shape[1] != width or done + band.shape[0] > height:
                    raise PyramidError(
                        f"An image changed while it was read: it is not {width} x {height} pixels "
                        "any more. Open its folder again."
                    )
                writer.add(0, band)
                done += band.shape[0]
                if progress is not None:
                    progress(done / height)
            if done != height:
                raise PyramidError("An image ended too early while it was read; open it again.")
            writer.finish(key)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


class _Writer:
    """Collects rows on every level and writes a row of tiles once it is full."""

    def __init__(self, stream: BinaryIO, width: int, height: int) -> None:
        self._stream, self._width, self._height = stream, width, height
        self._levels = levels_of(width, height)
        last = self._levels[-1]
        self._index = np.zeros((last.first + last.columns * last.rows, 3), "<u8")
        self._rows = [np.empty((TILE, level.width, 3), np.uint8) for level in self._levels]
        self._held = [0] * len(self._levels)
        self._written = [0] * len(self._levels)
        stream.write(MAGIC)

    def add(self, level: int, band: View) -> None:
        """Rows of a level, continuing where the last ones ended."""
        top = 0
        while top < band.shape[0]:
            held = self._held[level]
            count = min(TILE - held, band.shape[0] - top)
            self._rows[level][held : held + count] = band[top : top + count]
            self._held[level] += count
            top += count
            done = self._written[level] * TILE + self._held[level]
            if self._held[level] == TILE or done == self._levels[level].height:
                self._flush(level)

    def _flush(self, level: int) -> None:
        scale, row = self._levels[level], self._written[level]
        rows = self._rows[level][: self._held[level]]
        for column in range(scale.columns):
            data = _encode(rows[:, column * TILE : (column + 1) * TILE])
            number = scale.first + row * scale.columns + column
            self._index[number] = (self._stream.tell(), len(data), zlib.crc32(data))
            self._stream.write(data)
        self._written[level] += 1
        self._held[level] = 0
        if level + 1 < len(self._levels):
            self.add(level + 1, halved(rows))

    def finish(self, key: str) -> None:
        """Index and header."""
        content = self._index.tobytes()
        header = {
            "key": key,
            "width": self._width,
            "height": self._height,
            "index_crc32": zlib.crc32(content),
        }
        text = json.dumps(header).encode()
        self._stream.write(content + text + len(text).to_bytes(_LENGTH, "little") + MAGIC)


def halved(rows: View) -> View:
    """Half the size, rounded up, by averaging; an odd last row or column counts twice."""
    height, width = rows.shape[:2]
    if height % 2 or width % 2:
        rows = np.asarray(
            cv2.copyMakeBorder(rows, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8
        )
    size = (rows.shape[1] // 2, rows.shape[0] // 2)
    return np.asarray(cv2.resize(rows, size, interpolation=cv2.INTER_AREA), np.uint8)
