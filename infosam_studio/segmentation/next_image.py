"""Which unlabelled image to label next: how much each should help, and why.

Three signs, each brought to the same scale over the images at hand: how much the model in use and
the base disagree on masks there (something was learnt that the base does not know, or the other
way round), how unsure the model is of its own masks, and how unlike the labelled images the image
is. The next images are taken one by one, so that each is also unlike those taken before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.everything import grid
from infosam_studio.segmentation.fits import CellMap
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.segmentation.suggesting import SuggestOptions, warm_points

Vector = NDArray[np.float64]

# Clicks tried on an image, and the weights of the three signs.
POINTS: Final = 16
WEIGHTS: Final = {"disagreement": 1.0, "doubt": 1.0, "novelty": 1.0}
REASONS: Final = {
    "disagreement": "The adapted model and the base disagree here",
    "doubt": "The model is unsure here",
    "novelty": "Unlike what is labelled",
}


@dataclass(frozen=True)
class Look:
    """What one look at an image gave.

    ``disagreement``: 1 − IoU between the masks of the version in use and of the base, mean over
    the clicks (0 where the base is in use); ``doubt``: 1 − predicted IoU, mean; ``content`` [C]:
    the image as one vector, of unit length.
    """

    disagreement: float
    doubt: float
    content: Vector


@dataclass(frozen=True)
class Ranked:
    """An image's place: ``score`` (larger helps more), the strongest sign and its sentence."""

    image_id: int
    score: float
    sign: str
    reason: str


@contextmanager
def version(predictor: Predictor, folder: AdapterFolder | None) -> Iterator[None]:
    """Another version (None: the base) in place for a moment, then the one before, bit for bit."""
    before = predictor.adapter_folder
    if (before.path if before else None) == (folder.path if folder else None):
        yield
        return
    predictor.load_adapter(folder)
    try:
        yield
    finally:
        predictor.load_adapter(before)


def look(
    predictor: Predictor,
    embedding: Embedding,
    base_embedding: Callable[[], Embedding] | None,
    cells: CellMap | None = None,
    *,
    single_mask: bool = False,
) -> Look:
    """Look at one image with a few clicks.

    ``base_embedding`` gives the base's embedding of the image (the same one where the version
    does not act on the encoder), called while the base is in place; None where the base is in
    use. With ``cells`` the clicks go where objects like the labelled ones lie.
    """
    points = _points(embedding, cells)
    prompts = [Prompt.from_clicks([[x, y, 1]]) for x, y in points]
    mine, scores = _masks(predictor, embedding, prompts, multimask=not single_mask)
    disagreement = 0.0
    if base_embedding is not None:
        with version(predictor, None):
            theirs, _ = _masks(predictor, base_embedding(), prompts, multimask=True)
        disagreement = float((1 - _ious(mine, theirs)).mean())
    return Look(disagreement, float((1 - scores.clamp(0, 1)).mean()), content_of(embedding))


def content_of(embedding: Embedding) -> Vector:
    """An image as one vector of unit length: mean and spread of its embedding's cells."""
    features = embedding.features[0].double().flatten(1)
    joined = torch.cat([features.mean(dim=1), features.std(dim=1)]).cpu().numpy()
    vector: Vector = joined / max(1e-9, float(np.linalg.norm(joined)))
    return vector


def rank(
    looks: Mapping[int, Look],
    labelled: Sequence[Vector],
    *,
    weights: Mapping[str, float] = WEIGHTS,
) -> list[Ranked]:
    """All images, the one to label next first; ``labelled`` are those labelled already."""
    left = list(looks)
    if not left:
        return []
    contents = np.stack([looks[key].content for key in left])
    fixed = {
        "disagreement": _standard(np.array([looks[key].disagreement for key in left])),
        "doubt": _standard(np.array([looks[key].doubt for key in left])),
    }
    nearest = np.full(len(left), 2.0)
    for vector in labelled:
        nearest = np.minimum(nearest, 1 - contents @ vector)
    taken = np.zeros(len(left), dtype=bool)
    order: list[Ranked] = []
    for _ in left:
        signs = {**fixed, "novelty": _standard(nearest)}
        parts = {name: weights[name] * signs[name] for name in weights}
        total = np.sum(list(parts.values()), axis=0)
        place = int(np.argmax(np.where(taken, -np.inf, total)))
        strongest = max(parts, key=lambda name: parts[name][place])
        found = Ranked(left[place], float(total[place]), strongest, REASONS[strongest])
        order.append(found)
        taken[place] = True
        nearest = np.minimum(nearest, 1 - contents @ contents[place])
    return order


# helpers ---------------------------------------------------------------------------------


def _points(embedding: Embedding, cells: CellMap | None) -> Vector:
    """Clicks [N, 2] in image pixels: on a coarse grid, or where known kinds of objects lie."""
    if cells is not None:
        heat = cells.heat(embedding)
        found = warm_points(embedding, heat, SuggestOptions(most_points=POINTS))
        if len(found) >= POINTS // 2:
            return found
    return grid(embedding.image_size, int(np.sqrt(POINTS)))


def _masks(
    predictor: Predictor, embedding: Embedding, prompts: Sequence[Prompt], *, multimask: bool
) -> tuple[Tensor, Tensor]:
    """The best mask of every prompt at low resolution, bool [N, m, m], and its score [N]."""
    masks, scores = [], []
    for start in range(0, len(prompts), 8):
        low, told = predictor.decode(embedding, prompts[start : start + 8], multimask=multimask)
        best = told.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        masks.append((low[rows, best] > 0).cpu())
        scores.append(told[rows, best].float().cpu())
    return torch.cat(masks), torch.cat(scores)


def _ious(one: Tensor, two: Tensor) -> Tensor:
    both = (one & two).flatten(1).sum(dim=1)
    either = (one | two).flatten(1).sum(dim=1)
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones(len(both)))


def _standard(values: Vector) -> Vector:
    """Values with mean 0 and spread 1; all alike gives 0."""
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 1e-9 else np.zeros_like(values)
