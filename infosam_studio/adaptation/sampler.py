"""Which samples make up step t: a function of the seed and t alone.

Distinct images come first, because the Gram matrices of the information terms live on
differences between samples; a pair of object and view never occurs twice in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infosam_studio.adaptation.samples import Sample


@dataclass(frozen=True)
class Item:
    """One sample in one view."""

    sample: Sample
    view: int

    @property
    def key(self) -> tuple[int, int]:
        """(image or region, view), the key of its embedding."""
        return self.sample.frame_id, self.view


class Sampler:
    """Batches of items; ``batch`` is lowered to the number of distinct pairs there are."""

    def __init__(
        self, samples: Sequence[Sample], *, batch: int, views: Sequence[int], seed: int
    ) -> None:
        self._by_image: dict[int, list[Sample]] = {}
        for sample in samples:
            self._by_image.setdefault(sample.image_id, []).append(sample)
        self._images = sorted(self._by_image)
        self._views = tuple(views)
        self._seed = seed
        self.size = max(1, min(batch, len(samples) * len(self._views)))

    def generator(self, step: int) -> np.random.Generator:
        """The random numbers of a step; prompts draw from it after the batch."""
        return np.random.default_rng([self._seed, step])

    def batch(self, step: int, rng: np.random.Generator) -> list[Item]:
        """The items of step ``step`` (from 0)."""
        items: list[Item] = []
        taken: set[tuple[int, int]] = set()
        position = step * self.size
        while len(items) < self.size:
            lap, place = divmod(position, len(self._images))
            item = self._pick(self._lap(lap)[place], lap, taken, rng)
            if item is not None:
                taken.add((item.sample.object_id, item.view))
                items.append(item)
            position += 1
        return items

    def _lap(self, lap: int) -> list[int]:
        order = np.random.default_rng([self._seed, 1, lap]).permutation(len(self._images))
        return [self._images[index] for index in order]

    def _pick(
        self, image: int, lap: int, taken: set[tuple[int, int]], rng: np.random.Generator
    ) -> Item | None:
        """An object of this image: every visit goes on to the next one, in shuffled order."""
        samples = self._by_image[image]
        turn, place = divmod(lap, len(samples))
        order = np.random.default_rng([self._seed, 2, image, turn]).permutation(len(samples))
        view = self._views[int(rng.integers(len(self._views)))]
        wanted = Item(samples[int(order[place])], view)
        if (wanted.sample.object_id, wanted.view) not in taken:
            return wanted
        for sample in samples:
            for view in self._views:
                if (sample.object_id, view) not in taken:
                    return Item(sample, view)
        return None
