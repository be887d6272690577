"""Last step of a run: teach the IoU head, and nothing else, to rank the three candidates.

    python -m infosam_studio.adaptation.pretraining.ranking --cache DIR --weights IN --out OUT

Masks stay bit for bit what they were. The head is fitted to the IoU that the finished model
really reaches on fresh first clicks; it is kept only where unseen samples are ranked better.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from infosam_studio.adaptation.pretraining.decoding import decode, encode_prompts, mixed_precision
from infosam_studio.adaptation.pretraining.losses import soft_iou
from infosam_studio.adaptation.pretraining.samples import Samples, batches
from infosam_studio.adaptation.pretraining.steps import first_prompts, normalise
from infosam_studio.adaptation.pretraining.training import prepared_files, say
from infosam_studio.segmentation.starter import IMAGE_SIZE, build_starter

PROMPTS, IMAGES, SEED = 8, 4, 4242
SHARPNESS = 10.0
STEPS, BATCH, LEARNING_RATE = 1500, 256, 3e-4


def collect(sam: Any, samples: Samples, minutes: float, workers: int) -> tuple[Tensor, Tensor]:
    """Inputs of the IoU head [N,256] and true IoU of the four masks [N,4] after a first click."""
    caught: list[Tensor] = []
    hook = sam.mask_decoder.iou_prediction_head.register_forward_pre_hook(
        lambda _module, inputs: caught.append(inputs[0].float())
    )
    ious: list[Tensor] = []
    end = time.monotonic() + minutes * 60
    with torch.no_grad():
        for batch in batches(samples, 0, IMAGES, workers):
            with mixed_precision(torch.device("cpu")):
                embedding = sam.image_encoder(normalise(sam, batch.images))
            count = len(batch.targets)
            prompts = first_prompts(batch, torch.zeros(count, dtype=torch.bool))
            grid = (embedding.shape[-2], embedding.shape[-1])
            sparse, dense = encode_prompts(sam, prompts.points, prompts.labels, None, grid)
            owner = torch.arange(count) // PROMPTS
            with mixed_precision(torch.device("cpu")):
                logits, _ = decode(sam, embedding, sparse, dense, owner)
            ious.append(soft_iou(logits, F.avg_pool2d(batch.targets.float() / 255, 2)))
            if time.monotonic() > end:
                break
    hook.remove()
    return torch.cat(caught), torch.cat(ious)


def regret(head: Any, inputs: Tensor, ious: Tensor) -> float:
    """How far the chosen candidate lies below the best of three, mean IoU."""
    with torch.no_grad():
        chosen = head(inputs)[:, 1:].argmax(dim=1, keepdim=True)
    return float((ious[:, 1:].amax(dim=1) - ious[:, 1:].gather(1, chosen)[:, 0]).mean())


def fit(head: Any, inputs: Tensor, ious: Tensor) -> tuple[float, float]:
    """Fit the head; returns the regret on unseen samples before and after (undone if worse)."""
    last = len(inputs) * 9 // 10
    unseen = (inputs[last:], ious[last:])
    before = regret(head, *unseen)
    kept = {key: value.clone() for key, value in head.state_dict().items()}
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(STEPS):
        rows = torch.randint(last, (BATCH,), generator=generator)
        scores, wanted = head(inputs[rows]), ious[rows]
        order = F.softmax(wanted[:, 1:] * SHARPNESS, dim=1)
        ranking = F.cross_entropy(scores[:, 1:] * SHARPNESS, order)
        loss = 4 * F.mse_loss(scores, wanted) + 0.1 * ranking
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    after = regret(head, *unseen)
    if after > before:
        head.load_state_dict(kept)
    return before, after


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Fit the IoU head of a finished starter.")
    parser.add_argument("--cache", type=Path, required=True, help="prepared pictures")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sam = build_starter().requires_grad_(False)
    sam.load_state_dict(load_file(str(arguments.weights)))
    files = prepared_files(arguments.cache)
    samples = Samples(files, IMAGE_SIZE, PROMPTS, SEED, photograph_share=0.2)
    inputs, ious = collect(sam, samples, arguments.minutes, workers=1)
    head = sam.mask_decoder.iou_prediction_head.requires_grad_(True)
    before, after = fit(head, inputs, ious)
    say(f"{len(inputs)} clicks; chosen below best of three: {before:.3f} before, {after:.3f} after")
    save_file({k: v.contiguous() for k, v in sam.state_dict().items()}, str(arguments.out))


if __name__ == "__main__":
    main()
