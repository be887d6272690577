"""Simulated prompts for training: a first click or box, then corrective clicks.

Fast versions on reduced masks; evaluation uses the exact protocol instead.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

DEEPEST_SHARE = 0.5


def first_click(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, float]:
    """A click in mask [H,W]: its deepest pixel or any inner one; (x, y) as shares in 0..1."""
    depth = _depth(mask)
    if rng.random() < DEEPEST_SHARE:
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    else:
        ys, xs = np.nonzero(depth >= min(2.0, float(depth.max())))
        pick = int(rng.integers(len(ys)))
        y, x = ys[pick], xs[pick]
    return (float(x) + 0.5) / mask.shape[1], (float(y) + 0.5) / mask.shape[0]


def tight_box(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, ...]:
    """Box x0, y0, x1, y1 around mask [H,W] (shares in 0..1), sometimes drawn a little loosely."""
    h, w = mask.shape
    ys, xs = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    box = np.array([xs[0], ys[0], xs[-1], ys[-1]], np.float64) + 0.5
    if rng.random() < 0.5:
        extent = np.array([box[2] - box[0], box[3] - box[1]] * 2) + 1
        box += np.clip(rng.normal(0, 0.04, 4), -0.1, 0.1) * extent
    box /= np.array([w, h, w, h])
    return tuple(float(v) for v in np.clip(box, 0, 1))


def corrective_click(
    target: NDArray[np.bool_], prediction: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float, int] | None:
    """A click in the largest error: (x, y in 0..1, label); None where nothing is wrong.

    Mostly the deepest pixel of the largest error region, as the protocol does, sometimes
    any wrong pixel, as people do.
    """
    wrong = target != prediction
    if not wrong.any():
        return None
    if rng.random() < 0.2:
        ys, xs = np.nonzero(wrong)
        pick = int(rng.integers(len(ys)))
        y, x = int(ys[pick]), int(xs[pick])
    else:
        y, x = _deepest_error(target, prediction)
    h, w = target.shape
    return (x + 0.5) / w, (y + 0.5) / h, int(target[y, x])


def _deepest_error(target: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the deepest pixel of the largest missed or false region."""
    best: tuple[int, NDArray[np.bool_]] | None = None
    for region in (target & ~prediction, prediction & ~target):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
        if len(stats) < 2:
            continue
        k = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        area = int(stats[k, cv2.CC_STAT_AREA])
        if best is None or area > best[0]:
            best = (area, labels == k)
    assert best is not None
    y, x = np.unravel_index(int(_depth(best[1]).argmax()), target.shape)
    return int(y), int(x)


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of every pixel to the outside; the image border counts as outside."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    return distance[1:-1, 1:-1].astype(np.float32)
