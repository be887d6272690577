"""Training samples: a prepared image, augmented, with a few objects chosen from it.

Sample ``number`` depends on the seed and the number alone, so a run can continue anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from infosam_studio.adaptation.pretraining.augment import crop_and_turn, pad_to, recolour, scale_to
from infosam_studio.adaptation.pretraining.cache import Prepared, load_prepared
from infosam_studio.adaptation.pretraining.prompts import first_click, tight_box

SMALLEST = 30
LARGEST_SHARE = 0.75
REGION_SHARE = 0.6


@dataclass
class Batch:
    """B images of P objects each, N = B*P.

    images [B,3,S,S] uint8; targets [N,1,S/2,S/2] uint8, 255 times the share covered; clicks
    [N,2] and boxes [N,4] float32 in 0..1.
    """

    images: Tensor
    targets: Tensor
    clicks: Tensor
    boxes: Tensor


class Samples(Dataset[tuple[NDArray[Any], ...]]):
    """Endless augmented samples from prepared files (or whole images when not augmenting)."""

    def __init__(
        self,
        files: Sequence[Path],
        size: int,
        prompts: int,
        seed: int,
        augmented: bool = True,
        photograph_share: float = 0.0,
    ) -> None:
        self.files = list(files)
        self.photograph_share = photograph_share
        photographs = [i for i, file in enumerate(self.files) if file.name.startswith("pool")]
        scenes = [i for i, file in enumerate(self.files) if not file.name.startswith("pool")]
        self.groups = [photographs or scenes, scenes or photographs]
        self.size, self.prompts, self.seed, self.augmented = size, prompts, seed, augmented

    def __getitem__(self, number: int) -> tuple[NDArray[Any], ...]:
        """Image [3,S,S] uint8, targets [P,1,S/2,S/2] uint8, clicks [P,2], boxes [P,4]."""
        rng = np.random.default_rng((self.seed, number, 77))
        first = number % len(self.files)
        if self.augmented:
            group = self.groups[0 if rng.random() < self.photograph_share else 1]
            first = group[int(rng.integers(len(group)))]
        for attempt in range(1000):
            prepared = load_prepared(self.files[(first + attempt) % len(self.files)])
            sample = self._sample(prepared, rng)
            if sample is not None:
                return sample
        raise ValueError("The prepared images hold no object large enough to train on.")

    def _sample(
        self, prepared: Prepared, rng: np.random.Generator
    ) -> tuple[NDArray[Any], ...] | None:
        """One attempt; None where no object is visible."""
        image, atoms = prepared.image, prepared.atoms
        if self.augmented:
            image, atoms = crop_and_turn(image, atoms, self.size, rng)
        else:
            image, atoms = scale_to(image, atoms, self.size)
        chosen = choose_objects(prepared, atoms, self.prompts, rng)
        if not chosen:
            return None
        if self.augmented:
            image = recolour(image, rng)
        image, atoms = pad_to(image, atoms, self.size)
        half = (self.size // 2, self.size // 2)
        targets, clicks, boxes = [], [], []
        for index in chosen:
            mask = prepared.members[index][atoms]
            share = cv2.resize(mask.astype(np.uint8) * 255, half, interpolation=cv2.INTER_AREA)
            targets.append(share[None])
            clicks.append(first_click(mask, rng))
            boxes.append(tight_box(mask, rng))
        return (
            np.ascontiguousarray(image.transpose(2, 0, 1)),
            np.stack(targets),
            np.array(clicks, np.float32),
            np.array(boxes, np.float32),
        )


def choose_objects(
    prepared: Prepared, atoms: NDArray[np.uint16], count: int, rng: np.random.Generator
) -> list[int]:
    """Objects visible in ``atoms``, small and large ones alike; repeated where there are few."""
    seen = np.bincount(atoms.ravel(), minlength=prepared.members.shape[1])
    area = prepared.members @ seen
    fits = (area >= SMALLEST) & (area <= LARGEST_SHARE * atoms.size)
    groups = [np.nonzero(fits & (prepared.kinds == kind))[0] for kind in (0, 1)]
    if not len(groups[0]) and not len(groups[1]):
        return []
    chosen: list[int] = []
    for _ in range(count):
        want = 1 if rng.random() < REGION_SHARE else 0
        group = groups[want] if len(groups[want]) else groups[1 - want]
        octave = np.floor(np.log2(area[group]))
        pick = rng.choice(np.unique(octave))
        fresh = [int(i) for i in group[octave == pick] if int(i) not in chosen]
        chosen.append(int(rng.choice(fresh or group[octave == pick])))
    return chosen


class _From(Sampler[int]):
    """The numbers start, start+1, ... without end."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        number = self.start
        while True:
            yield number
            number += 1


def collate(items: list[tuple[NDArray[Any], ...]]) -> Batch:
    """Join samples to a batch."""
    images, targets, clicks, boxes = zip(*items, strict=True)
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.concatenate(targets)),
        torch.from_numpy(np.concatenate(clicks)),
        torch.from_numpy(np.concatenate(boxes)),
    )


def _behave(_worker: int) -> None:
    """Data workers give way to the training process and use one thread."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(5)


def batches(samples: Samples, start: int, images: int, workers: int) -> Iterator[Batch]:
    """Endless batches beginning with sample ``start``.

    Workers are spawned: one forked from a process whose libraries already run threads can
    wait for ever on a lock that nobody holds.
    """
    loader = DataLoader(
        samples,
        batch_size=images,
        sampler=_From(start),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_behave,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
    yield from loader
