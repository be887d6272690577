"""Procedural and real surface textures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from infosam_studio.adaptation.pretraining.cache import Prepared, load_prepared

Float = NDArray[np.float32]


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    coarsest: float = 96.0,
    octaves: int = 5,
    roughness: float = 0.6,
    stretch: float = 1.0,
) -> Float:
    """Smooth noise of several scales, [H,W] float32, mean 0, deviation 1.

    ``coarsest`` is the largest feature in px; ``stretch`` above 1 makes it longer vertically.
    """
    h, w = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        period = coarsest / 2**octave
        if period < 1.5:
            break
        rows = max(2, int(h / (period * stretch)) + 2)
        cols = max(2, int(w * stretch / period) + 2)
        grid = rng.standard_normal((min(rows, h), min(cols, w))).astype(np.float32)
        total += roughness**octave * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
    return np.asarray((total - total.mean()) / (total.std() + 1e-6), np.float32)


def random_colour(rng: np.random.Generator, saturation: float | None = None) -> Float:
    """An RGB colour [3] float32 in 0..1."""
    hue = rng.uniform(0, 360)
    full = rng.uniform(0, 0.9) if saturation is None else saturation
    hsv = np.array([[[hue, full, rng.uniform(0.1, 0.95)]]], np.float32)
    rgb: Float = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0].astype(np.float32)
    return rgb


def near_colour(rng: np.random.Generator, colour: Float, spread: float) -> Float:
    """A colour close to another."""
    shift = rng.normal(0, spread, 3) * 0.6 + rng.normal(0, spread)
    return np.clip(colour + shift, 0, 1).astype(np.float32)


def coloured(rng: np.random.Generator, pattern: Float, colour: Float, contrast: float) -> Float:
    """A pattern [H,W] of deviation 1 as a surface of about one colour, [H,W,3] in 0..1."""
    tint = (1 + rng.normal(0, 0.3, 3)).astype(np.float32) * contrast
    return np.clip(colour + pattern[..., None] * tint, 0, 1).astype(np.float32)


def pattern(rng: np.random.Generator, shape: tuple[int, int]) -> Float:
    """A pattern of deviation about 1: noise, grain, stripes, checks or speckle."""
    kind = rng.integers(6)
    if kind <= 2:
        coarsest = float(np.exp(rng.uniform(np.log(4), np.log(160))))
        stretch = float(rng.choice([1.0, 1.0, 3.0, 1 / 3]))
        return fractal(rng, shape, coarsest, 4, rng.uniform(0.4, 0.9), stretch)
    if kind == 3:
        grain = rng.standard_normal(shape).astype(np.float32)
        blurred = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 3.0))
        spread = float(blurred.std())
        return np.asarray(blurred / (spread + 1e-6), np.float32)
    warp = fractal(rng, shape, 120.0, 3) * rng.uniform(0, 6)
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(4), np.log(40)))
    along = (np.cos(angle) * xs + np.sin(angle) * ys + warp) * (2 * np.pi / period)
    wave = np.sin(along)
    if kind == 5:
        across = (-np.sin(angle) * xs + np.cos(angle) * ys + warp) * (2 * np.pi / period)
        wave = wave * np.sin(across) * 1.4
    return np.asarray(wave * 1.4, np.float32)


class RealPatches:
    """Random pieces of prepared photographs, as textures and backgrounds."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __bool__(self) -> bool:
        return bool(self.files)

    def prepared(self, rng: np.random.Generator) -> Prepared:
        """A random prepared photograph."""
        return load_prepared(self.files[int(rng.integers(len(self.files)))])

    def patch(self, rng: np.random.Generator, shape: tuple[int, int], least: float = 0.12) -> Float:
        """A crop of at least that share of a side, scaled to ``shape``: [H,W,3] in 0..1."""
        image = self.prepared(rng).image
        h, w = image.shape[:2]
        side = int(min(h, w) * rng.uniform(least, max(least, 0.9)))
        y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
        crop = np.rot90(image[y : y + side, x : x + side], int(rng.integers(4)))
        scaled = cv2.resize(np.ascontiguousarray(crop), shape[::-1], interpolation=cv2.INTER_AREA)
        return (scaled / 255).astype(np.float32)


def surface(
    rng: np.random.Generator,
    shape: tuple[int, int],
    real: RealPatches,
    colour: Float | None = None,
    real_share: float = 0.4,
) -> Float:
    """Any surface, [H,W,3] float32 in 0..1: procedural, or a real patch, perhaps retinted."""
    base = random_colour(rng) if colour is None else colour
    if real and rng.random() < real_share:
        patch = real.patch(rng, shape, least=0.08)
        if colour is not None or rng.random() < 0.4:
            grey = patch.mean(axis=2)
            spread = rng.uniform(0.03, 0.15)
            return coloured(rng, (grey - grey.mean()) / (grey.std() + 1e-3), base, spread)
        return patch
    contrast = float(np.exp(rng.uniform(np.log(0.005), np.log(0.18))))
    return coloured(rng, pattern(rng, shape), base, contrast)
