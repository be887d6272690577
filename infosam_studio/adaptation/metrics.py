"""Segmentation metrics of the InfoSAM paper, equal to what its evaluation script computes.

``val.py`` feeds raw logits without a sigmoid: IoU and Dice average the thresholds 0.1, 0.3, … 0.9
*on logits*, and S, E and weighted F see logits clipped to [0, 1]. Numbers comparable with the
paper need that quirk, so these functions apply no sigmoid either; pass probabilities for the
honest figures.

S-measure: Fan et al., ICCV 2017. E-measure: Fan et al., IJCAI 2018. Weighted F: Margolin et al.,
CVPR 2014. numpy only; the Gaussian filter is cv2's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation._cv2 import cv2

PAPER_THRESHOLDS: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
EPS = float(np.spacing(1))

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Scores = NDArray[Any]
"""Scores or a mask [H, W] of any real dtype."""


@dataclass(frozen=True)
class Overlap:
    """IoU and Dice, both in [0, 1]."""

    iou: float
    dice: float


def overlap(prediction: Scores, target: Scores, thresholds: Sequence[float]) -> Overlap:
    """IoU and Dice averaged over thresholds (official ``eval_seg``).

    Args:
        prediction: scores [H, W], any range; foreground where strictly above a threshold.
        target: mask [H, W]; foreground where strictly above each threshold (so 0/1 masks work
            for thresholds in [0, 1)).
        thresholds: the thresholds to average over; :data:`PAPER_THRESHOLDS` for the paper.
    """
    pairs = [_overlap_at(prediction, target, level) for level in thresholds]
    return Overlap(
        iou=float(np.mean([pair.iou for pair in pairs])),
        dice=float(np.mean([pair.dice for pair in pairs])),
    )


def _overlap_at(prediction: Scores, target: Scores, level: float) -> Overlap:
    guess, truth = prediction > level, target.astype(np.float64) > level
    inter = float(np.count_nonzero(guess & truth))
    total = float(np.count_nonzero(guess) + np.count_nonzero(truth))
    return Overlap(
        iou=(inter + 1e-6) / (total - inter + 1e-6), dice=(2 * inter + 1e-4) / (total + 1e-4)
    )


def _clipped(prediction: Scores) -> Floats:
    clipped: Floats = np.clip(prediction, 0, 1).astype(np.float64)
    return clipped


def _mask(target: Scores) -> Bools:
    return np.asarray(target > np.float64(0.5))


def s_measure(prediction: Scores, target: Scores) -> float:
    """Structure measure: half object similarity, half region similarity, in [0, 1].

    A target of one pixel gives 0, as officially: its spread is undefined, and max(0, nan) is 0.
    """
    scores, truth = _clipped(prediction), _mask(target)
    share = float(truth.mean())
    if share == 0:
        return 1 - float(scores.mean())
    if share == 1:
        return float(scores.mean())
    inside = _object_score(scores[truth])
    outside = _object_score(1 - scores[~truth])
    objects = share * inside + (1 - share) * outside
    value = 0.5 * objects + 0.5 * _region_score(scores, truth)
    return max(0.0, value) if np.isfinite(value) else 0.0


def _object_score(values: Floats) -> float:
    if values.size < 2:
        return float("nan")
    mean = float(values.mean())
    return 2 * mean / (mean**2 + 1 + float(values.std(ddof=1)) + EPS)


def _region_score(scores: Floats, truth: Bools) -> float:
    """SSIM of the four quadrants around the target's centre of mass, weighted by area."""
    height, width = truth.shape
    row, column = (int(value) + 1 for value in np.argwhere(truth).mean(axis=0).round())
    total, weight_left = 0.0, 1.0
    quadrants = [
        (slice(0, row), slice(0, column)),
        (slice(0, row), slice(column, width)),
        (slice(row, height), slice(0, column)),
        (slice(row, height), slice(column, width)),
    ]
    for index, area in enumerate(quadrants):
        part = truth[area]
        # The last weight is what the others leave, so that they sum to one exactly.
        weight = part.size / truth.size if index < 3 else weight_left
        weight_left -= weight
        total += weight * _ssim(scores[area], part.astype(np.float64))
    return total


def _ssim(scores: Floats, truth: Floats) -> float:
    if scores.size < 2:
        return float("nan")
    mean_s, mean_t = float(scores.mean()), float(truth.mean())
    rest = scores.size - 1
    spread = float(((scores - mean_s) ** 2).sum() + ((truth - mean_t) ** 2).sum()) / rest
    covariance = float(((scores - mean_s) * (truth - mean_t)).sum()) / rest
    upper = 4 * mean_s * mean_t * covariance
    lower = (mean_s**2 + mean_t**2) * spread
    if upper != 0:
        return upper / (lower + EPS)
    return 1.0 if lower == 0 else 0.0


def e_measure(prediction: Scores, target: Scores) -> float:
    """Enhanced-alignment measure at the adaptive threshold min(1, twice the mean score).

    A perfect prediction is slightly above 1: the official divisor is the pixel count minus one.
    """
    scores, truth = _clipped(prediction), _mask(target)
    guess = scores >= min(2 * float(scores.mean()), 1.0)
    share = np.count_nonzero(truth) / truth.size
    if share == 0:
        return np.count_nonzero(~guess) / (truth.size - 1 + EPS)
    if share == 1:
        return np.count_nonzero(guess) / (truth.size - 1 + EPS)
    guess_mean = np.count_nonzero(guess) / truth.size
    total = 0.0
    for guess_value in (True, False):
        for truth_value in (True, False):
            count = np.count_nonzero((guess == guess_value) & (truth == truth_value))
            first, second = guess_value - guess_mean, truth_value - share
            aligned = 2 * first * second / (first**2 + second**2 + EPS)
            total += count * (aligned + 1) ** 2 / 4
    return total / (truth.size - 1 + EPS)


def weighted_f_measure(prediction: Scores, target: Scores) -> float:
    """Margolin's weighted F-measure with the official squared beta of 0.3, in [0, 1]."""
    scores, truth = _clipped(prediction), _mask(target)
    if not truth.any():
        return 0.0
    distance, nearest = _distance_to(truth)
    error = np.abs(scores - truth)
    spread = error.copy()
    spread[~truth] = error.reshape(-1)[nearest[~truth]]
    smooth = cv2.filter2D(spread, cv2.CV_64F, _gaussian(), borderType=cv2.BORDER_CONSTANT)
    kept = np.where(truth & (smooth < error), smooth, error)
    importance = np.where(truth, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    weighted = kept * importance
    hits = float(truth.sum() - weighted[truth].sum())
    false = float(weighted[~truth].sum())
    recall = 1 - float(weighted[truth].mean())
    precision = hits / (hits + false + EPS)
    return 1.3 * recall * precision / (recall + 0.3 * precision + EPS)


def _gaussian(size: int = 7, sigma: float = 5.0) -> Floats:
    axis = np.arange(size) - (size - 1) / 2
    kernel: Floats = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    return kernel


def _distance_to(truth: Bools) -> tuple[Floats, NDArray[np.intp]]:
    """Exact Euclidean distance to the nearest foreground pixel, and that pixel's flat index.

    Ties go to the smallest column, then the smallest row, as scipy's feature transform does;
    the error spread of the weighted F-measure depends on it. O(H W^2), a row at a time.
    """
    height, width = truth.shape
    rows = _nearest_row(truth)
    columns = np.arange(width)
    distance = np.zeros(truth.shape)
    nearest = np.zeros(truth.shape, dtype=np.intp)
    across = (columns[:, None] - columns[None, :]).astype(np.float64) ** 2
    for row in range(height):
        down = np.where(rows[row] >= 0, (rows[row] - row).astype(np.float64) ** 2, np.inf)
        squared = across + down[None, :]
        best = squared.argmin(axis=1)
        distance[row] = np.sqrt(squared[columns, best])
        nearest[row] = rows[row, best] * width + best
    return distance, nearest


def _nearest_row(truth: Bools) -> NDArray[np.intp]:
    """For every pixel the row of the nearest foreground pixel in its column, -1 where none."""
    height = truth.shape[0]
    far = 4 * height
    index = np.where(truth, np.arange(height)[:, None], -far)
    above = np.maximum.accumulate(index, axis=0)
    index = np.where(truth, np.arange(height)[:, None], far)
    below = np.minimum.accumulate(index[::-1], axis=0)[::-1]
    here = np.arange(height)[:, None]
    rows = np.where(here - above <= below - here, above, below)
    return np.where((rows < 0) | (rows >= height), -1, rows).astype(np.intp)
