"""The IoU that the predicted one is compared with; the mask loss is adaptation's own."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of thresholded logits [N,K,h,w] with area shares [N,1,h,w] -> [N,K], no gradient."""
    with torch.no_grad():
        hit = logits > 0
        intersection = (hit * target).sum(dim=(2, 3))
        union = hit.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) - intersection
        return intersection / union.clamp(min=1e-6)
