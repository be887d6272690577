"""Small models in closed form, fitted within a second on what the user has accepted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infosam_studio.segmentation.candidates import Array
from infosam_studio.segmentation.embedding_cache import Embedding

# How much the models are held back, and how far the judge looks for similar masks: found on
# training images of nuclei, leaves and blood cells.
RIDGE_CELLS, RIDGE_TOKENS, RIDGE_JUDGE, KERNEL_WIDTH = 30.0, 200.0, 0.1, 3.0
FOLDS = 5


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
    """How well a mask would be accepted: its expected IoU, from a few figures of it.

    One of these figures is what a linear model makes of the mask's token. That model has seen the
    tokens it was fitted on, so the judge learns from what models fitted without them make of them.
    """

    def __init__(
        self,
        figures: Array,
        ious: Array,
        tokens: Array | None = None,
        folds: NDArray[np.int64] | None = None,
    ) -> None:
        """``figures`` [N, FIGURES] of masks whose IoU [N] with an accepted one is known.

        ``tokens`` [N, C] of them; ``folds`` [N] says which were seen together.
        """
        self.familiar: Familiar | None = None
        if tokens is not None:
            self.familiar = Familiar(tokens, ious)
            figures = np.column_stack([figures, _unseen(tokens, ious, folds)])
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

    def expected_iou(self, figures: Array, tokens: Array | None = None) -> Array:
        """[N] in 0..1."""
        if self.familiar is not None and tokens is not None:
            figures = np.column_stack([figures, self.familiar.expected_iou(tokens)])
        x = (figures - self.mean) / self.scale
        found: Array = np.clip(self._kernel(x) @ self.weights + self.offset, 0.0, 1.0)
        return found


class Familiar:
    """What a mask's token alone says about its IoU: ridge regression."""

    def __init__(self, tokens: Array, ious: Array) -> None:
        """``tokens`` [N, C] of masks whose IoU [N] with an accepted one is known."""
        self.mean, self.scale = tokens.mean(axis=0), tokens.std(axis=0) + 1e-6
        self.offset = float(ious.mean())
        x = (tokens - self.mean) / self.scale
        gram = x.T @ x + RIDGE_TOKENS * np.eye(x.shape[1])
        self.weights = np.linalg.solve(gram, x.T @ (ious - self.offset))

    def expected_iou(self, tokens: Array) -> Array:
        """[N], about 0..1."""
        found: Array = (tokens - self.mean) / self.scale @ self.weights + self.offset
        return found


def _unseen(tokens: Array, ious: Array, folds: NDArray[np.int64] | None) -> Array:
    """What models that have not seen them make of the tokens [N]."""
    groups = np.arange(len(tokens)) if folds is None else np.asarray(folds)
    names = np.unique(groups)
    found = np.full(len(tokens), float(ious.mean()))
    for part in range(FOLDS):
        out = np.isin(groups, names[part::FOLDS])
        if out.any() and not out.all():
            found[out] = Familiar(tokens[~out], ious[~out]).expected_iou(tokens[out])
    return found
