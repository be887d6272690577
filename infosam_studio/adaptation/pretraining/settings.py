"""All settings of a pre-training run in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """Training resolution from a share of the run on."""

    starts_at: float
    size: int
    images: int


@dataclass(frozen=True)
class Settings:
    """One run. ``steps`` makes it reproducible to the bit; ``minutes`` fits it to a clock."""

    minutes: float = 60.0
    """Time budget; the learning rate is annealed to its end."""
    steps: int = 0
    """If above 0 the schedule counts steps and the time budget is not used."""
    seed: int = 0
    """Of weights, data and clicks."""
    phases: tuple[Phase, ...] = (Phase(0.0, 256, 8), Phase(0.78, 512, 4))
    """Resolution and images per step; embeddings at 256 px cost a quarter of those at 512."""
    prompts: int = 4
    """Objects per image."""
    rounds: int = 4
    """Most clicks (the first included) in an ordinary step."""
    long_rounds: int = 8
    """Clicks in a long step: users go on correcting."""
    long_share: float = 0.06
    """Share of long steps."""
    box_share: float = 0.3
    """Share of objects whose first prompt is a box."""
    learning_rate: float = 4e-4
    last_learning_rate: float = 6e-6
    warmup_steps: int = 150
    weight_decay: float = 0.03
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones evaluated and released."""
    threads: int = 1
    workers: int = 1
    device: str = "auto"
    evaluate_minutes: float = 5.0
    save_minutes: float = 2.0
    log_seconds: float = 30.0
    held_out_every: int = 25
    """Every n-th prepared image is only evaluated on."""
    evaluate_images: int = 60
