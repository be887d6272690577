"""Simulated prompting during training: what a user would click, and what each answer costs.

A rollout gives every sample of a micro-batch its first prompt (one kind for all of them), then
corrective clicks with the previous mask fed back, just as the app and the evaluation protocol do.
Clicks and fed-back masks carry no gradient and are recorded, so the second pass of the two-pass
batch, and the teacher, see the very same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from infosam_studio.adaptation.decoding import (
    Decoded,
    PromptBatch,
    Seen,
    decode,
    encode_prompts,
    look,
    mask_tokens,
)
from infosam_studio.adaptation.losses import click_mask_loss, structure_loss_per_sample
from infosam_studio.adaptation.plan import TrainingPlan
from infosam_studio.adaptation.targets import Bools, Target
from infosam_studio.segmentation.clicks import Click, mask_iou, next_click

Prompts = tuple[PromptBatch, ...]


@dataclass(frozen=True)
class Draws:
    """The chances of one batch: each sample's first prompt, and its own stream of numbers.

    They do not depend on how the batch is cut into micro-batches or spread over processes.
    ``learns`` are the rounds (from 0) that teach; None means all rounds of the plan. ``keeps``
    are the streams of the background clicks, one for each of the first samples.
    """

    boxes: tuple[bool, ...]
    seeds: tuple[int, ...]
    learns: tuple[int, ...] | None = None
    keeps: tuple[int, ...] = ()

    @classmethod
    def make(cls, rng: np.random.Generator, count: int, plan: TrainingPlan) -> Draws:
        """The draws for ``count`` samples.

        Recipe ``paper`` draws one kind of prompt for the batch. Recipe ``studio`` gives the
        first samples a box (how many is drawn so that the share is right on average), because
        a step that has seen no box may spoil them. With a ``depth`` beyond the rounds, the
        first one teaches and others drawn from as many as the depth.
        """
        chance = rng.random()
        if plan.recipe == "paper":
            boxes = [bool(chance < plan.box_share)] * count
        else:
            number = int(plan.box_share * count + chance)
            boxes = [place < number for place in range(count)]
        seeds = tuple(int(v) for v in rng.integers(0, 2**62, size=count))
        learns = None
        if plan.depth > plan.rounds:
            later = 1 + rng.permutation(plan.depth - 1)[: plan.rounds - 1]
            learns = (0, *sorted(int(v) for v in later))
        keeps = tuple(int(v) for v in rng.integers(0, 2**62, size=min(count, plan.keep)))
        return cls(tuple(boxes), seeds, learns, keeps)

    def part(self, rows: slice) -> Draws:
        """Those of some samples."""
        return Draws(self.boxes[rows], self.seeds[rows], self.learns)

    def cuts(self, rows: slice, most: int) -> list[slice]:
        """``rows`` in pieces of at most ``most`` samples with one kind of first prompt."""
        pieces: list[slice] = []
        start = rows.start
        for place in range(rows.start, rows.stop):
            last = place + 1 == rows.stop
            if last or place + 1 - start == most or self.boxes[place + 1] != self.boxes[place]:
                pieces.append(slice(start, place + 1))
                start = place + 1
        return pieces


@dataclass(frozen=True)
class Rolled:
    """A rollout of n samples.

    ``mask_loss`` and ``iou_loss`` [n], means over the rounds that teach; of each of these
    ``prompts``, what was asked, ``places`` int64 [n], which mask token the plan relates, and
    ``tokens`` [n, 256], those tokens. ``ious`` [n, R] of the masks a user would have seen, in
    every round.
    """

    mask_loss: Tensor
    iou_loss: Tensor
    tokens: tuple[Tensor, ...]
    prompts: Prompts
    places: tuple[Tensor, ...]
    ious: NDArray[np.float64]


class Roller:
    """Runs rollouts for one plan on one model's prompt encoder.

    ``check`` is called before every decode and raises to stop.
    """

    def __init__(
        self, sam: Any, plan: TrainingPlan, *, check: Callable[[], None] = lambda: None
    ) -> None:
        self.plan = plan
        self.prompt_encoder = sam.prompt_encoder
        with torch.no_grad():
            self.image_pe: Tensor = sam.prompt_encoder.get_dense_pe()
        self._check = check

    @property
    def device(self) -> torch.device:
        """Where tensors go."""
        return self.image_pe.device

    def look(self, decoder: Any, features: Tensor) -> Seen:
        """Embeddings [n, 256, h, w] as the rounds of that decoder need them, in float32."""
        return look(decoder, features, self.image_pe)

    def decode(self, decoder: Any, seen: Seen, batch: PromptBatch) -> Decoded:
        """One round of a decoder, student's or teacher's, in float32."""
        self._check()
        return decode(decoder, seen, encode_prompts(self.prompt_encoder, batch))

    def mask_tokens(self, decoder: Any, seen: Seen, batch: PromptBatch) -> Tensor:
        """The mask tokens [n, 4, 256] of such a round, which cost less than its masks."""
        self._check()
        return mask_tokens(decoder, seen, encode_prompts(self.prompt_encoder, batch))

    def run(
        self,
        decoder: Any,
        features: Tensor,
        targets: Sequence[Target],
        *,
        draws: Draws | None = None,
        recorded: Prompts | None = None,
        rounds: int | None = None,
    ) -> Rolled:
        """Prompt every sample ``rounds`` times (the plan's number by default).

        Args:
            decoder: the student's decoder.
            features: [n, 256, h, w], the student's embeddings.
            targets: n targets.
            draws: chances; without them the clicks are those of the evaluation protocol.
            recorded: prompts of an earlier rollout, used instead of new ones.
        """
        learns = self._learns(draws, recorded, rounds)
        asker = _Asker(targets, self.plan, draws, self.device)
        canvas = _Canvas(targets, self.device, paper=self.plan.recipe == "paper")
        rows = torch.arange(len(targets), device=self.device)
        taught, ious = _Taught(), []
        seen = self.look(decoder, features)
        for number in range(max(learns) + 1):
            batch = recorded[number] if recorded else asker.next()
            teaches = number in learns
            with torch.set_grad_enabled(torch.is_grad_enabled() and teaches):
                with self._passing(teaches):
                    out = self.decode(decoder, seen, batch)
                first, last = (1, 4) if batch.multimask else (0, 1)
                logits, scores = out.logits[:, first:last], out.scores[:, first:last]
                enlarged = canvas.enlarged(logits)
            if logits.requires_grad:
                # Also on the way back, which takes twice as long, somebody may want to stop.
                logits.register_hook(self._listen)  # type: ignore[no-untyped-call]
            hard, reached = canvas.compared(enlarged)
            best = scores.detach().argmax(dim=1)
            asker.take(hard[rows, best], logits.detach()[rows, best])
            ious.append(reached[rows, best].cpu().numpy())
            if teaches:
                taught.masks.append(_over_candidates(canvas.loss(enlarged), self.plan.spread))
                taught.ious.append((scores - reached.to(scores)).square().mean(dim=1))
                answers = self.plan.information_token == "answer"
                taught.places.append(first + best if answers else torch.zeros_like(best))
                taught.tokens.append(out.tokens[rows, taught.places[-1]])
                taught.prompts.append(batch)
        return taught.rolled(np.stack(ious, axis=1).astype(np.float64))

    def _passing(self, teaches: bool) -> torch.autocast:
        """A round that teaches nothing only decides where the next click goes: in the encoder's
        precision, which takes two thirds of the time on a processor with bf16."""
        low = not teaches and self.plan.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=low)

    def _listen(self, _gradient: Tensor) -> None:
        self._check()

    def _learns(
        self, draws: Draws | None, recorded: Prompts | None, rounds: int | None
    ) -> tuple[int, ...]:
        """The rounds that teach; the last of them is the last one made."""
        if recorded:
            return tuple(range(len(recorded)))
        if draws is not None and draws.learns is not None:
            return draws.learns
        return tuple(range(rounds or self.plan.rounds))


class _Taught:
    """What the rounds that teach have given so far."""

    def __init__(self) -> None:
        self.masks: list[Tensor] = []
        self.ious: list[Tensor] = []
        self.tokens: list[Tensor] = []
        self.places: list[Tensor] = []
        self.prompts: list[PromptBatch] = []

    def rolled(self, ious: NDArray[np.float64]) -> Rolled:
        """All of it, with the IoUs of every round."""
        return Rolled(
            torch.stack(self.masks).mean(dim=0),
            torch.stack(self.ious).mean(dim=0),
            tuple(self.tokens),
            tuple(self.prompts),
            tuple(self.places),
            ious,
        )


def _over_candidates(losses: Tensor, spread: float) -> Tensor:
    """[n, k] to [n]: the best candidate's loss, and a share of everybody's."""
    if losses.shape[1] == 1:
        return losses[:, 0]
    return (1 - spread) * losses.min(dim=1).values + spread * losses.mean(dim=1)


class _Canvas:
    """Losses and IoUs on the square canvases of a batch."""

    def __init__(self, targets: Sequence[Target], device: torch.device, *, paper: bool) -> None:
        self.targets, self.paper = targets, paper
        self.side = targets[0].cover.shape[0]
        self.cover = torch.stack([target.cover for target in targets]).to(device)[:, None]
        if paper:
            self.cover = (self.cover >= 0.5).float()
        else:
            self.visible = torch.stack([target.visible for target in targets]).to(device)[:, None]

    def enlarged(self, logits: Tensor) -> Tensor:
        """Low-resolution logits [n, k, m, m] on the canvas, [n, k, c, c]."""
        return functional.interpolate(
            logits, (self.side, self.side), mode="bilinear", align_corners=False
        )

    def loss(self, logits: Tensor) -> Tensor:
        """Loss of every candidate, [n, k]: StructureLoss in recipe ``paper``, where the padding
        counts too, else focal and dice on what is image."""
        if not self.paper:
            return click_mask_loss(logits, self.cover, self.visible)
        each = [
            structure_loss_per_sample(logits[:, k : k + 1], self.cover)
            for k in range(logits.shape[1])
        ]
        return torch.stack(each, dim=1)

    def compared(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Hard masks bool [n, k, c, c] (CPU) and their IoUs with the targets, [n, k]."""
        hard = (logits.detach() > 0).cpu()
        ious = torch.zeros(hard.shape[:2])
        for row, target in enumerate(self.targets):
            height, width = target.inside
            for column in range(hard.shape[1]):
                guess = hard[row, column, :height, :width].numpy()
                ious[row, column] = mask_iou(guess, target.hard)
        return hard, ious


class _Asker:
    """The simulated user: keeps every sample's clicks and its last mask."""

    def __init__(
        self,
        targets: Sequence[Target],
        plan: TrainingPlan,
        draws: Draws | None,
        device: torch.device,
    ) -> None:
        self.targets, self.plan, self.device = targets, plan, device
        seeds = draws.seeds if draws is not None else ()
        self.rngs = [np.random.default_rng(seed) for seed in seeds]
        self.clicks: list[list[Click]] = [[] for _ in targets]
        self.hard: Tensor | None = None
        self.masks: Tensor | None = None
        self.boxes: Tensor | None = None
        self.box_first = draws is not None and draws.boxes[0]
        if self.box_first:
            boxes = [self._box(row, target) for row, target in enumerate(targets)]
            self.boxes = torch.stack(boxes).to(device)

    def next(self) -> PromptBatch:
        """The prompts of the next round."""
        opening = self.hard is None
        if not (opening and self.box_first):
            for row, target in enumerate(self.targets):
                self.clicks[row].append(self._click(row, target))
        multimask = opening and not self.box_first and self.plan.recipe != "paper"
        return PromptBatch(*self._points(), self.boxes, self.masks, multimask)

    def take(self, hard: Tensor, logits: Tensor) -> None:
        """Look at the answer: hard masks bool [n, c, c], their logits [n, m, m]."""
        self.hard, self.masks = hard, logits[:, None]

    def _points(self) -> tuple[Tensor, Tensor]:
        count = len(self.clicks[0])
        points = torch.zeros(len(self.targets), count, 2)
        labels = torch.zeros(len(self.targets), count, dtype=torch.int64)
        for row, target in enumerate(self.targets):
            for column, click in enumerate(self.clicks[row]):
                points[row, column] = torch.tensor(target.to_input(click))
                labels[row, column] = click[2]
        return points.to(self.device), labels.to(self.device)

    def _click(self, row: int, target: Target) -> Click:
        loose = bool(self.rngs) and self.rngs[row].random() < self.plan.click_noise
        if self.hard is None:
            return self._anywhere(row, target.hard) if loose else target.first_click
        height, width = target.inside
        guess = self.hard[row, :height, :width].numpy()
        error: Bools = guess != target.hard
        if not error.any():
            # Nothing to correct: one more click inside keeps the number of points equal.
            return self._anywhere(row, target.hard) if self.rngs else target.first_click
        if loose:
            x, y, _ = self._anywhere(row, error)
            return x, y, int(target.hard[y, x])
        click = next_click(target.hard, guess)
        return target.first_click if click is None else click

    def _anywhere(self, row: int, region: Bools) -> Click:
        flat = np.flatnonzero(region)
        y, x = divmod(int(flat[self.rngs[row].integers(len(flat))]), region.shape[1])
        return x, y, 1

    def _box(self, row: int, target: Target) -> Tensor:
        box, rng = target.box.numpy(), self.rngs[row]
        if self.plan.recipe == "paper":
            return torch.from_numpy(official_box(box, rng))
        width, height = box[2] - box[0], box[3] - box[1]
        reach = self.plan.box_noise * np.array([width, height, width, height])
        noisy = box + rng.uniform(-1, 1, 4) * reach
        return torch.from_numpy(noisy.astype(np.float32))


def official_box(box: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The official noise: the whole box shifted by -m … m-1 px per axis, m at most 5.

    m is the integer part of half the box's shorter side, capped at 5; where it is 0 the
    official code fails, here the box stays.
    """
    shorter = min(box[2] - box[0], box[3] - box[1])
    most = min(5, int(shorter * 0.1 * 5))
    shift = rng.integers(-most, most, 2) if most else np.zeros(2)
    return np.maximum(0, box + np.tile(shift, 2)).astype(np.float32)
