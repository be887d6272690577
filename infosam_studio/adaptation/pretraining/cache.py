"""Prepared training images on disk: one small file each, read back in a few milliseconds.

A prepared image is the picture plus *atoms* (an index map; 0 belongs to no object) and
*members*, a table that says which atoms make up each object. So nested and overlapping
objects (a cell and its nucleus, a plant and its leaves, a region tree) share one map.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG_QUALITY = 95


@dataclass
class Prepared:
    """One picture with its objects.

    image: [H,W,3] uint8 RGB. atoms: [H,W] uint16. members: [objects, atoms+1] bool, column 0
    always False. kinds: [objects] uint8, 0 for true objects, 1 for unsupervised regions.
    """

    image: NDArray[np.uint8]
    atoms: NDArray[np.uint16]
    members: NDArray[np.bool_]
    kinds: NDArray[np.uint8]

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Object ``index`` as [H,W] bool."""
        result: NDArray[np.bool_] = self.members[index][self.atoms]
        return result


def save_prepared(path: Path, prepared: Prepared) -> None:
    """Write atomically; the picture as JPEG, the atoms as PNG."""
    bgr = cv2.cvtColor(prepared.image, cv2.COLOR_RGB2BGR)
    picture = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    atoms = cv2.imencode(".png", prepared.atoms)[1]
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with aside.open("wb") as stream:
        np.savez(
            stream,
            picture=picture,
            atoms=atoms,
            members=np.packbits(prepared.members, axis=1),
            width=np.int64(prepared.members.shape[1]),
            kinds=prepared.kinds,
        )
    os.replace(aside, path)


def load_prepared(path: Path) -> Prepared:
    """Read what :func:`save_prepared` wrote."""
    with np.load(path) as stored:
        fields: dict[str, Any] = {name: stored[name] for name in stored.files}
    bgr = cv2.imdecode(fields["picture"], cv2.IMREAD_COLOR)
    atoms = cv2.imdecode(fields["atoms"], cv2.IMREAD_UNCHANGED)
    if bgr is None or atoms is None:
        raise ValueError(f"{path} is not a prepared image")
    members = np.unpackbits(fields["members"], axis=1, count=int(fields["width"])).astype(bool)
    image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8)
    return Prepared(image, atoms.astype(np.uint16), members, fields["kinds"])
