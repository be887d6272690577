"""The eight ways to lay a square: quarter turns and flips, as numbers 0 to 7.

They are the only augmentation: a fixed, small set, so that whatever is computed for a view can
be cached. Number ``v`` turns by ``v % 4`` quarters after a left-right flip where ``v >= 4``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

VIEWS = range(8)


def turned(array: NDArray[Any], view: int) -> NDArray[Any]:
    """``array`` [H, W, ...] in this view, contiguous; view 0 is the array itself."""
    if view not in VIEWS:
        raise ValueError(f"there is no view {view}")
    if view == 0:
        return array
    flipped = array[:, ::-1] if view >= 4 else array
    return np.ascontiguousarray(np.rot90(flipped, view % 4))
