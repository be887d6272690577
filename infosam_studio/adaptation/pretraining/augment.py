"""Crops, turns, flips and colour changes of prepared images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Atoms = NDArray[np.uint16]
PAD_COLOUR = (124, 116, 104)


def crop_and_turn(
    image: Image, atoms: Atoms, size: int, rng: np.random.Generator
) -> tuple[Image, Atoms]:
    """Random crop, quarter turn and flip, longest side scaled to ``size`` (not padded)."""
    h, w = atoms.shape
    share = 1.0 if rng.random() < 0.25 else float(np.exp(rng.uniform(np.log(0.3), 0.0)))
    squeeze = float(np.exp(rng.normal(0, 0.15)))
    ch = int(np.clip(share * h * squeeze, 48, h))
    cw = int(np.clip(share * w / squeeze, 48, w))
    y, x = int(rng.integers(h - ch + 1)), int(rng.integers(w - cw + 1))
    image, atoms = image[y : y + ch, x : x + cw], atoms[y : y + ch, x : x + cw]
    stretch = float(np.exp(rng.normal(0, 0.08)))
    image, atoms = scale_to(image, atoms, size, stretch)
    turns = int(rng.integers(4))
    image, atoms = np.rot90(image, turns), np.rot90(atoms, turns)
    if rng.random() < 0.5:
        image, atoms = image[:, ::-1], atoms[:, ::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(atoms)


def scale_to(image: Image, atoms: Atoms, size: int, stretch: float = 1.0) -> tuple[Image, Atoms]:
    """Scale so that the longest side is ``size``; ``stretch`` changes the aspect a little."""
    h, w = atoms.shape
    height, width = h * stretch, w / stretch
    scale = size / max(height, width)
    target = (max(8, round(width * scale)), max(8, round(height * scale)))
    target = (min(target[0], size), min(target[1], size))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, target, interpolation=how).astype(np.uint8)
    atoms = cv2.resize(atoms, target, interpolation=cv2.INTER_NEAREST).astype(np.uint16)
    return image, atoms


def pad_to(image: Image, atoms: Atoms, size: int) -> tuple[Image, Atoms]:
    """Pad right and bottom to a square; the colour is what SAM's zero padding stands for."""
    h, w = atoms.shape
    edges = (0, size - h, 0, size - w, cv2.BORDER_CONSTANT)
    image = cv2.copyMakeBorder(image, *edges, value=PAD_COLOUR).astype(np.uint8)
    return image, cv2.copyMakeBorder(atoms, *edges, value=0).astype(np.uint16)


def recolour(image: Image, rng: np.random.Generator) -> Image:
    """Grey, inverted, shuffled or shifted channels, contrast, gamma, blur and noise."""
    if rng.random() < 0.25:
        weights = rng.dirichlet((1.0, 1.0, 1.0)).astype(np.float32)
        grey = cv2.transform(image, weights[None, :]).astype(np.uint8).reshape(image.shape[:2])
        image = cv2.merge([grey] * 3).astype(np.uint8)
    elif rng.random() < 0.25:
        image = np.ascontiguousarray(image[..., rng.permutation(3)])
    elif rng.random() < 0.3:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] = hsv[..., 0] + np.uint8(rng.integers(256))
        hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.3, 1.6), 0, 255)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.uint8)
    image = cv2.LUT(image, _curves(rng)).astype(np.uint8)
    return _degrade(image, rng)


def _curves(rng: np.random.Generator) -> NDArray[np.uint8]:
    """One tone curve per channel as a look-up table [1,256,3]."""
    level = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.normal(0, 0.3))
    gain = np.exp(rng.normal(-0.1, 0.3) + rng.normal(0, 0.08, 3))
    if rng.random() < 0.12:
        gain *= rng.uniform(0.15, 0.6)
    middle = rng.uniform(0.3, 0.7)
    curve = (level - middle) * gain + middle + rng.normal(0, 0.08) + rng.normal(0, 0.03, 3)
    if rng.random() < 0.15:
        curve = 1 - curve
    table: NDArray[np.uint8] = (np.clip(curve, 0, 1) * 255).astype(np.uint8)[None]
    return table


def _degrade(image: Image, rng: np.random.Generator) -> Image:
    """What optics, sensors and storage do to a picture."""
    h, w = image.shape[:2]
    if rng.random() < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)).astype(np.uint8)
    if rng.random() < 0.15:
        scale = rng.uniform(0.3, 0.8)
        small = cv2.resize(image, (max(8, int(w * scale)), max(8, int(h * scale))))
        image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if rng.random() < 0.25:
        channels = 1 if rng.random() < 0.5 else 3
        noise = rng.normal(0, rng.uniform(1, 16), (h, w, channels)).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image
