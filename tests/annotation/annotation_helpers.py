"""Small images and objects for the tests of the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord, Prompts

HEIGHT, WIDTH = 24, 32


def write_images(folder: Path, count: int, *, first: int = 0) -> list[Path]:
    """Small noise images ``<number>.png``, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def make_object(image_id: int, class_id: int, seed: int = 0, **fields: object) -> ObjectRecord:
    """An object with a mask and prompts that depend on the seed."""
    generator = np.random.default_rng(seed)
    bitmap = generator.random((HEIGHT, WIDTH)) < 0.3
    prompts = Prompts(points=((float(seed % WIDTH), 2.5, seed % 2),))
    record = ObjectRecord(0, image_id, class_id, masks.encode(bitmap), prompts, clicks=1)
    return ObjectRecord(**{**record.__dict__, **fields})  # type: ignore[arg-type]
