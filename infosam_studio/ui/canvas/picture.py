"""Images ready to be drawn: whole, in levels of halved size, or in tiles where they are huge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.pyramid import Pyramid

Levels = tuple[NDArray[np.uint8], ...]

SMALLEST_LEVEL = 512


@dataclass(frozen=True)
class Picture:
    """An upright image ready to be drawn.

    ``pixels`` uint8 [H,W,3] RGB; ``levels`` uint8 [h,w,4] BGRA, each half the size before;
    ``values`` [H,W,C] what the file holds, where ``pixels`` are made of it by a window.
    """

    image_id: int
    pixels: NDArray[np.uint8]
    levels: tuple[NDArray[np.uint8], ...]
    values: NDArray[Any] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        values = 0 if self.values is None else self.values.nbytes
        return self.pixels.nbytes + sum(level.nbytes for level in self.levels) + values


@dataclass(frozen=True)
class LargePicture:
    """An upright image that is drawn in tiles."""

    image_id: int
    pyramid: Pyramid

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pyramid.width, self.pyramid.height

    @property
    def nbytes(self) -> int:
        """How much memory it takes by itself: tiles are counted where they are kept."""
        return 2**20


def make_levels(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Drawable levels of an RGB image uint8 [H,W,3]; slow, for a worker thread."""
    levels = [cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA)]
    while max(levels[-1].shape[:2]) > 2 * SMALLEST_LEVEL:
        height, width = levels[-1].shape[:2]
        half = (max(1, width // 2), max(1, height // 2))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(np.ascontiguousarray(level) for level in levels)


def as_qimage(array: NDArray[np.uint8], image_format: QImage.Format) -> QImage:
    """A QImage on the memory of ``array`` uint8 [h,w,4] (it keeps the array alive)."""
    height, width = array.shape[:2]
    return QImage(array, width, height, array.strides[0], image_format)  # type: ignore[call-overload]
