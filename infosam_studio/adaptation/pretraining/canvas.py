"""A canvas that paints objects into a picture and keeps track of which pixel is whose."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from infosam_studio.adaptation.pretraining.cache import Prepared
from infosam_studio.adaptation.pretraining.shapes import Contour

Float = NDArray[np.float32]
SMALLEST_VISIBLE = 24
SUBPIXEL_BITS = 4


class Canvas:
    """Picture [H,W,3] float32 in 0..1 with an atom per painted thing.

    An atom may lie inside a parent (a nucleus in its cell, a leaf on its plant): its visible
    pixels then belong to the parent as well.
    """

    def __init__(self, background: Float) -> None:
        self.image = np.array(background, np.float32)
        self.shape: tuple[int, int] = (background.shape[0], background.shape[1])
        self.atoms = np.zeros(self.shape, np.uint16)
        self.parents: list[int] = [0]
        self.is_object: list[bool] = [False]

    def new_atom(self, parent: int = 0, counts: bool = True) -> int:
        """A new atom number; ``counts`` False makes it clutter nobody is asked to segment."""
        self.parents.append(parent)
        self.is_object.append(counts)
        return len(self.parents) - 1

    def paint(
        self,
        contours: Sequence[Contour],
        look: Float,
        *,
        parent: int = 0,
        soft: float = 0.0,
        opacity: float = 1.0,
        counts: bool = True,
        holes: Sequence[Contour] = (),
        atom: int | None = None,
    ) -> int:
        """Paint a shape in a colour [3] or surface [H,W,3]; returns its atom.

        ``soft`` blurs the border by that many px (the mask border is where it is half opaque).
        A ``parent`` confines the shape to the parent's visible pixels.
        """
        number = self.new_atom(parent, counts) if atom is None else atom
        window = self._window(contours, soft)
        if window is None:
            return number
        alpha = self._alpha(contours, holes, window, soft)
        if parent:
            inside = np.isin(self.atoms[window], self._family(parent))
            alpha = alpha * inside
        self.atoms[window][alpha > 0.5] = number
        weight = (alpha * opacity)[..., None]
        here = look if look.ndim == 1 else look[window]
        self.image[window] = self.image[window] * (1 - weight) + here * weight
        return number

    def paste(self, alpha: Float, picture: Float, corner: tuple[int, int]) -> int:
        """Paste a cut-out [h,w,3] with alpha [h,w], its top left at ``corner`` (y, x)."""
        number = self.new_atom()
        y, x = corner
        h, w = alpha.shape
        y0, x0 = max(y, 0), max(x, 0)
        y1, x1 = min(y + h, self.shape[0]), min(x + w, self.shape[1])
        if y1 <= y0 or x1 <= x0:
            return number
        source = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
        window = (slice(y0, y1), slice(x0, x1))
        weight = alpha[source][..., None]
        self.image[window] = self.image[window] * (1 - weight) + picture[source] * weight
        self.atoms[window][alpha[source] > 0.5] = number
        return number

    def _family(self, parent: int) -> list[int]:
        """The parent and everything inside it."""
        family = [parent]
        for number, above in enumerate(self.parents):
            if above in family:
                family.append(number)
        return family

    def _window(self, contours: Sequence[Contour], soft: float) -> tuple[slice, slice] | None:
        """The part of the canvas a shape can touch."""
        points = np.concatenate(contours)
        margin = 3 * soft + 2
        low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
        x0, y0 = max(int(low[0]), 0), max(int(low[1]), 0)
        x1, y1 = min(int(high[0]) + 1, self.shape[1]), min(int(high[1]) + 1, self.shape[0])
        if x1 - x0 < 1 or y1 - y0 < 1:
            return None
        return slice(y0, y1), slice(x0, x1)

    def _alpha(
        self,
        contours: Sequence[Contour],
        holes: Sequence[Contour],
        window: tuple[slice, slice],
        soft: float,
    ) -> Float:
        """Coverage of the window, 0..1."""
        size = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        offset = np.array([window[1].start, window[0].start], np.float32)
        drawn = np.zeros(size, np.uint8)
        for group, value in ((contours, 255), (holes, 0)):
            for contour in group:
                points = np.round((contour - offset) * 2**SUBPIXEL_BITS).astype(np.int32)
                cv2.fillPoly(drawn, [points], (value,), cv2.LINE_AA, SUBPIXEL_BITS)
        alpha = (drawn / 255).astype(np.float32)
        return cv2.GaussianBlur(alpha, (0, 0), soft).astype(np.float32) if soft > 0.3 else alpha

    def prepared(self) -> Prepared:
        """The finished picture with every object that is visible enough."""
        count = len(self.parents)
        members = np.zeros((count, count), np.bool_)
        for number in range(1, count):
            above = number
            while above:
                members[above, number] = True
                above = self.parents[above]
        seen = np.bincount(self.atoms.ravel(), minlength=count)
        visible = (members @ seen) >= SMALLEST_VISIBLE
        rows = np.nonzero(visible & np.array(self.is_object))[0]
        image = (np.clip(self.image, 0, 1) * 255).astype(np.uint8)
        return Prepared(image, self.atoms, members[rows], np.zeros(len(rows), np.uint8))
