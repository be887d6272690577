"""Which validation objects choose (when to stop, how far to go) and which judge the result.

An object that has chosen the weights flatters them, so the gate should see others. Where there
are too few objects for both, all of them do both, and the version's manifest says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from infosam_studio.adaptation.gate import ENOUGH_TRUSTED, PROVEN_IMAGES, PROVEN_OBJECTS
from infosam_studio.adaptation.samples import SMALLEST_EVALUATED, Sample

# More objects than these make a choice no better and every validation slower.
MOST_CHOOSING: Final = 12
# Fewer than these choose badly; better then to let all of them do both.
FEWEST_CHOOSING: Final = 4

SHARED: Final = (
    "There are too few validation objects for two groups, so those that judged this version "
    "also chose when training stopped and how far to go: expect it to be a little less good "
    "than the figures say."
)


@dataclass(frozen=True)
class Holdout:
    """Validation objects by task; ``apart`` is "images", "objects" or "" (the same do both)."""

    choosing: tuple[Sample, ...]
    judging: tuple[Sample, ...]
    apart: str

    @property
    def note(self) -> str | None:
        """What the manifest should say about it, None where nothing has to be excused."""
        return SHARED if not self.apart and self.choosing and self.judging else None


def divide_validation(
    samples: Sequence[Sample], *, chooses: bool = True, judges: bool = True
) -> Holdout:
    """Divide the validation objects; the same ones always go the same way.

    By image where enough remain for a proven verdict, else by object, else not at all. Without
    ``chooses`` (recipe ``paper`` has no early stop) or ``judges`` (no gate) one task has all.
    """
    usable = [sample for sample in samples if sample.area >= SMALLEST_EVALUATED]
    if not chooses:
        return Holdout((), tuple(samples), "images")
    if not judges:
        return Holdout(tuple(usable), (), "images")
    for apart, parts in (("images", _by_image(usable)), ("objects", [[s] for s in usable])):
        choosing = _taken(parts, usable, images=apart == "images")
        if len(choosing) >= FEWEST_CHOOSING:
            kept = {sample.object_id for sample in choosing}
            rest = tuple(sample for sample in samples if sample.object_id not in kept)
            return Holdout(tuple(choosing), rest, apart)
    return Holdout(tuple(usable), tuple(samples), "")


def _by_image(samples: Iterable[Sample]) -> list[list[Sample]]:
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.image_id, []).append(sample)
    return list(groups.values())


def _taken(
    parts: Sequence[Sequence[Sample]], samples: Sequence[Sample], *, images: bool
) -> list[Sample]:
    """Whole parts for choosing, as long as what remains can still prove something."""
    left = {sample.object_id: sample for sample in samples}
    trusted = sum(sample.trusted for sample in samples) >= ENOUGH_TRUSTED
    most = min(MOST_CHOOSING, len(samples) // 3)
    taken: list[Sample] = []
    for part in sorted(parts, key=lambda part: _rank(part[0], images=images)):
        if len(taken) >= FEWEST_CHOOSING and len(taken) + len(part) > most:
            continue
        rest = [s for s in left.values() if s not in part]
        if _proves(rest, trusted=trusted, images=images):
            left = {sample.object_id: sample for sample in rest}
            taken += part
    return taken


def _proves(samples: Sequence[Sample], *, trusted: bool, images: bool) -> bool:
    counted = [sample for sample in samples if sample.trusted or not trusted]
    enough = len(counted) >= PROVEN_OBJECTS
    return enough and (not images or len({s.image_id for s in counted}) >= PROVEN_IMAGES)


def _rank(sample: Sample, *, images: bool) -> str:
    """An order that depends on nothing but the object's or image's id."""
    key = sample.image_id if images else sample.object_id
    return hashlib.sha256(f"holdout|{key}".encode()).hexdigest()
