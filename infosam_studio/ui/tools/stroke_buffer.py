"""The mask a brush works on: no larger than the object and what was painted so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop, Rect, intersect, union_rect

LEAST_GROWTH = 256


class StrokeBuffer:
    """``pixels`` uint8 [h, w], 0 or 1, with its corner at ``x0, y0`` of the image.

    Grows with the stroke: a buffer of all that is in view would be half a gigabyte on a huge
    image that is seen as a whole.
    """

    def __init__(self, crop: Crop, width: int, height: int) -> None:
        self._image: Rect = (0, 0, width, height)
        self.x0, self.y0 = crop.x0, crop.y0
        self.pixels: NDArray[np.uint8] = crop.pixels.view(np.uint8).copy()

    @property
    def crop(self) -> Crop:
        """The mask as it is now, on the buffer's own memory."""
        return Crop(self.x0, self.y0, self.pixels.view(bool))

    def cover(self, rect: Rect) -> None:
        """Make sure that what of ``rect`` lies in the image lies in the buffer."""
        wanted = intersect(rect, self._image)
        if wanted is None:
            return
        now = self.crop.rect if self.pixels.size else None
        if now is not None and intersect(now, wanted) == wanted:
            return
        whole = union_rect(now, wanted)
        assert whole is not None
        # By half as much again, so that a long stroke is copied a few times only.
        more = max(LEAST_GROWTH, (whole[2] - whole[0]) // 2, (whole[3] - whole[1]) // 2)
        grown = (
            whole[0] - more if now is None or wanted[0] < now[0] else whole[0],
            whole[1] - more if now is None or wanted[1] < now[1] else whole[1],
            whole[2] + more if now is None or wanted[2] > now[2] else whole[2],
            whole[3] + more if now is None or wanted[3] > now[3] else whole[3],
        )
        inside = intersect(grown, self._image)
        assert inside is not None
        self.pixels = crops.window(self.crop, inside).view(np.uint8)
        self.x0, self.y0 = inside[0], inside[1]

    def finished(self) -> Crop:
        """The mask cut to its bounding box."""
        return crops.from_mask(self.pixels.view(bool), x0=self.x0, y0=self.y0)
