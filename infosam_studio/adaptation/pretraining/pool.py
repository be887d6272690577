"""Real photographs with labelled objects, prepared once into a cache folder.

A pool folder holds subsets, each with ``images/NAME.jpg`` and ``masks/NAME.png`` (index map, 0
background). Beside the labelled objects every picture gets unsupervised regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from infosam_studio.adaptation.pretraining.cache import Prepared, save_prepared
from infosam_studio.adaptation.pretraining.regions import region_tree

MIN_OBJECT_AREA = 36
SMOOTHING = (1.0, 1.6, 2.5)
TRUE_OBJECT, REGION = 0, 1


def pool_pairs(pool: Path) -> list[tuple[Path, Path]]:
    """All (image, mask) files of a pool, in a fixed order."""
    pairs = []
    for image in sorted(pool.glob("*/images/*")):
        mask = image.parent.parent / "masks" / f"{image.stem}.png"
        if mask.is_file():
            pairs.append((image, mask))
    return pairs


def read_pair(image: Path, mask: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Picture [H,W,3] uint8 RGB and index map [H,W] uint16."""
    bgr = cv2.imread(str(image), cv2.IMREAD_COLOR)
    index = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
    if bgr is None or index is None or index.shape[:2] != bgr.shape[:2]:
        raise ValueError(f"{image} and {mask} cannot be read as a pair")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8), index.astype(np.uint16)


def prepare_photograph(
    image: NDArray[np.uint8], index: NDArray[np.uint16], smooth: float
) -> Prepared:
    """Join labelled objects and unsupervised regions in one set of atoms."""
    region_atoms, region_members = region_tree(image, smooth)
    labels = [k for k in np.unique(index) if k > 0 and (index == k).sum() >= MIN_OBJECT_AREA]
    joint = index.astype(np.int64) * (int(region_atoms.max()) + 1) + region_atoms
    keys, inverse = np.unique(joint, return_inverse=True)
    label_of, region_of = np.divmod(keys, int(region_atoms.max()) + 1)
    rows = [label_of == k for k in labels] + [row[region_of] for row in region_members]
    members = np.zeros((len(rows), len(keys) + 1), np.bool_)
    if rows:
        members[:, 1:] = np.stack(rows)
    kinds = np.array([TRUE_OBJECT] * len(labels) + [REGION] * len(region_members), np.uint8)
    atoms = (inverse.reshape(index.shape) + 1).astype(np.uint16)
    return Prepared(image, atoms, members, kinds)


def prepare_pool(pool: Path, folder: Path) -> Iterator[int]:
    """Fill ``folder`` with the prepared pool; yields the count done, skips what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image_path, mask_path) in enumerate(pool_pairs(pool)):
        target = folder / f"pool-{number:05d}.npz"
        if not target.exists():
            image, index = read_pair(image_path, mask_path)
            smooth = SMOOTHING[number % len(SMOOTHING)]
            save_prepared(target, prepare_photograph(image, index, smooth))
        yield number + 1
