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
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.candidates import (
    CLOSED,
    Array,
    Candidates,
    Mask,
    Sides,
    cut_off,
    decode_points,
    mask_figures,
)
from infosam_studio.segmentation.clicks import next_click
from infosam_studio.segmentation.fits import CellMap, Judge
from infosam_studio.segmentation.places import warm_places
from infosam_studio.segmentation.predictor import Embedding, Predictor

# Bounds of the time this takes: accepted objects looked at, and points tried beside them.
MOST_OBJECTS = 120
MOST_BESIDE = 160
NEIGHBOURS = 7
# Nothing colder is clicked on to learn from.
WARM = 0.3
# Clicks lie this much of a small accepted object's width apart: nearer ones give the same mask.
# On large objects it matters more where the click is, and a few more cost little.
SPACING, MOST_SPACING = 0.4, 0.06
# A mask this many times larger than the largest accepted object, or smaller than the smallest, is
# none: the judge has seen no such mask and cannot know.
ODD_SIZE = 2.5


@dataclass(frozen=True)
class Accepted:
    """The accepted objects of one image.

    ``masks`` are bool [H, W], ``classes`` their class ids; ``complete`` says that everything on
    the image is labelled, so that the rest is background. Of a part of an image ``whole`` says
    which objects are not cut off (empty: none is), ``open_sides`` where the image goes on.
    """

    embedding: Embedding
    masks: Sequence[Mask]
    classes: Sequence[int]
    complete: bool = False
    whole: Sequence[bool] = ()
    open_sides: Sides = CLOSED

    def uncut(self) -> list[int]:
        """The numbers of the objects that are not cut off."""
        whole = self.whole or [True] * len(self.masks)
        return [n for n, one in enumerate(whole) if one]


@dataclass(frozen=True)
class Knowledge:
    """What the accepted objects taught; `learn` makes it.

    ``usual_area`` and ``areas`` (smallest, largest) in low-resolution pixels; ``spacing`` is how
    far apart clicks have to lie, as a share of the encoder's square.
    """

    cells: CellMap
    judge: Judge
    usual_area: float
    areas: tuple[float, float]
    spacing: float
    tokens: NDArray[np.float32]
    classes: NDArray[np.int64]
    multimask: bool

    def figures(self, found: Candidates, heat: NDArray[np.float32]) -> Array:
        """The figures [N, FIGURES] of masks that the judge goes by."""
        return mask_figures(found, heat, self.usual_area)

    def expected_iou(self, found: Candidates, heat: NDArray[np.float32]) -> Array:
        """How well each mask would be accepted [N]; 0 for sizes far from every accepted one."""
        tokens = found.tokens.double().numpy()
        ious = self.judge.expected_iou(self.figures(found, heat), tokens)
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
        self._areas: list[float] = []
        self._rows: list[Array] = []
        self._ious: list[Array] = []
        self._seen: list[Array] = []
        self._folds: list[NDArray[np.int64]] = []
        self._tokens: list[NDArray[np.float32]] = []
        self._classes: list[int] = []

    def look_at(self, image: Accepted, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take in where the objects of an image lie; `Cancelled`, and nothing taken in, where
        asked to stop."""
        covers = []
        for mask in image.masks:
            if cancelled():
                raise Cancelled
            covers.append(_coverage(self._predictor, image.embedding, mask))
        self._covers.append(covers)
        self._areas += [float(covers[n].sum()) for n in image.uncut()]
        self._cells.append(_cells_of(image, covers))

    def cells(self) -> CellMap:
        """The map of places, of all images looked at."""
        if self._map is None:
            known = [np.concatenate(column) for column in zip(*self._cells, strict=True)]
            self._map = CellMap(known[0], known[1])
            self._area = float(np.median(self._areas))
            self._range = (float(np.min(self._areas)), float(np.max(self._areas)))
            self._cells.clear()
        return self._map

    def try_on(
        self, place: int, image: Accepted, cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Click on and beside the objects of the image looked at as number ``place``;
        `Cancelled`, and nothing learnt, where asked to stop."""
        drawn = self._rng.bit_generator.state
        try:
            self._try_on(place, image, cancelled)
        except Cancelled:
            self._rng.bit_generator.state = drawn  # made again with the same clicks
            raise

    def _try_on(self, place: int, image: Accepted, cancelled: Callable[[], bool]) -> None:
        heat = self.cells().heat(image.embedding)
        covers, count = self._covers[place], len(self._covers)
        each = max(1, MOST_OBJECTS // count)
        picked = sorted(self._rng.permutation(image.uncut())[:each].tolist())
        points = [_inside(image.masks[n]) for n in picked]
        points += [_anywhere(image.masks[n], self._rng) for n in picked]
        beside = self._warm(image, heat, max(1, MOST_BESIDE // count))
        tried = np.concatenate([np.array(points).reshape(-1, 2), beside])
        if not len(tried):
            return
        found = decode_points(
            self._predictor,
            image.embedding,
            tried,
            multimask=self._multimask,
            cancelled=cancelled,
        )
        truth = np.stack([cover > 0.5 for cover in covers])
        ious = _best_ious(found.logits.numpy() > 0, truth)
        uncut = ~cut_off(found, image.embedding, image.open_sides)
        self._rows.append(mask_figures(found, heat, self._area)[uncut])
        self._ious.append(ious[uncut])
        self._seen.append(found.tokens.double().numpy()[uncut])
        # Masks of one view are alike, and with a single view those of one click.
        clicks = np.repeat(np.arange(len(tried)), len(uncut) // len(tried))
        self._folds.append((clicks if count == 1 else np.full(len(clicks), place))[uncut])
        width = 3 if self._multimask else 1
        for row, n in enumerate(picked):
            best = row * width + int(ious[row * width : (row + 1) * width].argmax())
            self._tokens.append(found.tokens[best].numpy())
            self._classes.append(int(image.classes[n]))

    def _spacing(self) -> float:
        """How far apart clicks have to lie, as a share of the encoder's square."""
        small = float(np.sqrt(np.quantile(self._areas, 0.2)))
        return min(MOST_SPACING, SPACING * small / self._predictor.mask_size)

    def _warm(self, image: Accepted, heat: NDArray[np.float32], most: int) -> Array:
        """Points [n, 2] where suggesting would click on a fully labelled image.

        The judge has to know what comes of clicks between objects and beside their middle.
        """
        if not image.complete:
            return np.zeros((0, 2))
        found = warm_places(
            image.embedding,
            heat,
            WARM,
            open_sides=image.open_sides,
            spacing=self._spacing(),
        )
        picked = np.sort(self._rng.permutation(len(found))[:most])
        return np.asarray(found[picked])

    def _known_masks(self) -> tuple[list[Any], ...]:
        return self._rows, self._ious, self._seen, self._folds

    def finish(self) -> Knowledge:
        """What was learnt."""
        return Knowledge(
            self.cells(),
            Judge(*(np.concatenate(part) for part in self._known_masks())),
            self._area,
            self._range,
            self._spacing(),
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
