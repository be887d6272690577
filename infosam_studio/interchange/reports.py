"""What an export or an import tells afterwards, and the callbacks it takes while it works."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infosam_studio.errors import Cancelled

# progress(done, total): total 0 where the end is not known.
Progress = Callable[[int, int], None]
# cancelled() -> True: stop at the next image, leave nothing behind.
IsCancelled = Callable[[], bool]

MAX_PROBLEMS = 1000


def no_progress(_done: int, _total: int) -> None:
    """The progress callback of those who do not want to know."""


def never() -> bool:
    """The cancelled callback of those who never stop."""
    return False


def stop_if(cancelled: IsCancelled) -> None:
    """Raise `Cancelled` once the caller asks for it."""
    if cancelled():
        raise Cancelled


def counted(number: int, noun: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


@dataclass(frozen=True)
class Problem:
    """One item that did not come through, or not as it was, and why."""

    item: str
    reason: str


@dataclass
class Problems:
    """The problems met so far; the first thousand by name, all of them counted."""

    items: list[Problem] = field(default_factory=list)
    count: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, item: str, reason: str) -> None:
        self.count += 1
        self.reasons[reason] += 1
        if len(self.items) < MAX_PROBLEMS:
            self.items.append(Problem(_printable(item), reason))

    def to_json(self) -> list[dict[str, str]]:
        return [{"item": p.item, "reason": p.reason} for p in self.items]


def _printable(text: str, limit: int = 200) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


@dataclass
class ExportReport:
    """What an export wrote, and what reading it back gave.

    `different` counts objects whose pixels came back otherwise than the project has them
    (None: not checked); `overlaps` those that lost pixels to another one, in formats where a
    pixel has one owner, and `hidden` those among them that lost all.
    """

    format: str
    out: Path
    images: int = 0
    objects: int = 0
    files: int = 0
    checked: int = 0
    different: int | None = None
    overlaps: int = 0
    hidden: int = 0
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic, repr=False)

    @property
    def summary(self) -> str:
        """One sentence, as in "412 objects, 0 different; 3 overlaps resolved by priority"."""
        parts = [f"{counted(self.objects, 'object')} on {counted(self.images, 'image')}"]
        if self.different is not None:
            parts[0] += f", {self.different} different"
        if self.overlaps:
            text = f"{counted(self.overlaps, 'overlap')} resolved by priority"
            parts.append(text + (f" ({self.hidden} hidden wholly)" if self.hidden else ""))
        if self.problems.count:
            parts.append(f"{counted(self.problems.count, 'item')} left out or changed")
        parts.extend(self.notes)
        return "; ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        return {
            "summary": self.summary,
            "format": self.format,
            "out": str(self.out),
            "images": self.images,
            "objects": self.objects,
            "files": self.files,
            "checked": self.checked,
            "different": self.different,
            "overlaps": self.overlaps,
            "hidden": self.hidden,
            "seconds": round(self.seconds, 3),
            "problem_count": self.problems.count,
            "problems": self.problems.to_json(),
        }


@dataclass
class ImportReport:
    """What an import brought in."""

    format: str
    source: Path
    images: int = 0
    objects: int = 0
    already_there: int = 0
    replaced: int = 0
    skipped_images: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic, repr=False)

    @property
    def summary(self) -> str:
        """One sentence, as in "230 objects of 2 classes on 60 images; 4 items left out"."""
        kinds = counted(len(self.classes), "class")
        parts = [f"{counted(self.objects, 'object')} of {kinds} on {counted(self.images, 'image')}"]
        if self.already_there:
            were = "was" if self.already_there == 1 else "were"
            parts.append(f"{self.already_there:,} {were} there already")
        if self.replaced:
            parts.append(f"{counted(self.replaced, 'earlier object')} replaced")
        if self.skipped_images:
            parts.append(f"{counted(self.skipped_images, 'labelled image')} left alone")
        if self.problems.count:
            parts.append(f"{counted(self.problems.count, 'item')} left out or changed")
        parts.extend(self.notes)
        return "; ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        return {
            "summary": self.summary,
            "format": self.format,
            "images": self.images,
            "objects": self.objects,
            "already_there": self.already_there,
            "replaced": self.replaced,
            "skipped_images": self.skipped_images,
            "classes": dict(self.classes),
            "seconds": round(self.seconds, 3),
            "problem_count": self.problems.count,
            "problems": self.problems.to_json(),
        }
