"""The click protocol: where a careful user clicks next, and what each click is worth.

The gate, ``evaluate``, the benchmarks and the training samples all use this one module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.prompts import Prediction, Prompt

Click = tuple[int, int, int]
Mask = NDArray[np.bool_]

# Full-size masks of one batch of objects together stay below this many pixels.
BATCH_PIXELS = 200_000_000
BATCH_OBJECTS = 16


class PromptPredictor(Protocol):
    """What `replay` needs of a predictor."""

    def predict_batch(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool
    ) -> list[Prediction]:
        """One prediction per prompt, with all candidates enlarged."""


@dataclass
class Replay:
    """What simulated clicks on one object gave.

    ``ious``: IoU after click 1..K, carried on once the mask is exact; ``best_ious_first``: the
    best IoU among the candidates of the first click; ``clicks``: those really made; ``mask``:
    the last mask, bool [H,W]; ``box_iou``: IoU of the tight box's single mask, or None.
    """

    ious: list[float]
    best_ious_first: float
    clicks: list[Click]
    mask: Mask
    box_iou: float | None


def next_click(target: Mask, prediction: Mask) -> Click | None:
    """The click that corrects the largest error, or None where the masks are equal.

    ``target`` and ``prediction`` are bool [H,W]. Misses and false hits are split into
    8-connected components; the one with most pixels wins (a miss on a tie, then the first in
    reading order). The click lies at its pixel with the largest exact Euclidean distance to
    outside, the image border counting as outside (ties: smallest y, then smallest x).
    Returns (x, y, 1 for a miss or 0 for a false hit).
    """
    if target.shape != prediction.shape:
        raise ValueError(f"masks of {target.shape} and {prediction.shape} cannot be compared")
    miss, size_miss = _largest_component(target & ~prediction)
    hit, size_hit = _largest_component(prediction & ~target)
    if size_miss == 0 and size_hit == 0:
        return None
    positive = size_miss >= size_hit
    (x0, y0), component = miss if positive else hit
    x, y = _innermost(component)
    return x0 + x, y0 + y, int(positive)


def _largest_component(error: Mask) -> tuple[tuple[tuple[int, int], Mask], int]:
    """((x0, y0) and crop of the largest 8-connected component), its number of pixels."""
    x, y, w, h = cv2.boundingRect(error.view(np.uint8))
    if w == 0 or h == 0:
        return ((0, 0), np.zeros((0, 0), dtype=np.bool_)), 0
    crop = np.ascontiguousarray(error[y : y + h, x : x + w]).view(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(crop, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = np.flatnonzero(areas == areas.max()) + 1
    label = int(largest[0])
    if len(largest) > 1:
        # Labels need not be in reading order: take the tied component that comes first.
        flat = labels.ravel()
        label = int(flat[np.argmax(np.isin(flat, largest))])
    left, top, width, height = (int(v) for v in stats[label, :4])
    part = labels[top : top + height, left : left + width] == label
    return ((x + left, y + top), part), int(areas[label - 1])


def _innermost(component: Mask) -> tuple[int, int]:
    """(x, y) of the pixel farthest from outside; outside begins beyond the crop too."""
    padded = np.pad(component.astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squares are whole numbers; rounding them makes ties exact.
    squared = np.rint(np.square(distance[1:-1, 1:-1].astype(np.float64)))
    y, x = np.unravel_index(int(np.argmax(squared)), squared.shape)
    return int(x), int(y)


def mask_iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two bool [H,W] masks; 1.0 where both are empty."""
    intersection = int(np.count_nonzero(a & b))
    union = int(np.count_nonzero(a)) + int(np.count_nonzero(b)) - intersection
    return intersection / union if union else 1.0


def tight_box(target: Mask) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) of the outermost pixel centres; ValueError for an empty mask."""
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(target).view(np.uint8))
    if w == 0 or h == 0:
        raise ValueError("an empty mask has no box")
    return float(x), float(y), float(x + w - 1), float(y + h - 1)


def noc(ious: Sequence[float], q: float) -> int:
    """Number of clicks: the first count whose IoU reaches ``q``, len(ious) + 1 where none does."""
    return next((k for k, iou in enumerate(ious, start=1) if iou >= q), len(ious) + 1)


def replay(
    predictor: PromptPredictor,
    embedding: Any,
    target: Mask,
    *,
    clicks: int = 8,
    multimask_first: bool = True,
    box: bool = True,
    stop_at: float | None = None,
) -> Replay:
    """Click on one object as a careful user would, ``clicks`` times or until it is exact.

    ``target`` is bool [H,W] of the whole image. The first click asks for three candidates and
    goes on with the one of best predicted IoU (``multimask_first=False``: one mask, for
    versions that never trained that head); later ones ask for one mask and feed the previous
    low-resolution logits back. ``stop_at`` is the IoU at which the user is content.
    """
    results = replay_many(
        predictor,
        embedding,
        [target],
        clicks=clicks,
        multimask_first=multimask_first,
        box=box,
        stop_at=stop_at,
    )
    return results[0]


def replay_many(
    predictor: PromptPredictor,
    embedding: Any,
    targets: Sequence[Mask],
    *,
    clicks: int = 8,
    multimask_first: bool = True,
    box: bool = True,
    stop_at: float | None = None,
) -> list[Replay]:
    """`replay` for several objects of one image, their decodes batched click by click."""
    results: list[Replay] = []
    for chunk in _chunks(targets):
        states = [_ObjectState(target, stop_at) for target in chunk]
        for number in range(clicks):
            _click_once(predictor, embedding, states, multimask_first and number == 0)
        boxes = _box_ious(predictor, embedding, chunk) if box else [None] * len(chunk)
        results += [state.result(clicks, iou) for state, iou in zip(states, boxes, strict=True)]
    return results


def _chunks(targets: Sequence[Mask]) -> Iterator[Sequence[Mask]]:
    if not targets:
        return
    step = max(1, min(BATCH_OBJECTS, BATCH_PIXELS // (3 * max(1, targets[0].size))))
    for start in range(0, len(targets), step):
        yield targets[start : start + step]


class _ObjectState:
    """One object between two simulated clicks."""

    def __init__(self, target: Mask, stop_at: float | None = None) -> None:
        self.target, self.stop_at = target, stop_at
        self.mask: Mask = np.zeros(target.shape, dtype=np.bool_)
        self.logits: NDArray[np.float32] | None = None
        self.clicks: list[Click] = []
        self.ious: list[float] = []
        self.best_first: float | None = None

    def next_prompt(self) -> Prompt | None:
        """The prompt with one more click, or None where nothing is left to correct."""
        if self.stop_at is not None and self.ious and self.ious[-1] >= self.stop_at:
            return None
        click = next_click(self.target, self.mask)
        if click is None:
            return None
        self.clicks.append(click)
        return Prompt.from_clicks(self.clicks, mask_logits=self.logits)

    def take(self, prediction: Prediction) -> None:
        best = prediction.best
        if self.best_first is None:
            self.best_first = max(mask_iou(mask, self.target) for mask in prediction.masks)
        self.mask = prediction.mask(best).copy()
        self.logits = prediction.low_res[best]
        self.ious.append(mask_iou(self.mask, self.target))

    def result(self, clicks: int, box_iou: float | None) -> Replay:
        last = self.ious[-1] if self.ious else 1.0
        ious = self.ious + [last] * (clicks - len(self.ious))
        first = last if self.best_first is None else self.best_first
        return Replay(ious, first, self.clicks, self.mask, box_iou)


def _click_once(
    predictor: PromptPredictor, embedding: Any, states: list[_ObjectState], multimask: bool
) -> None:
    """One more click on every object that still differs from its target."""
    waiting = [(state, state.next_prompt()) for state in states]
    active = [(state, prompt) for state, prompt in waiting if prompt is not None]
    if not active:
        return
    prompts = [prompt for _, prompt in active]
    predictions = predictor.predict_batch(embedding, prompts, multimask=multimask)
    for (state, _), prediction in zip(active, predictions, strict=True):
        state.take(prediction)


def _box_ious(
    predictor: PromptPredictor, embedding: Any, targets: Sequence[Mask]
) -> list[float | None]:
    prompts = [
        Prompt(box=np.asarray(tight_box(target), dtype=np.float32)) if target.any() else None
        for target in targets
    ]
    asked = [prompt for prompt in prompts if prompt is not None]
    answers = iter(predictor.predict_batch(embedding, asked, multimask=False) if asked else [])
    return [
        None if prompt is None else mask_iou(next(answers).masks[0], target)
        for prompt, target in zip(prompts, targets, strict=True)
    ]
