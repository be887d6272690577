"""One training step: encode once, then click, correct and correct again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from infosam_studio.adaptation.losses import click_mask_loss
from infosam_studio.adaptation.pretraining.decoding import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    NOT_A_POINT,
    POSITIVE,
    decode,
    encode_prompts,
    image_positions,
    mixed_precision,
)
from infosam_studio.adaptation.pretraining.losses import soft_iou
from infosam_studio.adaptation.pretraining.prompts import corrective_click
from infosam_studio.adaptation.pretraining.samples import Batch
from infosam_studio.adaptation.pretraining.settings import Settings
from infosam_studio.segmentation.starter import EMBEDDING_SIZE


@dataclass
class Prompts:
    """What every object has been told so far: points [N,T,2] in 0..1, labels [N,T]."""

    points: Tensor
    labels: Tensor

    def add(self, points: Tensor, labels: Tensor) -> Prompts:
        """One more click each. The last slot stays the padding or box corner; order is free."""
        return Prompts(
            torch.cat([points[:, None], self.points], dim=1),
            torch.cat([labels[:, None], self.labels], dim=1),
        )


def normalise(sam: Any, images: Tensor) -> Tensor:
    """[B,3,S,S] uint8 -> float32, channels last, as SAM's ``preprocess`` does."""
    pixels = images.to(memory_format=torch.channels_last).float()
    return cast(Tensor, (pixels - sam.pixel_mean) / sam.pixel_std)


def first_prompts(batch: Batch, use_box: Tensor) -> Prompts:
    """Click plus padding, or the two box corners, as upstream encodes them (two tokens each)."""
    click = torch.stack([batch.clicks, torch.zeros_like(batch.clicks)], dim=1)
    click_labels = torch.tensor([POSITIVE, NOT_A_POINT], device=click.device)
    box_labels = torch.tensor([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], device=click.device)
    return Prompts(
        torch.where(use_box[:, None, None], batch.boxes.reshape(-1, 2, 2), click),
        torch.where(use_box[:, None], box_labels, click_labels),
    )


def corrections(
    logits: Tensor, targets: Tensor, prompts: Prompts, rng: np.random.Generator
) -> Prompts:
    """The next click of every object, from logits [N,1,h,w] and targets [N,1,2h,2w]."""
    wide = F.interpolate(logits, targets.shape[-2:], mode="bilinear", align_corners=False)
    found = (wide[:, 0] > 0).cpu().numpy()
    wanted = (targets[:, 0] > 0.5).cpu().numpy()
    points, labels = [], []
    for n in range(len(found)):
        click = corrective_click(wanted[n], found[n], rng)
        if click is None:
            known = int(prompts.labels[n, 0])
            x, y = prompts.points[n, 0].tolist()
            click = (x, y, known if known in (0, 1) else NOT_A_POINT)
        points.append(click[:2])
        labels.append(click[2])
    device = prompts.points.device
    return prompts.add(
        torch.tensor(points, dtype=torch.float32, device=device),
        torch.tensor(labels, device=device),
    )


def draw_frames(batch: Batch, share: float, rng: np.random.Generator) -> Tensor:
    """Where each image lies in the frame of the model's full input: [B,3] x, y, scale.

    A training image smaller than the full input is either a whole image, or a part of one at
    some offset; then positions have the very scale they will have at full size.
    """
    count, cells = len(batch.images), batch.images.shape[-1] // 16
    scale = cells / EMBEDDING_SIZE
    frames = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (count, 1))
    for row in np.nonzero(rng.random(count) < (share if scale < 1 else 0.0))[0]:
        offset = rng.integers(0, EMBEDDING_SIZE - cells + 1, 2) / EMBEDDING_SIZE
        frames[row] = (*offset, scale)
    return torch.from_numpy(frames).to(batch.images.device)


@dataclass
class StepResult:
    """Loss to back-propagate and what to log (mean IoU of the first and last prompt)."""

    loss: Tensor
    first_iou: float
    last_iou: float


def step(sam: Any, batch: Batch, settings: Settings, rng: np.random.Generator) -> StepResult:
    """Forward pass and loss of one batch over several rounds of clicks."""
    device = batch.images.device
    count = len(batch.targets)
    owner = torch.arange(count, device=device) // (count // len(batch.images))
    use_box = torch.from_numpy(rng.random(count) < settings.box_share).to(device)
    long = rng.random() < settings.long_share
    rounds = settings.long_rounds if long else int(rng.integers(2, settings.rounds + 1))
    with mixed_precision(device):
        embeddings = sam.image_encoder(normalise(sam, batch.images))
    grid = (embeddings.shape[-2], embeddings.shape[-1])
    frames = draw_frames(batch, settings.part_share, rng)
    positions = image_positions(sam, grid, frames)
    wide = batch.targets.float() / 255
    target = F.avg_pool2d(wide, 2)
    prompts, feedback, keep = first_prompts(batch, use_box), None, None
    loss, first, last = torch.zeros((), device=device), 0.0, 0.0
    for number in range(rounds):
        placed = frames[owner, None, :2] + prompts.points * frames[owner, None, 2:]
        sparse, dense = encode_prompts(sam, placed, prompts.labels, feedback, grid)
        with mixed_precision(device):
            logits, scores = decode(sam, embeddings, sparse, dense, owner, positions)
        if number == 0:
            part, best, ious = _first_loss(logits, scores, target, use_box, settings.shown_share)
        else:
            logits = logits[:, :1]
            part, best, ious = _later_loss(logits, scores[:, :1], target)
        loss = loss + part * (1.0 if number == 0 else 0.7)
        picked = ious.gather(1, best[:, None]).mean().item()
        first, last = (picked, picked) if number == 0 else (first, picked)
        if number + 1 == rounds:
            break
        feedback = logits.detach()[torch.arange(count, device=device), best][:, None]
        prompts = corrections(feedback, wide, prompts, rng)
        if number == 0 or long:
            keep = _thin_out(count, 0.75 if number == 0 else 0.8, rng)
            chosen = torch.from_numpy(keep).to(device)
            prompts = Prompts(prompts.points[chosen], prompts.labels[chosen])
            feedback, wide, target = feedback[chosen], wide[chosen], target[chosen]
            owner, use_box, count = owner[chosen], use_box[chosen], len(keep)
    return StepResult(loss / (0.3 + 0.7 * rounds), first, last)


def _thin_out(count: int, share: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Indices of the objects that are corrected further."""
    return np.sort(rng.permutation(count)[: max(4, int(count * share))])


def _first_loss(
    logits: Tensor, scores: Tensor, target: Tensor, use_box: Tensor, shown_share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of the first round, the mask to go on with [N], and IoU of all four masks [N,4].

    After a click the best of the three candidates learns, and so does the one with the best
    predicted IoU, which is what the user sees and goes on with (and mask 0, so that it too may
    answer a first click). After a box only mask 0 counts.
    """
    losses = click_mask_loss(logits, target)
    ious = soft_iou(logits, target)
    least, _ = losses[:, 1:].min(dim=1)
    chosen = 1 + scores[:, 1:].argmax(dim=1)
    shown = losses.gather(1, chosen[:, None])[:, 0]
    ambiguous = torch.lerp(least, shown, shown_share) + 0.35 * losses[:, 0]
    regression = (scores - ious).square()
    ranked = torch.where(use_box, regression[:, 0], regression.mean(dim=1))
    masks = torch.where(use_box, losses[:, 0], ambiguous)
    best = torch.where(use_box, torch.zeros_like(chosen), chosen)
    return (masks + 2.0 * ranked).mean(), best, ious


def _later_loss(logits: Tensor, scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of mask 0 after a correction: logits [N,1,h,w], scores [N,1]."""
    ious = soft_iou(logits, target)
    loss = click_mask_loss(logits, target).mean() + (scores - ious).square().mean()
    return loss, torch.zeros(len(logits), dtype=torch.long, device=logits.device), ious
