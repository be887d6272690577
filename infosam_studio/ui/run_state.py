"""What is known about the adaptation in progress: stage, curves, log, and how long it will take.

No Qt here: events go in, numbers come out.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infosam_studio.events import Event, WarningCode
from infosam_studio.ui.workers_adapt import AdaptWish

STAGES: Final = {
    "load": "Loading the model",
    "encode": "Looking at the images",
    "before": "Testing the version in use",
    "train": "Learning from your labels",
    "after": "Testing the new version",
    "write": "Writing the new version",
}
ORDER: Final = ("load", "before", "encode", "train", "after", "write")
LOG_LINES: Final = 400
# Without a word and without work; and without a word though it works.
SILENT_TICKS: Final = 90
QUIET_TICKS: Final = 1800
WRITE_SECONDS: Final = 1.0
# The first step of a stage is no pace: it warms up, and a bar never goes back from a wrong guess.
PACED_STEPS: Final = 2
# More points than a curve of a few hundred pixels can show.
MOST_POINTS: Final = 600


@dataclass(frozen=True)
class Validation:
    """One look at the held-out objects during training; ``clicks`` None where not told."""

    step: int
    iou: float
    iou_first: float
    clicks: float | None


@dataclass
class RunState:
    """The run as its events tell it. Times are those of ``now`` (seconds, monotonic)."""

    wish: AdaptWish
    expected: Mapping[str, float] = field(default_factory=dict)
    now: Callable[[], float] = time.monotonic
    stage: str = ""
    step: int = 0
    of: int = 0
    stopping: bool = False
    paused: bool = False
    quiet: int = 0
    idle: int = 0
    device: str = ""
    steps: list[int] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    validations: list[Validation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    took: dict[str, float] = field(default_factory=dict)
    logged: int = 0

    def __post_init__(self) -> None:
        self.started = self._stage_began = self.now()
        self._left: tuple[float, float] | None = None
        self._training: float | None = None
        self._fraction = 0.0
        self._cpu: float | None = None

    # taking in ---------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Take in one event of the child."""
        self.quiet = self.idle = 0
        data = event.data
        if event.kind == "started":
            self._training = _number(data.get("training"))
            self.device = str(data.get("device") or "")
            self.write(_introduction(data))
        elif event.kind == "progress":
            self._progress(data)
        elif event.kind == "validation":
            self._validation(data)
        elif event.kind == "warning":
            self._warning(str(data.get("code", "")), str(data.get("text", "")))

    def _progress(self, data: Mapping[str, Any]) -> None:
        stage = str(data.get("stage") or "")
        if stage != self.stage:
            if self.stage:
                self.took[self.stage] = self.now() - self._stage_began
            self.stage, self._stage_began, self._left = stage, self.now(), None
            self.write(STAGES.get(stage, stage))
        self.step, self.of = int(data.get("step") or 0), int(data.get("of") or 0)
        left = _number(data.get("left"))
        if left is not None and self.step >= PACED_STEPS:
            self._left = (self.now(), left)
        losses = data.get("losses") or {}
        if losses:
            self._add_losses(losses)

    def _add_losses(self, losses: Mapping[str, Any]) -> None:
        self.steps.append(self.step)
        for name in {*self.losses, *losses}:
            values = self.losses.setdefault(name, [math.nan] * (len(self.steps) - 1))
            value = _number(losses.get(name))
            values.append(math.nan if value is None else value)
        if len(self.steps) > MOST_POINTS:  # every second of the older half goes
            half = len(self.steps) // 2
            self.steps = self.steps[:half:2] + self.steps[half:]
            self.losses = {k: v[:half:2] + v[half:] for k, v in self.losses.items()}

    def _validation(self, data: Mapping[str, Any]) -> None:
        iou = _number(data.get("iou")) or 0.0
        found = Validation(
            int(data.get("step") or 0),
            iou,
            _number(data.get("iou_first")) or 0.0,
            _number(data.get("clicks")),
        )
        share = _number(data.get("share"))
        clicks = "" if found.clicks is None else f", {found.clicks:.2f} clicks"
        if share is None:
            self.validations.append(found)
            self.write(f"Step {found.step}: IoU {iou:.3f}{clicks} on held-out objects")
        else:  # the last question: how far to go; not a point of the curve
            self.write(f"{share:.0%} of the way: IoU {iou:.3f}{clicks} on held-out objects")

    def _warning(self, code: str, text: str) -> None:
        if code in (WarningCode.PAUSED, WarningCode.RESUMED):
            self.paused = code == WarningCode.PAUSED
        else:
            self.warnings.append(text)
        self.write(text)

    def tick(self, cpu: float | None) -> bool:
        """A second has passed; True when the child must be taken for dead.

        ``cpu`` is its processor time in seconds, None where that cannot be read. A child that
        says nothing may be in one long step of a large model; one that computes nothing either
        is stuck. Ticks are counted, not seconds: a laptop that slept has missed none.
        """
        if self.paused or self.stopping:
            return False
        self.quiet += 1
        moved = cpu is None or self._cpu is None or cpu - self._cpu > 0.01
        self.idle, self._cpu = (0 if moved else self.idle + 1), cpu
        return self.idle > SILENT_TICKS or self.quiet > QUIET_TICKS

    def write(self, text: str) -> None:
        """Add a line to the log, with the seconds since the start."""
        self.log.append(f"{self.now() - self.started:6.1f} s  {text}")
        self.logged += 1

    # giving out --------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What happens now, in words."""
        if self.stopping:
            return "Stopping"
        if self.paused:
            return "Paused"
        return STAGES.get(self.stage, self.stage) or "Starting"

    @property
    def loading(self) -> bool:
        """Whether nothing can be said yet about the time it will take."""
        return self.stage in ("", "load")

    def remaining(self) -> float | None:
        """Seconds until the result, None while that is not known.

        In training the child knows best. Before and after it, the stage's own pace counts, and
        for the stages to come what this run has shown, or the last one of its kind.
        """
        if self.loading or self.paused or self.stopping:
            return None
        now = self.now()
        if self.stage == "train" and self._left is not None:
            told, left = self._left
            return max(1.0, left - (now - told))
        own = self._own_left(now - self._stage_began)
        later = [self._expect(stage) for stage in ORDER[ORDER.index(self.stage) + 1 :]]
        if own is None or any(one is None for one in later):
            return None
        return max(1.0, own + sum(one for one in later if one is not None))

    def _own_left(self, spent: float) -> float | None:
        if self.of and self.step >= PACED_STEPS:
            return spent / self.step * (self.of - self.step)
        whole = self._expect(self.stage)
        return None if whole is None else max(0.0, whole - spent)

    def _expect(self, stage: str) -> float | None:
        if stage == "write":
            return WRITE_SECONDS
        if stage == "train" and self._training is not None:
            return min(self._training, self.expected.get("train", math.inf))
        if stage == "after" and "before" in self.took:
            # The same clicks again; a full version has to encode the images anew.
            return max(self.took["before"], self.expected.get("after", 0.0))
        return self.expected.get(stage)

    def fraction(self) -> float | None:
        """How much of the time is over, 0..1 and never going back; None while unknown."""
        left = self.remaining()
        if left is None:
            return self._fraction or None
        spent = self.now() - self.started
        self._fraction = max(self._fraction, spent / (spent + left))
        return self._fraction

    def durations(self) -> dict[str, float]:
        """Seconds per stage of a run that has come to its end, for the next one's estimate."""
        if self.stage:
            self.took.setdefault(self.stage, self.now() - self._stage_began)
        return {stage: round(seconds, 2) for stage, seconds in self.took.items()}


def kind_of(wish: AdaptWish) -> str:
    """Runs of one kind take about as long as each other."""
    minutes = "" if wish.minutes is None else f"/{wish.minutes:g}"
    return f"{wish.model}/{wish.recipe}/{wish.speed}/{wish.device}{minutes}"


def _introduction(data: Mapping[str, Any]) -> str:
    held = f"{data.get('val_objects', 0)} objects on {data.get('val_images', 0)} images to test"
    return (
        f"{data.get('name')}: {data.get('model')} on {data.get('device')}, "
        f"{data.get('threads')} threads; {data.get('train_objects')} objects on "
        f"{data.get('train_images')} images to learn from, {held}"
    )


def _number(value: object) -> float | None:
    good = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if good else None  # type: ignore[arg-type]
