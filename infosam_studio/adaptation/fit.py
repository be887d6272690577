"""The training loop: steps, validation, early stop, the time budget, and going on later."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from infosam_studio.adaptation.averaging import WeightAverage
from infosam_studio.adaptation.budget import Clock
from infosam_studio.adaptation.sampler import Sampler
from infosam_studio.adaptation.samples import Sample
from infosam_studio.adaptation.training import Trainer
from infosam_studio.errors import Cancelled
from infosam_studio.events import Emit, Event

SAVE_INTERVAL: Final = 20.0
# The gate counts clicks to a good mask, so what is chosen should be good beyond the first ones.
VALIDATION_ROUNDS: Final = 5
VALIDATION_BATCH: Final = 8
# Validation objects are few. Over nine short runs on three development domains half of the way to
# the trained weights (the plan's first share) took 3.1 clicks an object on test images, all of it
# 3.4, a quarter 3.3; following differences on validation smaller than this made it worse.
SHARE_MARGIN: Final = 0.05


@dataclass(frozen=True)
class Score:
    """Mean IoU over the simulated clicks, and after the first one."""

    iou: float
    first: float


class Validator:
    """Replays the protocol's clicks on validation objects, on the training canvas."""

    def __init__(self, trainer: Trainer, samples: Sequence[Sample]) -> None:
        self.trainer = trainer
        # Objects of one image or region follow each other, so every embedding is made once.
        self.samples = sorted(samples, key=lambda sample: (sample.image_id, sample.frame_id))

    def score(self) -> Score:
        """The student's score now."""
        trainer, ious = self.trainer, []
        for start in range(0, len(self.samples), VALIDATION_BATCH):
            part = self.samples[start : start + VALIDATION_BATCH]
            with torch.no_grad():
                made = {s.frame_id: trainer.store.student((s.frame_id, 0)) for s in part}
                features = torch.cat([made[sample.frame_id] for sample in part])
                targets = [trainer.targets.get(sample, 0) for sample in part]
                rolled = trainer.roller.run(
                    trainer.student.decoder, features, targets, rounds=VALIDATION_ROUNDS
                )
            ious.append(torch.from_numpy(rolled.ious))
        together = torch.cat(ious)
        return Score(float(together.mean()), float(together[:, 0].mean()))


@dataclass
class Progress:
    """Where a training stands; what ``--resume`` needs besides weights and optimiser.

    ``latest`` is what the last step took: steps get slower when the encoder joins.
    """

    step: int = 0
    seconds: float = 0.0
    latest: float = 0.0
    best: float | None = None
    bad: int = 0
    best_tensors: dict[str, Tensor] = field(default_factory=dict)
    best_relation: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)


class ResumeFile:
    """The state of an unfinished run. It lies in the cache: losing it costs time, never data."""

    def __init__(self, path: Path | None, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint

    def save(self, trainer: Trainer, progress: Progress) -> None:
        """Write the state aside, then rename; a full disk only means that it is not kept."""
        if self.path is None or trainer.spread.rank != 0:
            return
        state = {
            "fingerprint": self.fingerprint,
            "progress": asdict(progress),
            "tensors": trainer.student.tensors(),
            "relation": _state(trainer),
            "optimizer": trainer.optimizer.state_dict(),
            "rate": trainer.rate,
            "skipped": trainer.skipped,
            "micro": trainer.micro,
        }
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, aside)
            os.replace(aside, self.path)
        except (OSError, RuntimeError):
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)

    def load(self, trainer: Trainer) -> Progress | None:
        """Put a saved state into the trainer; None where there is none that fits."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["fingerprint"] != self.fingerprint:
                return None
            trainer.student.load(state["tensors"])
            if trainer.relation is not None:
                trainer.relation.load_state_dict(state["relation"])
            trainer.optimizer.load_state_dict(state["optimizer"])
            trainer.rate, trainer.skipped = float(state["rate"]), int(state["skipped"])
            trainer.micro = int(state["micro"])
            return Progress(**state["progress"])
        except Exception:  # a torn file raises whatever pickle likes; then training starts anew
            return None

    def forget(self) -> None:
        """Delete the state of a run that has finished."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def fingerprint(*parts: object) -> str:
    """A hash over what must be equal for a run to be continued."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Fitted:
    """The outcome: weights by adapter key, the relation module's, and how far it went.

    ``share`` says how far the weights lie from the base's (0) to the trained ones (1).
    """

    tensors: Mapping[str, Tensor]
    relation: Mapping[str, Tensor]
    steps: int
    best: float | None
    seconds: float
    share: float = 1.0


@dataclass
class Loop:
    """Runs a trainer until steps, time or patience are spent.

    ``seconds`` bounds the training itself once ``floor`` steps are made, so that a busy machine
    makes a run longer rather than worthless; ``reserve`` says how much of the clock's budget must
    stay for what comes after; ``validating`` is what the last validation took.
    """

    trainer: Trainer
    sampler: Sampler
    validator: Validator | None
    clock: Clock
    emit: Emit
    resume: ResumeFile
    seconds: float | None = None
    floor: int = 0
    reserve: Callable[[], float] = lambda: 0.0
    validating: float = 0.0
    average: WeightAverage = field(init=False)

    def run(self, *, resume: bool = False) -> Fitted:
        """Train; raises Cancelled (after saving the state) or StudioError."""
        progress = self.resume.load(self.trainer) if resume else None
        progress = progress or Progress()
        saved = time.monotonic()
        plan = self.trainer.plan
        self.average = WeightAverage(self.trainer.student, plan.average)
        if progress.average:
            self.average.load(progress.average)
        progress.average = self.average.values
        try:
            while progress.step < plan.steps and not self._spent(progress):
                start = self.clock.spent()
                self.clock.check()
                self._step(progress)
                progress.latest = self.clock.spent() - start
                progress.seconds += progress.latest
                if self._validates(progress) and self._validate(progress):
                    break
                if time.monotonic() - saved > SAVE_INTERVAL:
                    self.resume.save(self.trainer, progress)
                    saved = time.monotonic()
            self._validate_last(progress)
            share = self._choose_share(progress)
        except Cancelled:
            self.trainer.optimizer.zero_grad()
            self.resume.save(self.trainer, progress)
            raise
        return self._fitted(progress, share)

    def _fraction(self, progress: Progress) -> float:
        """How much of the training is done, by steps or by time, whichever is further."""
        fraction = progress.step / self.trainer.plan.schedule_steps
        limit = self._limit(progress)
        if limit is not None:
            fraction = max(fraction, progress.seconds / max(limit, 1e-3))
        return fraction

    def _limit(self, progress: Progress) -> float | None:
        """Seconds of training allowed altogether."""
        left = self.clock.left()
        if left is None:
            return self.seconds
        whole = progress.seconds + left - self.reserve() - self.validating
        return whole if self.seconds is None else min(whole, self.seconds)

    def _spent(self, progress: Progress) -> bool:
        limit = self._limit(progress)
        floor = self.floor if self.clock.seconds is None else 0
        if limit is None or progress.step < max(1, floor):
            return False
        # A step that would end beyond the limit is not begun.
        next_one = max(progress.seconds / progress.step, progress.latest)
        return self.trainer.spread.agree(progress.seconds + next_one > limit)

    def _step(self, progress: Progress) -> None:
        step = progress.step
        fraction = self.trainer.spread.largest(self._fraction(progress))
        self.trainer.set_progress(step, fraction)
        rng = self.sampler.generator(step)
        done = self.trainer.step(self.sampler.batch(step, rng), rng)
        self.average.update(step)
        progress.step += 1
        planned = self._planned(progress)
        pace = progress.seconds / max(1, step)
        left = max(0.0, (planned - progress.step) * pace + self.reserve())
        data = {
            "stage": "train",
            "step": progress.step,
            "of": planned,
            "losses": dict(done.losses),
            "left": round(left, 1) if step else None,
        }
        self.emit(Event("progress", data))

    def _planned(self, progress: Progress) -> int:
        limit, steps = self._limit(progress), self.trainer.plan.steps
        if limit is None or not progress.seconds:
            return steps
        by_time = int(limit / (progress.seconds / max(1, progress.step - 1)))
        return max(progress.step, min(steps, by_time))

    def _validates(self, progress: Progress) -> bool:
        every = self.trainer.plan.validate_every
        return self.validator is not None and progress.step % every == 0

    def _validate(self, progress: Progress) -> bool:
        """Score the student; True when it has not improved for too long."""
        with self.average.applied():
            score = self._score()
        better = progress.best is None or score.iou > progress.best
        if better:
            progress.best, progress.bad = score.iou, 0
            progress.best_tensors = self.average.tensors()
            progress.best_relation = _state(self.trainer)
        else:
            progress.bad += 1
        self._tell(progress, score, best=better)
        progress.seconds += self.validating
        return self.trainer.spread.agree(progress.bad >= self.trainer.plan.patience)

    def _score(self) -> Score:
        assert self.validator is not None
        start = self.clock.spent()
        score = self.validator.score()
        self.validating = self.clock.spent() - start
        return score

    def _tell(self, progress: Progress, score: Score, *, best: bool, **more: float) -> None:
        data = {"step": progress.step, "iou": score.iou, "iou_first": score.first, "best": best}
        self.emit(Event("validation", {**data, **more}))

    def _validate_last(self, progress: Progress) -> None:
        """The last weights have the lowest rate behind them and are often the best."""
        if self.validator is not None and not self._validates(progress):
            self._validate(progress)

    def _choose_share(self, progress: Progress) -> float:
        """How far to go from the base to the trained weights, by validation where there is one.

        A few steps on a few objects can cost a strong base more than they give it. The plan's
        first share is taken unless another is better by more than such few objects err.
        """
        shares = self.trainer.plan.shares
        if len(shares) < 2 or self.validator is None or progress.best is None:
            return shares[0]
        # All of the way is what training has validated.
        scores = {1.0: progress.best}
        student = self.trainer.student
        for share in shares:
            if share in scores or not self._affordable():
                continue
            student.load(student.blended(progress.best_tensors, share))
            score = self._score()
            scores[share] = score.iou
            best = chosen_share(shares, scores) == share
            self._tell(progress, score, best=best, share=share)
        chosen = chosen_share(shares, scores)
        progress.best = scores.get(chosen, progress.best)
        return chosen

    def _affordable(self) -> bool:
        left = self.clock.left()
        return left is None or left - self.reserve() > self.validating

    def _fitted(self, progress: Progress, share: float) -> Fitted:
        student = self.trainer.student
        tensors = progress.best_tensors or self.average.tensors()
        if share != 1.0:
            tensors = student.blended(tensors, share)
        relation = progress.best_relation if progress.best_tensors else _state(self.trainer)
        return Fitted(tensors, relation, progress.step, progress.best, progress.seconds, share)


def chosen_share(shares: Sequence[float], scores: Mapping[float, float]) -> float:
    """The share to take by its validation ``scores`` (mean IoU; those there was time for).

    The first of the ``shares``, unless another is ahead of it by `SHARE_MARGIN`.
    """
    usual = shares[0]
    if usual not in scores:
        return usual
    best = max((share for share in shares if share in scores), key=lambda share: scores[share])
    return best if scores[best] >= scores[usual] + SHARE_MARGIN else usual


def _state(trainer: Trainer) -> dict[str, Tensor]:
    if trainer.relation is None:
        return {}
    return {k: v.detach().cpu().clone() for k, v in trainer.relation.state_dict().items()}
