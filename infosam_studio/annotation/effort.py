"""What labelling cost: clicks and seconds per object over time, and how good first masks were."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ObjectRecord

# Keys of an object's ``extra``: IoU of the model's first mask with the accepted one, and the
# confidence of a suggestion that was accepted.
FIRST_IOU = "first_iou"
SUGGESTED = "suggested"


@dataclass(frozen=True)
class Change:
    """From the object with this place (from 0) on, another version was in use."""

    place: int
    name: str


@dataclass(frozen=True)
class Effort:
    """Objects a person made, in order: what each cost.

    ``first_ious`` has None where the model gave no first mask (drawn by hand, older projects).
    """

    clicks: tuple[float, ...]
    seconds: tuple[float, ...]
    first_ious: tuple[float | None, ...]
    changes: tuple[Change, ...]
    suggested: int

    @property
    def objects(self) -> int:
        """How many objects were made."""
        return len(self.clicks)

    def known_first(self) -> list[tuple[int, float]]:
        """(place, corrective IoU) where it is known."""
        return [(n, value) for n, value in enumerate(self.first_ious) if value is not None]


def first_iou(first: Rle, accepted: Rle) -> float:
    """Corrective IoU: how much of the model's first mask was kept; 1 means nothing to correct."""
    return round(masks.iou(first, accepted), 4)


def effort_of(objects: Sequence[ObjectRecord]) -> Effort:
    """The effort of a project's objects; imports and suggestions nobody accepted cost nothing."""
    made = sorted((one for one in objects if _made(one)), key=lambda one: one.id)
    changes = []
    for place, (before, now) in enumerate(itertools.pairwise(made), start=1):
        if now.adapter != before.adapter:
            changes.append(Change(place, now.adapter or "base model"))
    return Effort(
        tuple(float(one.clicks) for one in made),
        tuple(float(one.seconds) for one in made),
        tuple(_first(one) for one in made),
        tuple(changes),
        sum(1 for one in made if SUGGESTED in one.extra),
    )


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of the last ``window`` values at every place."""
    found = []
    for place in range(len(values)):
        recent = values[max(0, place - window + 1) : place + 1]
        found.append(sum(recent) / len(recent))
    return found


def _made(one: ObjectRecord) -> bool:
    return one.source == "user" and (one.clicks > 0 or SUGGESTED in one.extra)


def _first(one: ObjectRecord) -> float | None:
    value = one.extra.get(FIRST_IOU)
    return float(value) if isinstance(value, int | float) else None
