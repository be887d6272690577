"""Scenes made of real objects and regions cut out of photographs and pasted elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from infosam_studio.adaptation.pretraining.canvas import Canvas, Float
from infosam_studio.adaptation.pretraining.textures import RealPatches, surface

SMALLEST_CUT = 400


def collage(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """A few to many cut-outs, often repeats of one kind, on any surface."""
    canvas = Canvas(surface(rng, shape, real, None, 0.7))
    repeats = rng.random() < 0.4
    count = int(rng.integers(6, 40)) if repeats else int(rng.integers(2, 12))
    longest = float(np.exp(rng.uniform(np.log(20), np.log(90 if repeats else 280))))
    pieces = [_cut_out(rng, real) for _ in range(2 if repeats else min(count, 6))]
    found = [piece for piece in pieces if piece is not None]
    for _ in range(count if found else 0):
        cut, mask = found[int(rng.integers(len(found)))]
        size = longest * np.exp(rng.normal(0, 0.3))
        picture, alpha = _transformed(rng, cut, mask, size)
        y = int(rng.uniform(-0.3 * alpha.shape[0], shape[0] - 0.7 * alpha.shape[0]))
        x = int(rng.uniform(-0.3 * alpha.shape[1], shape[1] - 0.7 * alpha.shape[1]))
        canvas.paste(alpha, picture, (y, x))
    return canvas


def _cut_out(rng: np.random.Generator, real: RealPatches) -> tuple[Float, NDArray[np.bool_]] | None:
    """A random object or region of a photograph: picture [h,w,3] in 0..1 and mask [h,w]."""
    prepared = real.prepared(rng)
    seen = np.bincount(prepared.atoms.ravel(), minlength=prepared.members.shape[1])
    area = prepared.members @ seen
    kind = 0 if rng.random() < 0.6 else 1
    usable = np.nonzero((area > SMALLEST_CUT) & (prepared.kinds == kind))[0]
    if not len(usable):
        return None
    mask = prepared.mask(int(rng.choice(usable)))
    ys, xs = np.nonzero(mask)
    window = (slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1))
    return (prepared.image[window] / 255).astype(np.float32), mask[window]


def _transformed(
    rng: np.random.Generator, picture: Float, mask: NDArray[np.bool_], longest: float
) -> tuple[Float, Float]:
    """Scaled, turned, tinted; the mask becomes a soft alpha."""
    turns = int(rng.integers(4))
    picture, mask = np.rot90(picture, turns), np.rot90(mask, turns)
    if rng.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    scale = min(1.5, longest / max(mask.shape))
    size = (max(5, round(mask.shape[1] * scale)), max(5, round(mask.shape[0] * scale)))
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    alpha = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.3, 1.2))
    tint = rng.normal(0, 0.06, 3).astype(np.float32)
    return np.clip(small + tint, 0, 1).astype(np.float32), alpha.astype(np.float32)
