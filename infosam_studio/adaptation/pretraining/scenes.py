"""Procedural scenes: one call makes a picture with its objects, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from infosam_studio.adaptation.pretraining import looks_macro, looks_micro
from infosam_studio.adaptation.pretraining.cache import Prepared, save_prepared
from infosam_studio.adaptation.pretraining.canvas import Canvas
from infosam_studio.adaptation.pretraining.collage import collage
from infosam_studio.adaptation.pretraining.textures import RealPatches, fractal

Look = Callable[[np.random.Generator, tuple[int, int], RealPatches], Canvas]

LOOKS: dict[str, tuple[Look, float]] = {
    "fluorescence": (looks_micro.fluorescence, 1.2),
    "stained_cells": (looks_micro.stained_cells, 1.2),
    "tissue": (looks_micro.tissue, 0.5),
    "ultrasound": (looks_micro.ultrasound, 0.8),
    "nerves": (looks_micro.nerves, 1.4),
    "skin": (looks_micro.skin, 1.2),
    "generic": (looks_micro.generic, 1.5),
    "spotted_leaf": (looks_macro.spotted_leaf, 0.9),
    "leaf_photograph": (looks_macro.leaf_photograph, 1.4),
    "plants": (looks_macro.plants, 1.4),
    "steel": (looks_macro.steel, 1.4),
    "person": (looks_macro.person, 1.4),
    "mosaic": (looks_macro.mosaic, 0.8),
    "network": (looks_macro.network, 0.4),
    "collage": (collage, 2.0),
}
SHAPES = ((512, 512), (512, 512), (384, 512), (512, 384))


def make_scene(seed: int, number: int, real: RealPatches, look: str | None = None) -> Prepared:
    """Scene ``number`` of a seed; ``look`` chooses its kind, otherwise it is drawn."""
    rng = np.random.default_rng((seed, number, 55))
    names = [name for name in LOOKS if real or name != "collage"]
    weights = np.array([LOOKS[name][1] for name in names])
    name = look or str(rng.choice(names, p=weights / weights.sum()))
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    canvas = LOOKS[name][0](rng, shape, real)
    _finish(rng, canvas)
    prepared = canvas.prepared()
    if len(prepared.members) or look:
        return prepared
    return make_scene(seed, number + 1_000_003, real)


def _finish(rng: np.random.Generator, canvas: Canvas) -> None:
    """Uneven light, slight blur and sensor noise over the whole picture."""
    image = canvas.image
    if rng.random() < 0.5:
        light = 1 + fractal(rng, canvas.shape, 400, 2) * rng.uniform(0, 0.15)
        image = image * light[..., None]
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)).astype(np.float32)
    noise = rng.standard_normal(image.shape).astype(np.float32)
    if rng.random() < 0.5:
        noise = noise.mean(axis=2, keepdims=True) * 1.7
    canvas.image = image + noise * rng.uniform(0, 0.03)


def prepare_scenes(
    count: int, seed: int, folder: Path, photographs: list[Path], first: int = 0
) -> Iterator[int]:
    """Fill ``folder`` with scenes; yields the count done, skips what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    real = RealPatches(photographs)
    for number in range(first, first + count):
        target = folder / f"scene-{number:05d}.npz"
        if not target.exists():
            save_prepared(target, make_scene(seed, number, real))
        yield number + 1
