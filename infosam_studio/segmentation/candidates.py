"""Masks for clicks all over an image, and the figures that tell a good one from a poor one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.predictor import BATCH_CPU, BATCH_GPU, Embedding, Predictor
from infosam_studio.segmentation.prompts import Prompt

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Sides = tuple[bool, bool, bool, bool]  # left, top, right, bottom
CLOSED: Sides = (False, False, False, False)
FIGURES = 8


@dataclass(frozen=True)
class Candidates:
    """Masks for clicks: ``logits`` float32 [N, m, m], ``scores`` [N] predicted IoUs,
    ``tokens`` [N, C], ``points`` [N, 2] (x, y) in image pixels."""

    logits: Tensor
    scores: Tensor
    tokens: Tensor
    points: Array


def decode_points(
    predictor: Predictor,
    embedding: Embedding,
    points: Array,
    *,
    multimask: bool,
    cancelled: Callable[[], bool] = lambda: False,
) -> Candidates:
    """Every candidate of one click at each of the points [N, 2] (image pixels).

    Raises `Cancelled` where asked to stop.
    """
    size = BATCH_CPU if predictor.device.type == "cpu" else BATCH_GPU
    parts = []
    for start in range(0, len(points), size):
        if cancelled():
            raise Cancelled
        prompts = [Prompt.from_clicks([[x, y, 1]]) for x, y in points[start : start + size]]
        parts.append(predictor.decode_tokens(embedding, prompts, multimask=multimask))
    logits, scores, tokens = (torch.cat(column) for column in zip(*parts, strict=True))
    count = logits.shape[1]
    return Candidates(
        logits.flatten(0, 1).float().cpu(),
        scores.flatten().float().cpu(),
        tokens.flatten(0, 1).float().cpu(),
        np.repeat(points, count, axis=0),
    )


def cut_off(found: Candidates, embedding: Embedding, sides: Sides) -> Mask:
    """Which masks [N] touch a side of a part of an image where the image goes on."""
    on = found.logits > 0
    side = on.shape[-1]
    height, width = embedding.input_size
    right = -(-width * side // max(height, width)) - 1
    bottom = -(-height * side // max(height, width)) - 1
    lines = (on[:, :, 0], on[:, 0], on[:, :, right], on[:, bottom])
    cut = torch.zeros(len(on), dtype=torch.bool)
    for line, is_open in zip(lines, sides, strict=True):
        if is_open:
            cut |= line.any(dim=1)
    return np.asarray(cut.numpy())


def mask_figures(found: Candidates, heat: NDArray[np.float32], usual_area: float) -> Array:
    """Predicted IoU, stability, heat inside and around, size and roundness of masks."""
    logits = found.logits
    on = (logits > 0).float()
    area = on.flatten(1).sum(dim=1)
    stable = (logits > 1).flatten(1).sum(dim=1) / (logits > -1).flatten(1).sum(dim=1).clamp(min=1)
    warm = F.interpolate(
        torch.from_numpy(heat)[None, None], logits.shape[-2:], mode="bilinear", align_corners=False
    )[0]
    inside = (on * warm).flatten(1).sum(dim=1) / area.clamp(min=1)
    wider = F.max_pool2d(on[:, None], 5, 1, 2)[:, 0] - on
    around = (wider * warm).flatten(1).sum(dim=1) / wider.flatten(1).sum(dim=1).clamp(min=1)
    rim = (on - (-F.max_pool2d(-on[:, None], 3, 1, 1)[:, 0])).flatten(1).sum(dim=1)
    size = torch.log((area + 1) / (usual_area + 1))
    sharp = (logits.abs() * (wider + on)).flatten(1).sum(dim=1) / (wider + on).flatten(1).sum(
        dim=1
    ).clamp(min=1)
    figures = [
        found.scores,
        stable,
        inside,
        around,
        size,
        size.abs(),
        torch.log((rim**2 + 1) / (area + 1)),
        sharp,
    ]
    stacked: Array = torch.stack(figures, dim=1).double().numpy()
    return stacked
