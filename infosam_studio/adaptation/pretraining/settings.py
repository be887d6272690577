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
    phases: tuple[Phase, ...] = (Phase(0.0, 192, 8), Phase(0.46, 256, 8), Phase(0.66, 512, 4))
    """Resolution and images per step; most is learnt on small pictures, which cost little."""
    prompts: int = 4
    """Objects per image."""
    rounds: int = 3
    """Most clicks (the first included) in an ordinary step."""
    long_rounds: int = 6
    """Clicks in a long step: users go on correcting."""
    long_share: float = 0.06
    """Share of long steps."""
    box_share: float = 0.3
    """Share of objects whose first prompt is a box."""
    shown_share: float = 0.6
    """After a first click: share of the loss on the candidate that is shown (best predicted IoU);
    the rest is on the best of the three. More of it: a better first mask, candidates more alike."""
    part_share: float = 0.6
    """Share of images below 512 px that are placed as a part of a 512 px image, not as a whole."""
    learning_rate: float = 8e-4
    """Of Muon (the matrices) and AdamW (all else)."""
    last_learning_rate: float = 1e-5
    warmup_steps: int = 150
    muon_steps: int = 3
    """Newton-Schulz iterations; 5 is usual, 3 does nearly as well and costs less."""
    weight_decay: float = 0.03
    clip: float = 1.0
    """Largest gradient norm."""
    ema: float = 0.998
    """Decay of the averaged weights, which are the ones evaluated and released."""
    photograph_share: float = 0.3
    """Share of pool photographs among the training pictures; the rest are scenes."""
    threads: int = 1
    workers: int = 1
    device: str = "auto"
    evaluate_minutes: float = 5.0
    save_minutes: float = 2.0
    log_seconds: float = 30.0
    held_out_every: int = 25
    """Every n-th prepared image is only evaluated on."""
    evaluate_images: int = 60
