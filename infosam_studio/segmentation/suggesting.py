"""Objects like the accepted ones on an image nobody has labelled, as suggestions.

Clicks go where such objects lie by the cell map, the warmest place first; places that a good mask
covers already are not clicked again. A judge fitted on accepted objects says how well each mask
would be accepted; of masks that overlap only the best one stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.knowledge import (
    Candidates,
    Knowledge,
    Mask,
    cell_centres,
    decode_points,
)
from infosam_studio.segmentation.predictor import BATCH_CPU, BATCH_GPU, Embedding, Predictor

FINER = 2  # the cell map is enlarged this many times before its peaks are taken


@dataclass(frozen=True)
class SuggestOptions:
    """Where to click and what to keep.

    ``most_points`` bounds the clicks; places colder than ``min_heat`` get none. Masks of less
    than ``min_confidence`` (expected IoU) are not kept; of two masks that share more than
    ``max_iou`` the better one stays, and one that lies in another by ``max_inside`` goes too.
    ``batch`` clicks are answered at once (0: what suits the device).
    """

    most_points: int = 160
    min_heat: float = 0.35
    min_confidence: float = 0.3
    covers_at: float = 0.6
    max_iou: float = 0.4
    max_inside: float = 0.7
    min_area: int = 20
    batch: int = 0


DEFAULT_SUGGESTING = SuggestOptions()


@dataclass(frozen=True)
class Suggestion:
    """A mask to review: where it was clicked, its expected IoU and its likely class."""

    mask: Rle
    point: tuple[float, float]
    confidence: float
    class_id: int


def suggest(
    predictor: Predictor,
    embedding: Embedding,
    knowledge: Knowledge,
    *,
    options: SuggestOptions = DEFAULT_SUGGESTING,
    taken: Mask | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Suggestion]:
    """Suggestions for one image, the most confident first.

    ``taken`` bool [H, W] is what objects cover already: nothing is suggested there. ``cancelled``
    is asked between two batches of clicks; where it answers True `Cancelled` is raised.
    """
    heat = knowledge.cells.heat(embedding)
    points = warm_points(embedding, heat, options)
    covered = _taken_low(predictor, embedding, taken)
    size = options.batch or (BATCH_CPU if predictor.device.type == "cpu" else BATCH_GPU)
    kept = _Kept(options)
    while len(points):
        if cancelled():
            raise Cancelled
        free = ~_is_covered(covered | kept.covered(covered), embedding, points)
        points = points[free]
        batch, points = points[:size], points[size:]
        if not len(batch):
            break
        found = decode_points(predictor, embedding, batch, multimask=knowledge.multimask)
        kept.add(found, knowledge.expected_iou(found, heat), covered)
    return _finished(predictor, embedding, knowledge, kept, options)


def warm_points(
    embedding: Embedding, heat: NDArray[np.float32], options: SuggestOptions
) -> NDArray[np.float64]:
    """Points [N, 2] in image pixels where objects may lie: the peaks first, then the rest."""
    warm = F.interpolate(
        torch.from_numpy(heat)[None, None], scale_factor=FINER, mode="bicubic", align_corners=False
    )
    peak = (F.max_pool2d(warm, 3, 1, 1) == warm)[0, 0].numpy()
    values = warm[0, 0].numpy()
    height, width = embedding.input_size
    square = max(height, width)
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    inside = ((rows + 0.5) * square / values.shape[0] < height) & (
        (columns + 0.5) * square / values.shape[1] < width
    )
    # Every second of the other places is enough: masks are much wider than these cells.
    other = (rows % 2 == 0) & (columns % 2 == 0)
    wanted = inside & (values >= options.min_heat) & (peak | other)
    rank = np.where(peak, values + 1, values)[wanted]
    cells = np.stack([columns[wanted], rows[wanted]], axis=1)[np.argsort(-rank, kind="stable")]
    return cell_centres(embedding, values.shape, cells[: options.most_points])


class _Kept:
    """The masks worth showing so far, at low resolution."""

    def __init__(self, options: SuggestOptions) -> None:
        self.options = options
        self.logits: list[NDArray[np.float32]] = []
        self.tokens: list[torch.Tensor] = []
        self.points: list[tuple[float, float]] = []
        self.confidence: list[float] = []

    def add(self, found: Candidates, confidence: NDArray[np.float64], taken: Mask) -> None:
        """Take in the candidates that are good enough and not on objects already there."""
        for n in np.flatnonzero(confidence >= self.options.min_confidence).tolist():
            logits = found.logits[n].numpy()
            on = logits > 0
            area = int(on.sum())
            if not area or (on & taken).sum() > 0.5 * area:
                continue
            self.logits.append(logits)
            self.tokens.append(found.tokens[n])
            self.points.append((float(found.points[n, 0]), float(found.points[n, 1])))
            self.confidence.append(float(confidence[n]))

    def covered(self, like: Mask) -> Mask:
        """Where a confident mask lies already, bool [m, m]."""
        out = np.zeros_like(like)
        for logits, confidence in zip(self.logits, self.confidence, strict=True):
            if confidence >= self.options.covers_at:
                out |= logits > 0
        return out

    def best(self) -> list[int]:
        """Those that stay when of overlapping ones only the best does, the best first."""
        order = np.argsort(-np.array(self.confidence), kind="stable").tolist()
        chosen: list[int] = []
        flat: list[NDArray[np.float32]] = []
        for n in order:
            mask = (self.logits[n] > 0).ravel().astype(np.float32)
            area = float(mask.sum())
            if flat:
                others = np.stack(flat)
                both, areas = others @ mask, others.sum(axis=1)
                if (both / (areas + area - both)).max() > self.options.max_iou:
                    continue
                if (both / np.minimum(areas, area)).max() > self.options.max_inside:
                    continue
            chosen.append(n)
            flat.append(mask)
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
    chosen = kept.best()
    if not chosen:
        return []
    classes = knowledge.class_of(torch.stack([kept.tokens[n] for n in chosen]))
    found = []
    for n, class_id in zip(chosen, classes, strict=True):
        mask = masks.encode(predictor.enlarge(embedding, kept.logits[n]))
        if masks.area(mask) >= options.min_area:
            found.append(Suggestion(mask, kept.points[n], kept.confidence[n], class_id))
    return found
