"""Masks of everything in an image: clicks on a grid, filtered by quality, duplicates removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.predictor import BATCH_CPU, BATCH_GPU, Embedding, Predictor
from infosam_studio.segmentation.prompts import Prompt

MAX_KEPT = 512
COMPARE_SIDE = 128  # low-resolution masks are compared at no more than this size


@dataclass(frozen=True)
class EverythingOptions:
    """How many points to try and what to keep.

    `points_per_side` along the longer side; `min_score` of the predicted IoU; `min_stability`
    is the IoU between the mask at logit +1 and at -1; of two masks with more than `max_iou` the
    better one stays; `min_area` in pixels; `max_share` of the image (larger is background).
    """

    points_per_side: int = 24
    min_score: float = 0.7
    min_stability: float = 0.8
    max_iou: float = 0.6
    min_area: int = 20
    max_share: float = 0.5


DEFAULT_OPTIONS = EverythingOptions()


@dataclass(frozen=True)
class Proposal:
    """A mask nobody asked for, the point that gave it, and the predicted IoU."""

    mask: Rle
    point: tuple[float, float]
    score: float


def everything(
    predictor: Predictor,
    embedding: Embedding,
    *,
    options: EverythingOptions = DEFAULT_OPTIONS,
    single_mask: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Proposal]:
    """The masks found from a grid of clicks, the best first.

    `single_mask` asks for one mask a click (recipe `paper`, whose candidates have no scores).
    Raises `Cancelled` where asked to stop.
    """
    points = grid(embedding.image_size, options.points_per_side)
    size = BATCH_CPU if predictor.device.type == "cpu" else BATCH_GPU
    found = _Candidates()
    for start in range(0, len(points), size):
        if cancelled():
            raise Cancelled
        batch = points[start : start + size]
        prompts = [Prompt.from_clicks([[x, y, 1]]) for x, y in batch]
        low_res, scores = predictor.decode(embedding, prompts, multimask=not single_mask)
        found.add(low_res, scores, batch, options, ranked=not single_mask)
    return _finished(predictor, embedding, found.best(options.max_iou), options)


def grid(image_size: tuple[int, int], points_per_side: int) -> NDArray[np.float64]:
    """Points [N, 2] (x, y) in the middle of equal squares over an image (H, W)."""
    height, width = image_size
    step = max(height, width) / points_per_side
    columns, rows = max(1, round(width / step)), max(1, round(height / step))
    x = (np.arange(columns) + 0.5) * width / columns - 0.5
    y = (np.arange(rows) + 0.5) * height / rows - 0.5
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


class _Candidates:
    """What the grid gave, at low resolution."""

    def __init__(self) -> None:
        self._logits: list[NDArray[np.float32]] = []
        self._points: list[tuple[float, float]] = []
        self._scores: list[float] = []
        self._quality: list[float] = []

    def add(
        self,
        low_res: Tensor,
        scores: Tensor,
        points: NDArray[np.float64],
        options: EverythingOptions,
        *,
        ranked: bool,
    ) -> None:
        stable = stability(low_res)
        good = stable >= options.min_stability
        if ranked:
            good &= scores >= options.min_score
        for row, column in torch.nonzero(good).tolist():
            x, y = points[row]
            self._logits.append(low_res[row, column].float().cpu().numpy())
            self._points.append((float(x), float(y)))
            self._scores.append(float(scores[row, column]))
            self._quality.append(float(scores[row, column]) * float(stable[row, column]))

    def best(self, max_iou: float) -> list[tuple[NDArray[np.float32], tuple[float, float], float]]:
        """The candidates without duplicates, the best first."""
        order = np.argsort(-np.array(self._quality), kind="stable")[: 4 * MAX_KEPT]
        kept: list[int] = []
        flat: list[NDArray[np.float32]] = []
        for index in order.tolist():
            small = _small(self._logits[index] > 0).ravel().astype(np.float32)
            area = small.sum()
            if not area or len(kept) >= MAX_KEPT:
                continue
            if flat:
                others = np.stack(flat)
                both = others @ small
                if (both / (others.sum(axis=1) + area - both)).max() > max_iou:
                    continue
            kept.append(index)
            flat.append(small)
        return [(self._logits[i], self._points[i], self._scores[i]) for i in kept]


def stability(low_res: Tensor) -> Tensor:
    """IoU between each mask at logit +1 and at -1; float [B, K] for logits [B, K, m, m]."""
    inner = (low_res > 1).flatten(2).sum(dim=2)
    outer = (low_res > -1).flatten(2).sum(dim=2)
    return inner / outer.clamp(min=1)


def _small(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    step = max(1, mask.shape[0] // COMPARE_SIDE)
    return np.asarray(mask[::step, ::step])


def _finished(
    predictor: Predictor,
    embedding: Embedding,
    found: list[tuple[NDArray[np.float32], tuple[float, float], float]],
    options: EverythingOptions,
) -> list[Proposal]:
    height, width = embedding.image_size
    proposals = []
    for logits, point, score in found:
        mask = masks.encode(predictor.enlarge(embedding, logits))
        if options.min_area <= masks.area(mask) <= options.max_share * height * width:
            proposals.append(Proposal(mask, point, score))
    return proposals
