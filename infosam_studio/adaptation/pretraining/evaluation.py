"""Quick score on held-out prepared images: IoU after 1 and 3 clicks and from a box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infosam_studio.adaptation.pretraining.decoding import decode, encode_prompts, mixed_precision
from infosam_studio.adaptation.pretraining.losses import soft_iou
from infosam_studio.adaptation.pretraining.samples import Batch, Samples, collate
from infosam_studio.adaptation.pretraining.steps import Prompts, corrections, first_prompts
from infosam_studio.adaptation.pretraining.steps import normalise as normalise_pixels


def evaluate_files(
    sam: Any, files: Sequence[Path], size: int, prompts: int, device: torch.device
) -> dict[str, float]:
    """Mean IoU over the objects of ``files`` (unaugmented, at ``size`` px).

    Returns ``iou1`` (chosen of three), ``best1`` (best of three), ``iou3``, ``box``.
    """
    samples = Samples(files, size, prompts, seed=12345, augmented=False)
    rng = np.random.default_rng(5)
    rows = []
    with torch.no_grad():
        for number in range(len(files)):
            batch = collate([samples[number]])
            batch = Batch(
                batch.images.to(device),
                batch.targets.to(device),
                batch.clicks.to(device),
                batch.boxes.to(device),
            )
            rows.append(_image_scores(sam, batch, rng))
    mean = np.mean(rows, axis=0)
    return dict(zip(("iou1", "best1", "iou3", "box"), map(float, mean), strict=True))


def _image_scores(sam: Any, batch: Batch, rng: np.random.Generator) -> list[float]:
    """The four figures of one image, means over its objects."""
    wide = batch.targets.float() / 255
    target = torch.nn.functional.avg_pool2d(wide, 2)
    count, device = len(wide), wide.device
    owner = torch.zeros(count, dtype=torch.long, device=device)
    rows = torch.arange(count, device=device)
    with mixed_precision(device):
        embedding = sam.image_encoder(normalise_pixels(sam, batch.images))
    grid = (embedding.shape[-2], embedding.shape[-1])

    def answer(prompts: Prompts, feedback: torch.Tensor | None) -> Any:
        sparse, dense = encode_prompts(sam, prompts.points, prompts.labels, feedback, grid)
        with mixed_precision(device):
            logits, scores = decode(sam, embedding, sparse, dense, owner)
        return logits, scores, soft_iou(logits, target)

    _, _, box = answer(first_prompts(batch, torch.ones_like(owner, dtype=torch.bool)), None)
    prompts = first_prompts(batch, torch.zeros_like(owner, dtype=torch.bool))
    logits, scores, ious = answer(prompts, None)
    chosen = 1 + scores[:, 1:].argmax(dim=1)
    first, best = ious[rows, chosen].mean().item(), ious[:, 1:].amax(dim=1).mean().item()
    feedback = logits[rows, chosen][:, None]
    for _ in range(2):
        prompts = corrections(feedback, wide, prompts, rng)
        logits, _, ious = answer(prompts, feedback)
        feedback = logits[:, :1]
    return [first, best, ious[:, 0].mean().item(), box[:, 0].mean().item()]
