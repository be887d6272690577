"""One optimisation step, exact in the memory of one sample.

The information terms couple all samples of a batch through Gram matrices of relation vectors.
So a step has two passes: first every sample's relation vectors are computed without gradient
and the loss is differentiated with respect to *them*; then each micro-batch runs again with
gradient, and that vector is backpropagated beside its mask losses. The gradient is that of the
whole batch. Where the whole batch fits, both passes are one.

Which tokens meet: mask token 0 (``hs[:, 1]``), as in the official code, or with
``information_token = "answer"`` that of the mask a user would have been shown; of the first round
(one prompt per sample, as there), or of every round with ``information_rounds = "all"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from infosam_studio.adaptation.adapters import Student
from infosam_studio.adaptation.features import FeatureStore
from infosam_studio.adaptation.keeping import background_click, keeping_loss
from infosam_studio.adaptation.losses import compression_loss, distillation_loss
from infosam_studio.adaptation.optimizer import AdamW
from infosam_studio.adaptation.plan import TrainingPlan
from infosam_studio.adaptation.relation import RelationModule, tokens_of
from infosam_studio.adaptation.rollout import Draws, Prompts, Rolled, Roller
from infosam_studio.adaptation.sampler import Item
from infosam_studio.adaptation.samples import Sample
from infosam_studio.adaptation.spread import Spread
from infosam_studio.adaptation.targets import TargetStore
from infosam_studio.errors import StudioError

MOST_SKIPPED: Final = 3
OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass(frozen=True)
class Step:
    """What one optimisation step did; ``losses`` by name, ``skipped`` where it was not finite."""

    losses: Mapping[str, float]
    gradient: float
    skipped: bool = False


@dataclass
class _Pass:
    """One micro-batch: the embeddings [n, 256, h, w] of student and teacher (the student's where
    nobody asks the teacher), the rollout and the relation rows of both."""

    features: Tensor
    known: Tensor
    rolled: Rolled
    rows_s: Tensor
    rows_t: Tensor
    feat_t: Tensor
    token_t: Tensor


@dataclass
class Trainer:
    """Student, relation module and optimiser of one run.

    ``notice`` is told (code, sentence) about anything the user should know; ``relation`` is
    None where the information terms are off. ``objects`` are all known ones of an image or
    region, by its id.
    """

    student: Student
    relation: RelationModule | None
    store: FeatureStore
    targets: TargetStore
    roller: Roller
    plan: TrainingPlan
    notice: Callable[[str, str], None] = lambda _code, _text: None
    spread: Spread = field(default_factory=Spread)
    objects: Mapping[int, Sequence[Sample]] = field(default_factory=dict)
    rate: float = 1.0
    skipped: int = 0
    progress: float = 0.0

    def __post_init__(self) -> None:
        self.micro = max(1, self.plan.micro_batch)
        self.optimizer = self._make_optimizer()

    def _make_optimizer(self) -> AdamW:
        plan = self.plan
        groups: list[dict[str, Any]] = [
            {"params": list(self.student.decoder_parameters().values()), "lr": plan.learning_rate}
        ]
        encoder = list(self.student.encoder_parameters().values())
        if encoder:
            groups.append({"params": encoder, "lr": plan.encoder_rate})
        if self.relation is not None and plan.train_relation:
            groups.append({"params": list(self.relation.parameters()), "lr": plan.relation_rate})
        return AdamW(groups, weight_decay=plan.weight_decay)

    @property
    def encoder_learns(self) -> bool:
        """Whether a step moves the encoder too; it joins after a part of the training."""
        return self.student.acts_on_encoder and self.progress >= self.plan.encoder_from

    def trained(self) -> list[torch.nn.Parameter]:
        """Every parameter the optimiser moves."""
        return [value for group in self.optimizer.param_groups for value in group["params"]]

    def set_progress(self, step: int, progress: float) -> None:
        """Learning rates for this step: linear warm-up, then a cosine over ``progress`` 0..1."""
        plan = self.plan
        self.progress = progress
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        factor = plan.final_rate + (1 - plan.final_rate) * cosine
        warm = min(1.0, (step + 1) / (plan.warmup + 1))
        base = [plan.learning_rate]
        if self.student.acts_on_encoder:
            base.append(plan.encoder_rate)
        base.append(plan.relation_rate)
        for group, rate in zip(self.optimizer.param_groups, base, strict=False):
            group["lr"] = rate * factor * warm * self.rate

    def step(self, items: Sequence[Item], rng: np.random.Generator) -> Step:
        """One step on these items; halves the micro-batch and goes on when memory runs out."""
        count = len(items) // self.spread.size * self.spread.size
        if count == 0:
            raise StudioError(
                f"{self.spread.size} processes need as many labelled objects: start fewer."
            )
        items = items[:count]
        draws = Draws.make(rng, len(items), self.plan)
        while True:
            try:
                losses = self._gradients(items, draws)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._smaller(len(items), error)
        return self._apply(losses)

    def _smaller(self, count: int, error: BaseException) -> None:
        self.optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.micro <= 1:
            raise StudioError(
                "The memory does not suffice to train this model on one sample at a time: close "
                "other programs, use --speed instant, or take a smaller model."
            ) from error
        self.micro = max(1, min(self.micro, count) // 2)
        self.notice("memory", f"Memory ran out; going on with {self.micro} samples at a time.")

    def _apply(self, losses: Mapping[str, float]) -> Step:
        plan = self.plan
        grads = [value.grad for value in self.trained() if value.grad is not None]
        self.spread.add_up(grads)
        total = torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())
        finite = bool(torch.isfinite(total)) and all(map(math.isfinite, losses.values()))
        if self.spread.agree(not finite):
            return self._skip(losses)
        if plan.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.trained(), plan.clip, total)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return Step(losses, float(total))

    def _skip(self, losses: Mapping[str, float]) -> Step:
        self.optimizer.zero_grad()
        self.skipped += 1
        self.rate *= 0.5
        if self.skipped >= MOST_SKIPPED:
            raise StudioError(
                f"Training became unstable ({self.skipped} steps without a finite loss) and was "
                "stopped: nothing was changed; try fewer minutes, or another recipe or model."
            )
        text = "A step gave no finite number: it was skipped and the learning rate halved."
        self.notice("not-finite", text)
        return Step(losses, math.nan, skipped=True)

    def _gradients(
        self, items: Sequence[Item], draws: Draws, recorded: Prompts | None = None
    ) -> dict[str, float]:
        """Fill ``.grad`` of everything trained with this process's part of the gradient.

        Prompts come from ``draws``, or are those ``recorded`` for the whole batch.
        """
        self.optimizer.zero_grad()
        mine = self.spread.share(len(items))
        cuts = draws.cuts(mine, self.micro)
        # Where not all fit, the last one's graph is kept and used first: one at any time.
        graphs = cuts if self.micro >= mine.stop - mine.start else cuts[-1:]
        passes = []
        for cut in cuts:
            with torch.set_grad_enabled(cut in graphs):
                asked = None if recorded is None else tuple(p.part(cut) for p in recorded)
                passes.append(self._pass(items[cut], draws.part(cut), asked))
        (rows_s, rows_t), information = self._information(passes)
        kept = torch.zeros(1)
        for index, cut in reversed(list(enumerate(cuts))):
            part = passes[index]
            if cut not in graphs:
                part = self._pass(items[cut], None, part.rolled.prompts)
            keep = self._keep(items[cut], part, draws.keeps[cut])
            self._backward(part, (rows_s[index], rows_t[index]), keep, len(items))
            kept += keep.item() / len(items)
            del part, keep
        losses = self._report(passes, information, len(items))
        if not draws.keeps:
            return losses
        self.spread.add_up([kept])
        return {**losses, "keep": kept.item(), "total": losses["total"] + kept.item()}

    def _pass(
        self, items: Sequence[Item], draws: Draws | None, recorded: Prompts | None = None
    ) -> _Pass:
        """Encode, prompt and relate one micro-batch."""
        keys = list(dict.fromkeys(item.key for item in items))
        place = torch.tensor([keys.index(item.key) for item in items], device=self.store.device)
        learns = self.encoder_learns
        # The teacher's first: where it must encode, the student's graph is not there yet.
        asked = [self.store.teacher] * (self.plan.asks_teacher or not learns)
        asked += [self.store.student] * learns
        found = [torch.cat([embed(key) for key in keys])[place] for embed in asked]
        known, features = found[0], found[-1]
        targets = [self.targets.get(item.sample, item.view) for item in items]
        rolled = self.roller.run(
            self.student.decoder, features, targets, draws=draws, recorded=recorded
        )
        if self.relation is None:
            nothing = features.new_zeros(len(items), 1)
            return _Pass(features, known, rolled, nothing, nothing, nothing, nothing)
        return self._relate(rolled, features, known)

    def _relate(self, rolled: Rolled, features: Tensor, feat_t: Tensor) -> _Pass:
        assert self.relation is not None
        rounds = len(rolled.tokens) if self.plan.information_rounds == "all" else 1
        with torch.no_grad():
            rows = torch.arange(len(feat_t), device=feat_t.device)
            asked = list(zip(rolled.prompts, rolled.places, strict=True))[:rounds]
            decoder = self.student.teacher_decoder
            seen = self.roller.look(decoder, feat_t)
            token_t = torch.cat(
                [
                    self.roller.mask_tokens(decoder, seen, prompts)[rows, which]
                    for prompts, which in asked
                ]
            )
            spatial_t = tokens_of(feat_t).repeat(rounds, 1, 1)
        token_s = torch.cat(rolled.tokens[:rounds])
        rows_s = self.relation(tokens_of(features).repeat(rounds, 1, 1), token_s[:, None])
        rows_t = self.relation(spatial_t, token_t[:, None])
        return _Pass(features, feat_t, rolled, rows_s, rows_t, spatial_t, token_t[:, None])

    def _information(
        self, passes: Sequence[_Pass]
    ) -> tuple[tuple[list[Tensor], list[Tensor]], dict[str, float]]:
        """Gradients of the information loss with respect to each pass's rows (S, T)."""
        if self.relation is None:
            nothing = [part.rows_s.detach() * 0 for part in passes]
            return (nothing, nothing), {}
        plan = self.plan
        leaves = [
            torch.cat([getattr(part, name).detach() for part in passes])
            for name in ("rows_s", "rows_t", "feat_t", "token_t")
        ]
        count = len(leaves[0])
        rows_s, rows_t, feat_t, token_t = (self.spread.gather(leaf) for leaf in leaves)
        rows_s, rows_t = rows_s.requires_grad_(True), rows_t.requires_grad_(True)
        with torch.enable_grad():
            compression = compression_loss(feat_t, token_t, rows_t)
            distillation = distillation_loss(rows_t, rows_s)
            total = plan.alpha * compression + plan.beta * distillation
            grads = torch.autograd.grad(total, (rows_s, rows_t))
        mine = slice(self.spread.rank * count, (self.spread.rank + 1) * count)
        sizes = [len(part.rows_s) for part in passes]
        if not all(bool(torch.isfinite(grad).all()) for grad in grads):
            # The term is dropped for this step, the masks still train.
            self.notice("not-finite", "The information term was not finite and was left out once.")
            grads = tuple(torch.zeros_like(grad) for grad in grads)
        split_s, split_t = (list(torch.split(grad[mine], sizes)) for grad in grads)
        told = {"compression": compression.item(), "distillation": distillation.item()}
        return (split_s, split_t), told

    def _backward(self, part: _Pass, rows: Sequence[Tensor], keep: Tensor, batch: int) -> None:
        plan, rolled = self.plan, part.rolled
        loss = rolled.mask_loss.sum() + keep
        if plan.recipe == "studio":
            loss = loss + plan.iou_weight * rolled.iou_loss.sum()
        total = loss / batch
        for end, grad in zip((part.rows_s, part.rows_t), rows, strict=True):
            if end.requires_grad and self.relation is not None:
                # Its gradient is ``grad``; given to autograd as such it would import sympy.
                total = total + (end * grad).sum()
        total.backward()  # type: ignore[no-untyped-call]

    def _keep(self, items: Sequence[Item], part: _Pass, seeds: Sequence[int]) -> Tensor:
        """How far background clicks on the first of these items' images, one per seed, are from
        the teacher's answers: a sum.

        They look at the embeddings of the items' own pass, so no encoder runs for them.
        """
        total = part.features.new_zeros(())
        for place, seed in enumerate(seeds):
            item = items[place]
            own = self.objects.get(item.sample.frame_id, (item.sample,))
            targets = [self.targets.get(sample, item.view) for sample in own]
            click = background_click(targets, np.random.default_rng(seed))
            if click is None:
                continue
            total = total + keeping_loss(
                self.roller,
                (self.student.decoder, self.student.teacher_decoder),
                (part.features[place : place + 1], part.known[place : place + 1]),
                targets[0].to_input(click),
            )
        return total

    def _report(
        self, passes: Sequence[_Pass], information: Mapping[str, float], batch: int
    ) -> dict[str, float]:
        sums = torch.stack(
            [
                sum((part.rolled.mask_loss.detach().sum() for part in passes), torch.zeros(())),
                sum((part.rolled.iou_loss.detach().sum() for part in passes), torch.zeros(())),
            ]
        )
        self.spread.add_up([sums])
        mask, iou = (sums / batch).tolist()
        plan = self.plan
        total = mask + (plan.iou_weight * iou if plan.recipe == "studio" else 0.0)
        total += plan.alpha * information.get("compression", 0.0)
        total += plan.beta * information.get("distillation", 0.0)
        return {"total": total, "mask": mask, "iou": iou, **information}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on a device or in the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)
