"""What a run is asked to do, and the numbers that follow from it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from infosam_studio.errors import StudioError

RECIPES: Final = ("studio", "paper")
METHODS: Final = ("infosam", "lora", "decoder")
SPEEDS: Final = ("instant", "full")

# What needed the fewest clicks in the study (report domains), by labelled images
# (resources/guide/adaptation_study.md). Beyond chance is only that InfoSAM needs more clicks with
# full from five images on; with instant all differences are below 0.05.
BEST_METHOD: Final = {
    "instant": {1: "lora", 5: "infosam", 10: "infosam"},
    "full": {1: "infosam", 5: "decoder", 10: "lora"},
}

# Many steps on one image wear it out, and there is little to hold out that would say so. With LoRA
# on one image (four development domains, two seeds, clicks an object) 15 steps saved 0.26, 30 0.18
# and 90 0.14; on report domains 90 and 130 cost 0.09 to 0.24, 15 saved 0.12 to 0.15. From four
# images on the usual steps save clicks, so the limit grows with the square and is gone by then.
ONE_IMAGE_STEPS: Final = 15

# Recipe studio weighs the information terms a tenth of what the paper does: with few labels and
# few steps the published weights held the student back (white blood cells, 10 images: IoU@1 0.71
# instead of 0.74), a tenth of them did not. Recipe paper keeps the published 1.0 and 0.5.
STUDIO_ALPHA: Final = 0.1
STUDIO_BETA: Final = 0.05

# A model of one large object per image soon learns to bring it up wherever one clicks (white blood
# cells, 10 images: up to half of all background clicks after 12 steps, 80 % after 80; with two
# clicks per step held to the teacher one in a hundred, for 0.06 of IoU after the first click).
KEEP: Final = 2

# Where objects are unlike what the model knows, steps count, and on cached embeddings a step costs
# less than half. In equal time (three minutes, cracks): IoU@1 0.22 with the decoder alone, 0.18
# with the encoder from here on, 0.11 with the encoder from the start; white blood cells like the
# encoder (1.05 clicks against 1.25).
ENCODER_FROM: Final = 0.6

# What a few objects teach may cost a strong base more than it gives: half of the way, unless
# validation says clearly otherwise (adaptation/fit.py).
STUDIO_SHARES: Final = (0.5, 0.25, 1.0)

# Encodes before the first step: each takes about a tenth of a second on two cores.
MOST_ENCODES: Final = 160

# A name becomes a folder on every file system.
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}[A-Za-z0-9_-]|[A-Za-z0-9]")


@dataclass(frozen=True)
class AdaptOptions:
    """The choices of one ``adapt`` run; None means "as is best here"."""

    project: Path
    model: str | None = None
    recipe: str = "studio"
    method: str = "auto"
    speed: str = "instant"
    name: str | None = None
    minutes: float | None = None
    epochs: int | None = None
    seed: int = 0
    device: str = "auto"
    train_images: int | None = None
    resume: bool = False
    gate: bool = True
    threads: int | None = None
    pause_below: float | None = None

    def __post_init__(self) -> None:
        _one_of("recipe", self.recipe, RECIPES)
        _one_of("method", self.method, ("auto", *METHODS))
        _one_of("speed", self.speed, SPEEDS)
        if self.name is not None and not NAME.fullmatch(self.name):
            raise StudioError(
                f"{self.name!r} cannot be the name of a version: use letters, digits, spaces, "
                "dots, dashes and underscores."
            )
        for label, value in (("minutes", self.minutes), ("epochs", self.epochs)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise StudioError(f"--{label} must be a positive number, not {value}.")
        if self.train_images is not None and self.train_images < 1:
            raise StudioError("--train-images must be at least 1.")
        if self.recipe == "paper" and self.speed == "instant":
            raise StudioError("Recipe paper trains the encoder: use it with --speed full.")


def with_method(options: AdaptOptions, images: int) -> AdaptOptions:
    """The same options, ``auto`` resolved to what the study found best with about as many labelled
    ``images``; recipe ``paper`` is InfoSAM by definition."""
    if options.method != "auto":
        return options
    if options.recipe == "paper":
        return replace(options, method="infosam")
    best = BEST_METHOD[options.speed]
    nearest = min(best, key=lambda number: abs(math.log(number / max(1, images))))
    return replace(options, method=best[nearest])


def _one_of(label: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise StudioError(f"--{label} {value} is unknown: choose {' or '.join(known)}.")


@dataclass(frozen=True)
class TrainingPlan:
    """The numbers of one training; two methods differ in ``alpha`` and ``beta`` alone.

    ``canvas`` is the side of the square on which masks are compared. ``rounds`` of prompting teach
    in every step: the first ones, or, with ``depth`` above it, the first and others drawn from so
    many, so that late clicks are practised at the price of few. ``click_noise`` is the
    share of clicks set anywhere in the error instead of at its centre; ``box_share`` the share
    of samples that start from a box (recipe ``paper``: of batches); ``spread`` how much every
    candidate of an ambiguous click is trained (0: only the best one, 1: all alike).
    ``encoder_from`` is the part of the training (0..1) after which the encoder learns too: before,
    steps on cached embeddings cost less than half.
    ``keep`` background clicks per step are held to the teacher's answer (adaptation/keeping.py).
    ``average`` is the decay of the averaged weights (0: none), which are validated and kept.
    ``shares`` are the ways to go from the base's weights (0) to the trained ones (1) that
    validation chooses from; the first one is taken unless another is clearly better.
    ``micro_batch`` below ``batch`` switches to the two-pass batch, which has the same gradient.
    """

    recipe: str
    speed: str
    steps: int
    batch: int = 4
    micro_batch: int = 4
    learning_rate: float = 2e-4
    encoder_rate: float = 2e-4
    relation_rate: float = 2e-4
    encoder_from: float = 0.0
    final_rate: float = 0.1
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float | None = None
    average: float = 0.0
    rounds: int = 1
    depth: int = 0
    click_noise: float = 0.0
    box_share: float = 0.5
    box_noise: float = 0.0
    spread: float = 0.0
    keep: int = 0
    iou_weight: float = 1.0
    alpha: float = 1.0
    beta: float = 0.5
    information_rounds: str = "first"
    information_token: str = "zero"
    train_relation: bool = True
    rank: int = 8
    first_block: int | None = None
    views: tuple[int, ...] = (0,)
    canvas: int = 256
    validate_every: int = 15
    patience: int = 4
    precision: str = "fp32"
    epochs: int = 0
    shares: tuple[float, ...] = (1.0,)
    seed: int = 0

    @property
    def schedule_steps(self) -> int:
        """Steps over which the learning rate falls; the official script counts one batch more
        per epoch than it trains."""
        return self.steps + self.epochs if self.recipe == "paper" else self.steps

    @property
    def information(self) -> bool:
        """Whether the information terms take part."""
        return self.alpha != 0 or self.beta != 0

    @property
    def asks_teacher(self) -> bool:
        """Whether the base's embeddings are needed: for a comparison, or to learn on them."""
        alone = self.first_block is not None and self.encoder_from == 0
        return self.information or self.keep > 0 or not alone


def studio_plan(
    *, method: str, speed: str, first_block: int, image_size: int, precision: str, seed: int
) -> TrainingPlan:
    """The plan of recipe ``studio`` with LoRA from ``first_block`` on.

    ``precision`` is that of the encoder, the same in which the app will use the version.
    """
    heavy = image_size > 512
    instant = speed == "instant" or method == "decoder"
    plan = TrainingPlan(
        recipe="studio",
        speed=speed,
        steps=80 if speed == "instant" else 160,
        batch=6,
        micro_batch=6 if instant or not heavy else 1,
        learning_rate=4e-4,
        encoder_rate=3e-4,
        relation_rate=2e-4,
        encoder_from=0.0 if instant else ENCODER_FROM,
        warmup=4,
        weight_decay=1e-4,
        clip=1.0,
        average=0.9,
        rounds=3,
        depth=8,
        click_noise=0.5,
        box_share=0.3,
        box_noise=0.05,
        spread=0.25,
        keep=KEEP,
        rank=8,
        first_block=None if instant else first_block,
        views=(0,) if speed == "instant" else (0, 1, 2, 3),
        canvas=image_size // 2,
        precision=precision,
        shares=STUDIO_SHARES,
        alpha=STUDIO_ALPHA,
        beta=STUDIO_BETA,
        seed=seed,
    )
    return plan if method == "infosam" else replace(plan, alpha=0.0, beta=0.0)


def with_views_for(plan: TrainingPlan, frames: int) -> TrainingPlan:
    """As many of the plan's views as ``frames`` images and regions leave time to encode."""
    return replace(plan, views=plan.views[: max(1, MOST_ENCODES // frames)])


def with_steps_for(plan: TrainingPlan, images: int) -> TrainingPlan:
    """No more steps than so few ``images`` to learn from can bear."""
    return replace(plan, steps=min(plan.steps, ONE_IMAGE_STEPS * max(1, images) ** 2))


def paper_plan(*, method: str, images: int, epochs: int | None, image_size: int) -> TrainingPlan:
    """The official set-up: Adam 2e-4, cosine per step, batch 4, 10 epochs, one prompt."""
    batch = min(4, images)
    plan = TrainingPlan(
        recipe="paper",
        speed="full",
        steps=max(1, images // batch) * (epochs or 10),
        batch=batch,
        micro_batch=1,
        epochs=epochs or 10,
        first_block=2,
        canvas=image_size,
        patience=10**6,
    )
    return plan if method == "infosam" else replace(plan, alpha=0.0, beta=0.0)


def choose_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``mps``; raises StudioError."""
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        # Fine-tuning on MPS has been slower than on the CPU beside it, so it must be asked for.
        return torch.device("cuda" if available["cuda"] else "cpu")
    kind = name.partition(":")[0]
    if kind not in available:
        raise StudioError(f"--device {name} is unknown: choose auto, cpu, cuda or mps.")
    if not available[kind]:
        raise StudioError(f"This machine has no {kind} device that torch can use: choose cpu.")
    return torch.device(name)
