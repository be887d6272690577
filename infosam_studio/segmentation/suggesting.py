"""Objects like the accepted ones on an image nobody has labelled, as suggestions.

Clicks go where such objects lie by the cell map, the warmest place first; places that a good mask
covers already are not clicked again. A judge fitted on accepted objects says how well each mask
would be accepted; of masks that overlap only the best one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.candidates import (
    CLOSED,
    Candidates,
    Mask,
    Sides,
    cut_off,
    decode_points,
)
from infosam_studio.segmentation.knowledge import Knowledge
from infosam_studio.segmentation.places import warm_places
from infosam_studio.segmentation.predictor import BATCH_CPU, BATCH_GPU, Embedding, Predictor

# What is sure enough to judge the rest of an image by, and how many of these it takes.
SURE, FEW_SURE = 0.5, 4
# The logarithm of an area differs by so much among objects that are of the same size to anyone,
# and each time more than that, up to three times, costs so much confidence.
LEAST_SPREAD, ODD_COSTS = 0.5, 0.12
# So much confidence costs a token that is wholly unlike those of the sure ones.
UNLIKE_COSTS = 0.5


@dataclass(frozen=True)
class SuggestOptions:
    """Where to click and what to keep.

    ``most_points`` bounds the clicks, and after ``patience`` clicks that brought nothing the rest
    is left: it is colder still. Places colder than ``min_heat`` get none, nor do those that a
    mask of at least ``covers_at`` covers. Masks of less than ``min_confidence`` (expected IoU)
    are not kept, nor is any but the best of those that are the ``same`` by IoU. In the end the
    better one stays of two masks that share more than ``max_iou``, and of two of which one lies
    in the other by ``max_inside``. Masks of less than ``min_area`` pixels are left out.
    ``batch`` clicks are answered at once (0: what suits the device).
    """

    most_points: int = 160
    min_heat: float = 0.4
    min_confidence: float = 0.3
    covers_at: float = 0.4
    patience: int = 20
    same: float = 0.8
    max_iou: float = 0.4
    max_inside: float = 0.7
    min_area: int = 20
    batch: int = 0


DEFAULT_SUGGESTING = SuggestOptions()


@dataclass(frozen=True)
class Suggestion:
    """A mask to review: where it was clicked, its expected IoU and its likely class.

    ``token`` float32 [C]: what the mask is of, to the model.
    """

    mask: Rle
    point: tuple[float, float]
    confidence: float
    class_id: int
    token: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Seen:
    """What one look gave: ``suggestions``, which may overlap, the most confident first, and the
    warm points [N, 2] in image pixels that none of them explains."""

    suggestions: list[Suggestion]
    unexplained: NDArray[np.float64]


def suggest(
    predictor: Predictor,
    embedding: Embedding,
    knowledge: Knowledge,
    *,
    options: SuggestOptions = DEFAULT_SUGGESTING,
    taken: Mask | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Suggestion]:
    """Suggestions for one image looked at once, the most confident first; see `look_for`."""
    seen = look_for(
        predictor, embedding, knowledge, options=options, taken=taken, cancelled=cancelled
    )
    return best_of(alike(seen.suggestions, options), options)


def look_for(
    predictor: Predictor,
    embedding: Embedding,
    knowledge: Knowledge,
    *,
    options: SuggestOptions = DEFAULT_SUGGESTING,
    taken: Mask | None = None,
    explained: Mask | None = None,
    open_sides: Sides = CLOSED,
    cancelled: Callable[[], bool] = lambda: False,
) -> Seen:
    """Suggestions for what one embedding shows.

    ``taken`` bool [H, W] is what objects cover already: nothing is suggested there; ``explained``
    bool [H, W] where no click is needed. Of a part of an image ``open_sides`` says where the
    image goes on: what touches these sides is left to the part beside it. ``cancelled``
    is asked between two batches of clicks; where it answers True `Cancelled` is raised.
    """
    heat = knowledge.cells.heat(embedding)
    warm = warm_places(
        embedding, heat, options.min_heat, open_sides=open_sides, spacing=knowledge.spacing
    )
    covered = _taken_low(predictor, embedding, taken)
    known = covered | _taken_low(predictor, embedding, explained)
    size = options.batch or (BATCH_CPU if predictor.device.type == "cpu" else BATCH_GPU)
    kept, points = _Kept(options), warm[~_is_covered(known, embedding, warm)]
    points, in_vain = points[: options.most_points], 0
    while len(points) and in_vain < options.patience:
        if cancelled():
            raise Cancelled
        batch, points = points[:size], points[size:]
        found = decode_points(predictor, embedding, batch, multimask=knowledge.multimask)
        sure = knowledge.expected_iou(found, heat)
        sure[cut_off(found, embedding, open_sides)] = 0.0
        in_vain = 0 if kept.add(found, sure, covered) else in_vain + len(batch)
        points = points[~_is_covered(kept.covered(covered), embedding, points)]
    left = warm[~_is_covered(known | kept.covered(covered), embedding, warm)]
    return Seen(_finished(predictor, embedding, knowledge, kept, options), left)


def warm_points(
    embedding: Embedding, heat: NDArray[np.float32], options: SuggestOptions
) -> NDArray[np.float64]:
    """The first ``most_points`` of `warm_places` of a whole image."""
    return warm_places(embedding, heat, options.min_heat)[: options.most_points]


class _Kept:
    """The masks worth showing so far, at low resolution."""

    def __init__(self, options: SuggestOptions) -> None:
        self.options = options
        self.logits: list[NDArray[np.float32]] = []
        self.tokens: list[torch.Tensor] = []
        self.points: list[tuple[float, float]] = []
        self.confidence: list[float] = []
        self._covered: Mask | None = None

    def add(self, found: Candidates, confidence: NDArray[np.float64], taken: Mask) -> bool:
        """Take in the candidates that are good enough and not on objects already there.

        Whether any of them covers something that none did before.
        """
        before = 0 if self._covered is None else int(self._covered.sum())
        for n in np.flatnonzero(confidence >= self.options.min_confidence).tolist():
            logits = found.logits[n].numpy()
            on = logits > 0
            area = int(on.sum())
            if not area or (on & taken).sum() > 0.5 * area:
                continue
            if confidence[n] >= self.options.covers_at:
                self._covered = on if self._covered is None else self._covered | on
            self.logits.append(logits)
            self.tokens.append(found.tokens[n])
            self.points.append((float(found.points[n, 0]), float(found.points[n, 1])))
            self.confidence.append(float(confidence[n]))
        return self._covered is not None and int(self._covered.sum()) > before

    def covered(self, like: Mask) -> Mask:
        """Where a confident mask lies already, bool [m, m]."""
        return np.zeros_like(like) if self._covered is None else self._covered

    def different(self) -> list[int]:
        """Of masks that are almost the same the best one, the best first."""
        order = np.argsort(-np.array(self.confidence), kind="stable").tolist()
        chosen: list[int] = []
        flat = np.zeros((len(order), self.logits[0].size if order else 0), np.float32)
        areas = np.zeros(len(order), np.float32)
        for n in order:
            mask = (self.logits[n] > 0).ravel().astype(np.float32)
            area, count = float(mask.sum()), len(chosen)
            both = flat[:count] @ mask
            if (both > self.options.same * (areas[:count] + area - both)).any():
                continue
            flat[count], areas[count] = mask, area
            chosen.append(n)
        return chosen


def _taken_low(predictor: Predictor, embedding: Embedding, taken: Mask | None) -> Mask:
    if taken is None or not taken.any():
        return np.zeros((predictor.mask_size, predictor.mask_size), np.bool_)
    return np.asarray(predictor.logits_of_mask(embedding, taken) > 0)


def _is_covered(covered: Mask, embedding: Embedding, points: NDArray[np.float64]) -> Mask:
    """Which points [N, 2] lie on what is covered, bool [m, m], already."""
    height, width = embedding.input_size
    square = max(height, width)
    x0, y0, x1, y1 = embedding.region or (0, 0, embedding.image_size[1], embedding.image_size[0])
    side = len(covered)
    x = (points[:, 0] + 0.5 - x0) / (x1 - x0) * width / square * side
    y = (points[:, 1] + 0.5 - y0) / (y1 - y0) * height / square * side
    columns = np.clip(x.astype(int), 0, side - 1)
    rows = np.clip(y.astype(int), 0, side - 1)
    return np.asarray(covered[rows, columns])


def _finished(
    predictor: Predictor,
    embedding: Embedding,
    knowledge: Knowledge,
    kept: _Kept,
    options: SuggestOptions,
) -> list[Suggestion]:
    chosen = kept.different()
    if not chosen:
        return []
    classes = knowledge.class_of(torch.stack([kept.tokens[n] for n in chosen]))
    found = []
    for n, class_id in zip(chosen, classes, strict=True):
        x, y, part = predictor.part(embedding, kept.logits[n])
        mask = masks.encode_window(part, x, y, *embedding.image_size)
        if masks.area(mask) >= options.min_area:
            token = kept.tokens[n].numpy()
            found.append(Suggestion(mask, kept.points[n], kept.confidence[n], class_id, token))
    return found


def alike(found: Sequence[Suggestion], options: SuggestOptions) -> list[Suggestion]:
    """Suggestions for one image, less sure of those unlike the surest ones on it.

    Objects of one kind are of similar size on one image, more so than from image to image, and
    look alike to the model. Where the sure ones differ among themselves, others may too.
    """
    sure = [one for one in best_of(found, options) if one.confidence >= SURE]
    if len(sure) < FEW_SURE:
        return list(found)
    sizes = np.log([masks.area(one.mask) + 1.0 for one in found])
    known = np.log([masks.area(one.mask) + 1.0 for one in sure])
    usual = float(np.median(known))
    spread = max(LEAST_SPREAD, 1.48 * float(np.median(np.abs(known - usual))))
    odd = np.clip(np.abs(sizes - usual) / spread - 1, 0, 3)
    unlike = _unlike(found, sure)
    lowered = [
        max(0.0, one.confidence - ODD_COSTS * float(a) - UNLIKE_COSTS * float(b))
        for one, a, b in zip(found, odd, unlike, strict=True)
    ]
    return [
        replace(one, confidence=value)
        for one, value in zip(found, lowered, strict=True)
        if value >= options.min_confidence
    ]


def _unlike(found: Sequence[Suggestion], sure: Sequence[Suggestion]) -> NDArray[np.float64]:
    """How much less like the sure ones' mean token each token [N] is than half of theirs."""
    tokens, known = _unit(found), _unit(sure)
    mean = known.mean(axis=0)
    mean /= max(1e-6, float(np.linalg.norm(mean)))
    unlike: NDArray[np.float64] = np.maximum(0.0, np.median(known @ mean) - tokens @ mean)
    return unlike


def _unit(found: Sequence[Suggestion]) -> NDArray[np.float64]:
    rows = np.stack([np.zeros(1) if one.token is None else one.token for one in found])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = rows.astype(np.float64) / np.maximum(lengths, 1e-6)
    return unit


def best_of(found: Sequence[Suggestion], options: SuggestOptions) -> list[Suggestion]:
    """Those that stay when of overlapping ones only the best does, the best first."""
    chosen: list[tuple[Suggestion, tuple[int, int, int, int], int]] = []
    for one in sorted(found, key=lambda other: -other.confidence):
        box, area = masks.bbox(one.mask), masks.area(one.mask)
        near = [(other, size) for other, place, size in chosen if _meet(box, place)]
        shared = [(masks.intersection(one.mask, other.mask), size) for other, size in near]
        if any(
            both > options.max_iou * (area + size - both)
            or both > options.max_inside * min(area, size)
            for both, size in shared
        ):
            continue
        chosen.append((one, box, area))
    return [one for one, _, _ in chosen]


def _meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two boxes (x, y, width, height) share a pixel."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
