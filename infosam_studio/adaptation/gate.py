"""The gate: is the candidate really better than the version in use, in clicks?

Both versions replay the same simulated clicks on the validation objects; the figure is the
paired difference in clicks to IoU 0.85, with a bootstrap clustered by image, because objects of
one image are not independent. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infosam_studio.segmentation.clicks import noc

TARGET_IOU: Final = 0.85
STRICT_IOU: Final = 0.90
# With fewer trusted objects than this, masks that were accepted untouched count as well.
ENOUGH_TRUSTED: Final = 10
PROVEN_OBJECTS: Final = 10
PROVEN_IMAGES: Final = 3
INTERVAL: Final = 0.90
# NoC says nothing where hardly any object gets there within the clicks.
SATURATED_SHARE: Final = 0.8
EARLY_CLICKS: Final = 5
DRAWS: Final = 2000


@dataclass(frozen=True)
class ObjectScore:
    """What K simulated clicks on one object gave: IoU after each, and of the tight box."""

    object_id: int
    image_id: int
    class_id: int
    ious: tuple[float, ...]
    box_iou: float | None

    def clicks_to(self, quality: float) -> int:
        """Clicks until that IoU, K + 1 where it is never reached."""
        return noc(self.ious, quality)


@dataclass(frozen=True)
class Decision:
    """The gate's verdict.

    ``figure`` is "noc85" (fewer clicks are better) or "iou" (mean IoU over clicks 1..5), where
    NoC is saturated; ``difference`` is the mean gain, positive when the candidate is better;
    ``interval`` its 90 % interval, None with one image. ``proven`` says that there were enough
    objects and images and that the interval excludes a loss. ``reason`` is a sentence.
    """

    promoted: bool
    proven: bool
    reason: str
    figure: str
    difference: float
    interval: tuple[float, float] | None
    objects: int
    images: int
    untouched_used: bool

    def to_json(self) -> dict[str, Any]:
        """As it stands in the manifest and in the result."""
        return asdict(self)


def summary(scores: Sequence[ObjectScore]) -> dict[str, Any]:
    """``miou_at`` (after each click), ``noc85``, ``noc90``, ``box_miou``; empty without scores."""
    if not scores:
        return {}
    ious = np.array([score.ious for score in scores])
    boxes = [score.box_iou for score in scores if score.box_iou is not None]
    return {
        "miou_at": [round(float(value), 5) for value in ious.mean(axis=0)],
        "noc85": round(float(np.mean([s.clicks_to(TARGET_IOU) for s in scores])), 4),
        "noc90": round(float(np.mean([s.clicks_to(STRICT_IOU) for s in scores])), 4),
        "box_miou": round(float(np.mean(boxes)), 5) if boxes else None,
    }


def per_class(scores: Sequence[ObjectScore], names: Mapping[int, str]) -> dict[str, Any]:
    """:func:`summary` for every class by its name, with the number of objects."""
    out: dict[str, Any] = {}
    for class_id in sorted({score.class_id for score in scores}):
        own = [score for score in scores if score.class_id == class_id]
        out[names.get(class_id, str(class_id))] = {"objects": len(own), **summary(own)}
    return out


def decide(
    before: Sequence[ObjectScore],
    after: Sequence[ObjectScore],
    *,
    untouched_used: bool = False,
    held_out: bool = False,
    seed: int = 0,
) -> Decision:
    """Compare two versions on the same objects (order does not matter).

    ``held_out`` says that objects of training images were used, which proves nothing.
    """
    pairs = _pairs(before, after)
    if not pairs:
        reason = "There was no object to test on, so the new version stays unused."
        return Decision(False, False, reason, "noc85", 0.0, None, 0, 0, untouched_used)
    images = np.array([old.image_id for old, _ in pairs])
    count = len(np.unique(images))
    enough = len(pairs) >= PROVEN_OBJECTS and count >= PROVEN_IMAGES and not held_out
    figure, gains = _gains(pairs, untie=not enough)
    interval = clustered_interval(gains, images, seed=seed) if count > 1 else None
    difference = float(gains.mean())
    safe = interval is not None and interval[0] >= 0
    promoted = difference > 0 and (safe or not enough)
    told = interval if count >= PROVEN_IMAGES else None  # of two images it says nothing
    reason = _reason(figure, difference, told, promoted=promoted, proven=enough and safe)
    return Decision(
        promoted,
        promoted and enough and safe,
        reason,
        figure,
        difference,
        interval,
        len(pairs),
        count,
        untouched_used,
    )


def _pairs(
    before: Sequence[ObjectScore], after: Sequence[ObjectScore]
) -> list[tuple[ObjectScore, ObjectScore]]:
    new = {score.object_id: score for score in after}
    return [(old, new[old.object_id]) for old in before if old.object_id in new]


def _gains(
    pairs: Sequence[tuple[ObjectScore, ObjectScore]], *, untie: bool
) -> tuple[str, NDArray[np.float64]]:
    """Gain per object: clicks saved, or IoU gained where NoC is saturated at the cap.

    With ``untie`` IoU also decides where as many clicks were saved as lost: of two objects,
    whole clicks cannot tell a version apart that makes every first mask better.
    """
    clicks = np.array([[s.clicks_to(TARGET_IOU) for s in pair] for pair in pairs], dtype=float)
    caps = np.array([len(old.ious) + 1 for old, _ in pairs])
    saved = clicks[:, 0] - clicks[:, 1]
    saturated = float((clicks == caps[:, None]).all(axis=1).mean()) >= SATURATED_SHARE
    if not saturated and not (untie and saved.sum() == 0):
        return "noc85", saved
    early = [[float(np.mean(s.ious[:EARLY_CLICKS])) for s in pair] for pair in pairs]
    ious = np.array(early)
    return "iou", ious[:, 1] - ious[:, 0]


def clustered_interval(
    gains: NDArray[np.float64],
    clusters: NDArray[np.int64],
    *,
    seed: int = 0,
    level: float = INTERVAL,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean gain, resampling whole clusters.

    Args:
        gains: one number per object.
        clusters: the image of each object.
    """
    _, index = np.unique(clusters, return_inverse=True)
    sums = np.bincount(index, weights=gains)
    sizes = np.bincount(index)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(sums), size=(DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _reason(
    figure: str,
    difference: float,
    interval: tuple[float, float] | None,
    *,
    promoted: bool,
    proven: bool,
) -> str:
    more = "fewer" if difference >= 0 else "more"
    told = f"{abs(difference):.2f} {more} clicks per object"
    if abs(difference) < 0.005:
        told = "as many clicks per object as before"
    if figure == "iou":
        told = f"{difference:+.3f} in IoU over the first {EARLY_CLICKS} clicks"
    if interval is not None:
        told += f" (90 % interval {interval[0]:+.2f} to {interval[1]:+.2f})"
    if proven:
        return f"Better on the validation images: {told}."
    if promoted:
        return f"Better so far, but on too few images to be proven: {told}."
    if difference > 0:
        return f"Not surely better, so it stays unused: {told}."
    return f"Not better, so it stays unused: {told}."
