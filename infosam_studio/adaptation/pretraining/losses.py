"""Losses of starter pre-training: focal, dice and IoU regression."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

AREA_FLOOR = 0.02


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Focal (normalised by object area) plus dice, per mask.

    logits [N,K,h,w] fp32, target [N,1,h,w] in 0..1 (area shares) -> [N,K].
    """
    target = target.expand_as(logits)
    probability = torch.sigmoid(logits)
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = cross * (probability - target).square()
    area = target.sum(dim=(2, 3))
    floor = AREA_FLOOR * target.shape[-2] * target.shape[-1]
    normalised = 2.0 * focal.sum(dim=(2, 3)) / (area + floor)
    overlap = 2 * (probability * target).sum(dim=(2, 3)) + 1.0
    dice = 1 - overlap / (probability.sum(dim=(2, 3)) + area + 1.0)
    return normalised + dice


def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of thresholded logits [N,K,h,w] with area shares [N,1,h,w] -> [N,K], no gradient."""
    with torch.no_grad():
        hit = logits > 0
        intersection = (hit * target).sum(dim=(2, 3))
        union = hit.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) - intersection
        return intersection / union.clamp(min=1e-6)
