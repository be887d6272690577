"""What accepted objects look like to the model: where such objects lie, and which masks are good.

Three small models in closed form, fitted within seconds on what the user has accepted: a map of
the places where such objects lie (ridge regression on the cells of the embedding), a judge that
says how well a mask nobody has seen would be accepted (kernel ridge regression on a few figures of
the mask), and the classes (nearest accepted objects by their mask tokens). Labels are sparse:
what is not labelled counts as background only on images marked as fully labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.clicks import next_click
from infosam_studio.segmentation.predictor import BATCH_CPU, BATCH_GPU, Embedding, Predictor
from infosam_studio.segmentation.prompts import Prompt

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Bounds of the time this takes: accepted objects looked at, and points tried beside them.
MOST_OBJECTS = 120
MOST_BESIDE = 60
NEIGHBOURS = 7
RIDGE_CELLS, RIDGE_JUDGE, KERNEL_WIDTH = 30.0, 0.5, 3.0
FIGURES = 8
# A mask this many times larger than the largest accepted object, or smaller than the smallest, is
# none: the judge has seen no such mask and cannot know.
ODD_SIZE = 2.5


@dataclass(frozen=True)
class Accepted:
    """The accepted objects of one image.

    ``masks`` are bool [H, W], ``classes`` their class ids; ``complete`` says that everything on
    the image is labelled, so that the rest is background.
    """

    embedding: Embedding
    masks: Sequence[Mask]
    classes: Sequence[int]
    complete: bool = False


@dataclass(frozen=True)
class Candidates:
    """Masks for clicks: ``logits`` float32 [N, m, m], ``scores`` [N] predicted IoUs,
    ``tokens`` [N, C], ``points`` [N, 2] (x, y) in image pixels."""

    logits: Tensor
    scores: Tensor
    tokens: Tensor
    points: Array


def decode_points(
    predictor: Predictor, embedding: Embedding, points: Array, *, multimask: bool
) -> Candidates:
    """Every candidate of one click at each of the points [N, 2] (image pixels)."""
    size = BATCH_CPU if predictor.device.type == "cpu" else BATCH_GPU
    parts = []
    for start in range(0, len(points), size):
        prompts = [Prompt.from_clicks([[x, y, 1]]) for x, y in points[start : start + size]]
        parts.append(predictor.decode_tokens(embedding, prompts, multimask=multimask))
    logits, scores, tokens = (torch.cat(column) for column in zip(*parts, strict=True))
    count = logits.shape[1]
    return Candidates(
        logits.flatten(0, 1).float().cpu(),
        scores.flatten().float().cpu(),
        tokens.flatten(0, 1).float().cpu(),
        np.repeat(points, count, axis=0),
    )


class CellMap:
    """Where objects like the accepted ones lie, from the cells of the embedding."""

    def __init__(self, cells: Array, covered: Array) -> None:
        """``cells`` [N, C]; ``covered`` [N] the share of each that objects cover, 0..1."""
        self.mean, self.scale = cells.mean(axis=0), cells.std(axis=0) + 1e-6
        x = (cells - self.mean) / self.scale
        share = float(np.clip(covered.mean(), 0.02, 0.98))
        # Objects may be a hundredth of the picture: both sides weigh the same.
        weight = np.where(covered > 0.5, 0.5 / share, 0.5 / (1 - share))
        y = 2 * covered - 1
        offset = float((weight * y).sum() / weight.sum())
        gram = x.T @ (x * weight[:, None]) + RIDGE_CELLS * np.eye(x.shape[1]) * len(x) / 1000
        self.weights = np.linalg.solve(gram, x.T @ (weight * (y - offset)))
        self.offset = offset

    def heat(self, embedding: Embedding) -> NDArray[np.float32]:
        """How likely each cell [h, w] belongs to such an object, 0..1."""
        features = embedding.features[0].float().cpu().numpy().astype(np.float64)
        x = (features.reshape(len(features), -1).T - self.mean) / self.scale
        value = 1 / (1 + np.exp(-3.0 * (x @ self.weights + self.offset)))
        return np.asarray(value.reshape(features.shape[1:]), dtype=np.float32)


class Judge:
    """How well a mask would be accepted: its expected IoU, from a few figures of it."""

    def __init__(self, figures: Array, ious: Array) -> None:
        """``figures`` [N, FIGURES] of masks whose IoU [N] with an accepted one is known."""
        self.mean, self.scale = figures.mean(axis=0), figures.std(axis=0) + 1e-6
        self.known = (figures - self.mean) / self.scale
        self.offset = float(ious.mean())
        kernel = self._kernel(self.known)
        self.weights = np.linalg.solve(
            kernel + RIDGE_JUDGE * np.eye(len(kernel)), ious - self.offset
        )

    def _kernel(self, x: Array) -> Array:
        squares = (x**2).sum(axis=1)[:, None] + (self.known**2).sum(axis=1) - 2 * x @ self.known.T
        found: Array = np.exp(-np.maximum(squares, 0) / (2 * KERNEL_WIDTH**2))
        return found

    def expected_iou(self, figures: Array) -> Array:
        """[N] in 0..1."""
        x = (figures - self.mean) / self.scale
        found: Array = np.clip(self._kernel(x) @ self.weights + self.offset, 0.0, 1.0)
        return found


@dataclass(frozen=True)
class Knowledge:
    """What the accepted objects taught; `learn` makes it."""

    cells: CellMap
    judge: Judge
    usual_area: float
    areas: tuple[float, float]
    tokens: NDArray[np.float32]
    classes: NDArray[np.int64]
    multimask: bool

    def figures(self, found: Candidates, heat: NDArray[np.float32]) -> Array:
        """The figures [N, FIGURES] of masks that the judge goes by."""
        return mask_figures(found, heat, self.usual_area)

    def expected_iou(self, found: Candidates, heat: NDArray[np.float32]) -> Array:
        """How well each mask would be accepted [N]; 0 for sizes far from every accepted one."""
        ious = self.judge.expected_iou(self.figures(found, heat))
        area = (found.logits > 0).flatten(1).sum(dim=1).numpy()
        smallest, largest = self.areas
        return np.where((area >= smallest / ODD_SIZE) & (area <= largest * ODD_SIZE), ious, 0.0)

    def class_of(self, tokens: Tensor) -> list[int]:
        """The class of each mask token [N, C], by the accepted objects most like it."""
        if len(set(self.classes.tolist())) == 1:
            return [int(self.classes[0])] * len(tokens)
        near = _normalised(tokens.numpy()) @ self.tokens.T
        order = np.argsort(-near, axis=1)[:, :NEIGHBOURS]
        found = []
        for row, places in zip(near, order, strict=True):
            votes: dict[int, float] = {}
            for place in places:
                key = int(self.classes[place])
                votes[key] = votes.get(key, 0.0) + float(max(row[place], 0.0)) ** 8
            found.append(max(votes, key=lambda key: votes[key]))
        return found


class Learner:
    """Learns image by image, so that it can stop and go on: look at all, then try all, finish."""

    def __init__(self, predictor: Predictor, *, multimask: bool = True, seed: int = 0) -> None:
        self._predictor, self._multimask = predictor, multimask
        self._rng = np.random.default_rng(seed)
        self._cells: list[tuple[Array, Array]] = []
        self._covers: list[list[NDArray[np.float32]]] = []
        self._map: CellMap | None = None
        self._area, self._range = 1.0, (0.0, 0.0)
        self._rows: list[Array] = []
        self._ious: list[Array] = []
        self._tokens: list[NDArray[np.float32]] = []
        self._classes: list[int] = []

    def look_at(self, image: Accepted) -> None:
        """Take in where the objects of an image lie."""
        covers = [_coverage(self._predictor, image.embedding, mask) for mask in image.masks]
        self._covers.append(covers)
        self._cells.append(_cells_of(image, covers))

    def cells(self) -> CellMap:
        """The map of places, of all images looked at."""
        if self._map is None:
            known = [np.concatenate(column) for column in zip(*self._cells, strict=True)]
            self._map = CellMap(known[0], known[1])
            areas = [cover.sum() for own in self._covers for cover in own]
            self._area = float(np.median(areas))
            self._range = (float(np.min(areas)), float(np.max(areas)))
            self._cells.clear()
        return self._map

    def try_on(self, place: int, image: Accepted) -> None:
        """Click on and beside the objects of the image looked at as number ``place``."""
        heat = self.cells().heat(image.embedding)
        covers, count = self._covers[place], len(self._covers)
        each = max(1, MOST_OBJECTS // count)
        picked = sorted(self._rng.permutation(len(covers))[:each].tolist())
        points = [_inside(image.masks[n]) for n in picked]
        points += [_anywhere(image.masks[n], self._rng) for n in picked]
        beside = _beside(image, covers, heat, self._rng, max(1, MOST_BESIDE // count))
        tried = np.concatenate([np.array(points), beside])
        found = decode_points(self._predictor, image.embedding, tried, multimask=self._multimask)
        truth = np.stack([cover > 0.5 for cover in covers])
        ious = _best_ious(found.logits.numpy() > 0, truth)
        self._rows.append(mask_figures(found, heat, self._area))
        self._ious.append(ious)
        width = 3 if self._multimask else 1
        for row, n in enumerate(picked):
            best = row * width + int(ious[row * width : (row + 1) * width].argmax())
            self._tokens.append(found.tokens[best].numpy())
            self._classes.append(int(image.classes[n]))

    def finish(self) -> Knowledge:
        """What was learnt."""
        return Knowledge(
            self.cells(),
            Judge(np.concatenate(self._rows), np.concatenate(self._ious)),
            self._area,
            self._range,
            _normalised(np.stack(self._tokens)),
            np.array(self._classes, np.int64),
            self._multimask,
        )


def learn(
    predictor: Predictor,
    images: Iterable[Accepted],
    *,
    multimask: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
    seed: int = 0,
) -> Knowledge:
    """Fit everything on accepted objects, at most `MOST_OBJECTS` of them.

    Raises `Cancelled` where asked to stop, ValueError where there is no object at all.
    """
    useful = [image for image in images if len(image.masks)]
    if not useful:
        raise ValueError("there is no accepted object to learn from")
    learner = Learner(predictor, multimask=multimask, seed=seed)
    for image in useful:
        learner.look_at(image)
    for place, image in enumerate(useful):
        if cancelled():
            raise Cancelled
        learner.try_on(place, image)
    return learner.finish()


def mask_figures(found: Candidates, heat: NDArray[np.float32], usual_area: float) -> Array:
    """Predicted IoU, stability, heat inside and around, size and roundness of masks."""
    logits = found.logits
    on = (logits > 0).float()
    area = on.flatten(1).sum(dim=1)
    stable = (logits > 1).flatten(1).sum(dim=1) / (logits > -1).flatten(1).sum(dim=1).clamp(min=1)
    warm = F.interpolate(
        torch.from_numpy(heat)[None, None], logits.shape[-2:], mode="bilinear", align_corners=False
    )[0]
    inside = (on * warm).flatten(1).sum(dim=1) / area.clamp(min=1)
    wider = F.max_pool2d(on[:, None], 5, 1, 2)[:, 0] - on
    around = (wider * warm).flatten(1).sum(dim=1) / wider.flatten(1).sum(dim=1).clamp(min=1)
    rim = (on - (-F.max_pool2d(-on[:, None], 3, 1, 1)[:, 0])).flatten(1).sum(dim=1)
    size = torch.log((area + 1) / (usual_area + 1))
    sharp = (logits.abs() * (wider + on)).flatten(1).sum(dim=1) / (wider + on).flatten(1).sum(
        dim=1
    ).clamp(min=1)
    figures = [
        found.scores,
        stable,
        inside,
        around,
        size,
        size.abs(),
        torch.log((rim**2 + 1) / (area + 1)),
        sharp,
    ]
    stacked: Array = torch.stack(figures, dim=1).double().numpy()
    return stacked


# helpers ---------------------------------------------------------------------------------


def _coverage(predictor: Predictor, embedding: Embedding, mask: Mask) -> NDArray[np.float32]:
    """How much of each low-resolution pixel [m, m] a mask covers, 0..1."""
    logits = predictor.logits_of_mask(embedding, mask)
    full = max(1e-6, float(np.abs(logits).max()))
    return np.asarray((logits / full + 1) / 2, dtype=np.float32)


def _cells_of(image: Accepted, covers: Sequence[NDArray[np.float32]]) -> tuple[Array, Array]:
    """Embedding cells [N, C] that are known to be object or background, and their coverage."""
    features = image.embedding.features[0].float().cpu()
    side = (int(features.shape[1]), int(features.shape[2]))
    union = torch.from_numpy(np.max(np.stack(covers), axis=0))[None, None]
    share = F.adaptive_avg_pool2d(union, side)[0, 0]
    known = _valid(image.embedding, side)
    if not image.complete:
        # Next to an object is background most likely; farther away nobody knows.
        near = F.max_pool2d((share > 0).float()[None, None], 5, 1, 2)[0, 0] > 0
        known &= near.numpy()
    rows = features.flatten(1).T.numpy().astype(np.float64)
    return rows[known.ravel()], share.flatten().numpy().astype(np.float64)[known.ravel()]


def _valid(embedding: Embedding, side: tuple[int, ...]) -> Mask:
    """The cells that hold image, bool [h, w]; the rest is padding."""
    height, width = embedding.input_size
    square = max(height, width)
    rows = (np.arange(side[0]) + 0.5) * square / side[0] < height
    columns = (np.arange(side[1]) + 0.5) * square / side[1] < width
    return np.asarray(rows[:, None] & columns[None, :])


def _inside(mask: Mask) -> tuple[float, float]:
    click = next_click(mask, np.zeros_like(mask))
    assert click is not None
    return float(click[0]), float(click[1])


def _anywhere(mask: Mask, rng: np.random.Generator) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    place = int(rng.integers(len(rows)))
    return float(columns[place]), float(rows[place])


def _beside(
    image: Accepted,
    covers: Sequence[NDArray[np.float32]],
    heat: NDArray[np.float32],
    rng: np.random.Generator,
    count: int,
) -> Array:
    """Points [n, 2] of a fully labelled image beside its objects, warm ones first."""
    if not image.complete:
        return np.zeros((0, 2))
    side = heat.shape
    union = torch.from_numpy(np.max(np.stack(covers), axis=0))[None, None]
    free = (F.adaptive_max_pool2d(union, side)[0, 0] < 0.1).numpy() & _valid(image.embedding, side)
    rows, columns = np.nonzero(free)
    if not len(rows):
        return np.zeros((0, 2))
    warm = heat[rows, columns]
    order = np.argsort(-warm)[: count // 2]
    order = np.concatenate([order, rng.permutation(len(rows))[: count - len(order)]])
    return cell_centres(image.embedding, side, np.stack([columns[order], rows[order]], axis=1))


def cell_centres(embedding: Embedding, side: tuple[int, ...], cells: NDArray[np.int64]) -> Array:
    """Image pixels [N, 2] in the middle of cells [N, 2] (column, row) of a grid of ``side``."""
    height, width = embedding.input_size
    square = max(height, width)
    x0, y0, x1, y1 = embedding.region or (0, 0, embedding.image_size[1], embedding.image_size[0])
    x = (cells[:, 0] + 0.5) * square / side[1] * (x1 - x0) / width + x0 - 0.5
    y = (cells[:, 1] + 0.5) * square / side[0] * (y1 - y0) / height + y0 - 0.5
    return np.stack([np.clip(x, x0, x1 - 1), np.clip(y, y0, y1 - 1)], axis=1)


def _best_ious(masks: Mask, truth: Mask) -> Array:
    """The best IoU [N] of masks [N, m, m] with any of the true ones [K, m, m]."""
    a = masks.reshape(len(masks), -1).astype(np.float32)
    b = truth.reshape(len(truth), -1).astype(np.float32)
    both = a @ b.T
    union = a.sum(axis=1)[:, None] + b.sum(axis=1) - both
    best: Array = (both / np.maximum(union, 1)).max(axis=1).astype(np.float64)
    return best


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = rows / np.maximum(
        np.linalg.norm(rows, axis=1, keepdims=True), 1e-6
    )
    return found
