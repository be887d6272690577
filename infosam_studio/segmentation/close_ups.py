"""From how near an image is looked at, so that its objects are large enough for the model.

An object of a few pixels of the model's input is smaller than a cell of the embedding and gets no
good mask from the whole image. So squares of it are encoded too, of a side that suits the sizes of
the accepted objects. Sides come in powers of two of image pixels, whatever the size of the image:
objects of one project are of about the same size in pixels, in small images and in large ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.segmentation.embedding_cache import Embedding
from infosam_studio.segmentation.prompts import Region

# An object should take up this much of the side of what is encoded: found on nuclei, coffee
# leaves and blood cells (training images), where a click on less gives a poor mask.
LARGE_ENOUGH = 0.055
SMALLEST_SIDE = 64
# Neighbouring squares share this much, so that an object at the edge of one is whole in another.
OVERLAP = 0.2
# Looking from nearer is not worth its time where it serves fewer of the objects than this.
WORTH = 0.1
# Squares of one image, at most: beyond that only larger ones are looked at.
MOST_VIEWS = 400


@dataclass(frozen=True)
class View:
    """What is encoded at once: ``region`` of an image of ``size`` (H, W), None for all of it.

    ``side`` is the distance it is looked at from, in pixels: what was learnt there counts.
    """

    side: int
    size: tuple[int, int]
    region: Region | None

    @property
    def box(self) -> Region:
        """The rectangle (x0, y0, x1, y1) in image pixels."""
        return self.region or (0, 0, self.size[1], self.size[0])

    @property
    def open_sides(self) -> tuple[bool, bool, bool, bool]:
        """Where the image goes on: left, top, right, bottom."""
        x0, y0, x1, y1 = self.box
        return x0 > 0, y0 > 0, x1 < self.size[1], y1 < self.size[0]

    def holds(self, box: tuple[int, int, int, int]) -> bool:
        """Whether an object with this box (x, y, width, height) is whole in here."""
        x0, y0, x1, y1 = self.box
        return box[0] >= x0 and box[1] >= y0 and box[0] + box[2] <= x1 and box[1] + box[3] <= y1

    def meets(self, box: tuple[int, int, int, int]) -> bool:
        """Whether any of a box (x, y, width, height) lies in here."""
        x0, y0, x1, y1 = self.box
        return box[0] < x1 and box[1] < y1 and box[0] + box[2] > x0 and box[1] + box[3] > y0

    def cut(self, mask: Rle) -> np.ndarray:
        """The part of an image's mask in here, bool [h, w]."""
        return masks.decode_window(mask, *self.box)

    def own(self, embedding: Embedding) -> Embedding:
        """The embedding of this view as that of an image of its own."""
        x0, y0, x1, y1 = self.box
        return Embedding(
            embedding.key, embedding.features, (y1 - y0, x1 - x0), None, embedding.input_size
        )


def side_for(pixels: float) -> int:
    """The side from which an object of ``pixels`` (root of its area) is large enough."""
    return max(SMALLEST_SIDE, 1 << max(0, int(log2(max(1.0, pixels / LARGE_ENOUGH)))))


def whole_side(size: tuple[int, int]) -> int:
    """The side that stands for all of an image of this size (H, W)."""
    return max(SMALLEST_SIDE, 1 << round(log2(max(size))))


def sides_for(images: Sequence[tuple[tuple[int, int], Sequence[float]]]) -> tuple[int, ...]:
    """The sides to look from, the farthest first, for images (size, roots of objects' areas).

    Every image counts the same, however many objects are on it. Nothing is looked at from so
    near that only few objects need it; from afar looking costs little.
    """
    shares: dict[int, float] = {}
    for size, objects in images:
        for pixels in objects:
            side = min(side_for(pixels), whole_side(size))
            shares[side] = shares.get(side, 0.0) + 1 / len(objects)
    total, left = sum(shares.values()), 0.0
    kept: list[int] = []
    for side in sorted(shares):
        left += shares[side]
        if left >= WORTH * total:
            kept.append(side)
    return tuple(sorted(kept, reverse=True))


def views(size: tuple[int, int], sides: Sequence[int]) -> list[View]:
    """All views of an image of ``size`` (H, W), those from afar first.

    A side that is as good as the whole image's gives the whole. Of an image smaller than every
    side the whole is looked at as from the nearest of them. Where a huge image has no view from
    afar, its squares are made larger until there are no more than `MOST_VIEWS`.
    """
    whole = whole_side(size)
    near = sorted((side for side in sides if side < whole), reverse=True)
    found: list[View] = []
    if len(near) < len(sides):
        found.append(View(min(side for side in sides if side >= whole), size, None))
    for side in near:
        regions = _squares(size, side)
        larger = side
        while not found and len(regions) > MOST_VIEWS:
            larger *= 2
            regions = _squares(size, larger)
        if len(found) + len(regions) > MOST_VIEWS:
            break
        found += [View(side, size, region) for region in regions]
    return found


def _squares(size: tuple[int, int], side: int) -> list[Region]:
    """Squares of ``side`` that cover an image, at equal distances."""
    rows, columns = _starts(size[0], side), _starts(size[1], side)
    return [(x, y, min(x + side, size[1]), min(y + side, size[0])) for y in rows for x in columns]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = 1 + ceil((length - side) / (side * (1 - OVERLAP)))
    return [round(n * (length - side) / (count - 1)) for n in range(count)]
