"""Masks as the trainer compares them: at the model's scale, in one view.

A target lives on a square canvas of ``side`` pixels that covers the encoder's square input, the
image in its upper left corner, padding right and below. Its values are the share of each canvas
pixel that the object covers, so thin and tiny objects do not vanish.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.adaptation.samples import Sample
from infosam_studio.adaptation.views import turned
from infosam_studio.annotation import masks
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.clicks import Click, next_click, tight_box
from infosam_studio.segmentation.geometry import resized_size

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Target:
    """One object in one view on the canvas.

    ``cover`` float32 [c, c] in 0..1; ``inside`` (h, w), the part of the canvas that is image;
    ``scale`` pixels of the encoder's square per canvas pixel; ``box`` float32 [4] (x0, y0, x1,
    y1) in pixels of the encoder's square, centres at whole numbers.
    """

    sample: Sample
    view: int
    cover: Tensor
    inside: tuple[int, int]
    scale: float
    box: Tensor

    @cached_property
    def hard(self) -> Bools:
        """bool [h, w] of the image part: covered to at least half, never empty."""
        height, width = self.inside
        cover = self.cover[:height, :width].numpy()
        inside: Bools = cover >= 0.5
        if not inside.any():
            inside = cover >= cover.max()
        return inside

    @property
    def visible(self) -> Tensor:
        """float32 [c, c]: 1 on the image, 0 on the padding, which no user ever sees."""
        shown = torch.zeros_like(self.cover)
        shown[: self.inside[0], : self.inside[1]] = 1
        return shown

    @cached_property
    def first_click(self) -> Click:
        """Where a careful user clicks first, (x, y, 1) on the canvas."""
        click = next_click(self.hard, np.zeros_like(self.hard))
        assert click is not None, "a target is never empty"
        return click

    def to_input(self, click: Click) -> tuple[float, float]:
        """A canvas pixel's centre in pixels of the encoder's square."""
        x, y, _ = click
        return (x + 0.5) * self.scale - 0.5, (y + 0.5) * self.scale - 0.5


def make_target(sample: Sample, view: int, *, image_size: int, side: int) -> Target:
    """The canvas of a sample; ``image_size`` is the side of the encoder's square."""
    mask = turned(masks.decode(sample.mask), view)
    height, width = resized_size(mask.shape[0], mask.shape[1], image_size)
    scale = image_size / side
    inside = max(1, round(height / scale)), max(1, round(width / scale))
    shrinks = inside[0] * inside[1] < mask.size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(mask.astype(np.float32), (inside[1], inside[0]), interpolation=how)
    cover = torch.zeros(side, side)
    cover[: inside[0], : inside[1]] = torch.from_numpy(np.clip(small, 0, 1))
    x0, y0, x1, y1 = tight_box(mask)
    across, down = width / mask.shape[1], height / mask.shape[0]
    box = torch.tensor([x0 * across, y0 * down, x1 * across, y1 * down])
    return Target(sample, view, cover, inside, scale, box)


class TargetStore:
    """Targets by object and view, made once; a float32 canvas of 256² takes 0.25 MB."""

    def __init__(
        self,
        *,
        image_size: int,
        side: int,
        limit_bytes: int = 512 * 2**20,
        transform: Callable[[Target], Target] | None = None,
    ) -> None:
        self.image_size, self.side = image_size, side
        self._limit = max(1, limit_bytes // (8 * side * side))
        self._made: dict[tuple[int, int], Target] = {}
        self._transform = transform

    def get(self, sample: Sample, view: int) -> Target:
        """The target of this sample in this view."""
        key = (sample.object_id, view)
        found = self._made.pop(key, None)
        if found is None:
            found = make_target(sample, view, image_size=self.image_size, side=self.side)
            if self._transform is not None:
                found = self._transform(found)
        self._made[key] = found
        while len(self._made) > self._limit:
            del self._made[next(iter(self._made))]
        return found


def union_sample(samples: list[Sample]) -> Sample:
    """All objects of one image as one mask: what recipe ``paper`` trains on."""
    first = samples[0]
    together = np.zeros((first.mask.height, first.mask.width), dtype=np.bool_)
    for sample in samples:
        together |= masks.decode(sample.mask)
    trusted = all(sample.trusted for sample in samples)
    return Sample(
        first.object_id,
        first.image_id,
        first.class_id,
        masks.encode(together),
        trusted,
        int(together.sum()),
    )
