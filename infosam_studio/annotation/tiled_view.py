"""A huge image as the model takes it: the part that is asked for, never all of it at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.pixels import View
from infosam_studio.annotation.pyramid import Pyramid, halved
from infosam_studio.annotation.pyramid_store import is_large

Box = tuple[int, int, int, int]


class TiledView:
    """A pyramid that is sliced like the array uint8 [H, W, 3] it was made of.

    Only ``view[y0:y1, x0:x1]`` is understood; what it gives is an ordinary array.
    """

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, pyramid: Pyramid) -> None:
        self.pyramid = pyramid
        self.shape = (pyramid.height, pyramid.width, 3)

    def __getitem__(self, place: tuple[slice, slice]) -> View:
        y0, y1, _ = place[0].indices(self.shape[0])
        x0, x1, _ = place[1].indices(self.shape[1])
        return self.pyramid.region(x0, y0, x1, y1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise MemoryError("a huge image is not unpacked as a whole")


def part_for_input(image: NDArray[np.uint8] | TiledView, box: Box, side: int) -> View:
    """What lies in ``box`` (x0, y0, x1, y1), uint8 [h, w, 3], to be resized to ``side`` pixels.

    Where that is a huge area it comes at half the size, a quarter …, still at least twice as
    large as asked for. The same for an array as for the pyramid of the same image.
    """
    x0, y0, x1, y1 = box
    level = 0
    if is_large(x1 - x0, y1 - y0):
        while max(x1 - x0, y1 - y0) >> (level + 1) >= 2 * side:
            level += 1
    if isinstance(image, TiledView):
        around = (x0 >> level, y0 >> level, -(-x1 >> level), -(-y1 >> level))
        return image.pyramid.region(*around, level=level)
    step = 1 << level
    part = image[
        y0 // step * step : -(-y1 // step) * step, x0 // step * step : -(-x1 // step) * step
    ]
    for _ in range(level):
        part = halved(part)
    return part
