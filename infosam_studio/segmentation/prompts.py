"""What goes into a predictor and what comes out of it; numpy only, no torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.errors import StudioError

Region = tuple[int, int, int, int]


class PromptError(StudioError):
    """A prompt that no mask can be predicted from."""


@dataclass(frozen=True)
class ImageIdentity:
    """What decides the pixels of one upright RGB view: file content, page, view settings."""

    sha256: str
    page: int = 0
    view: str = ""


@dataclass(frozen=True)
class EmbeddingKey:
    """Everything an embedding depends on; equal keys mean interchangeable embeddings.

    ``encoder_sha256`` covers the weights that act in the encoder, so a version that only
    changes the decoder keeps every embedding. ``precision`` names the arithmetic.
    """

    image: ImageIdentity
    region: Region | None
    encoder_sha256: str
    precision: str

    def digest(self) -> str:
        """SHA-256 in hex over all fields."""
        fields = [
            self.image.sha256,
            self.image.page,
            self.image.view,
            self.region,
            self.encoder_sha256,
            self.precision,
        ]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _no_points() -> NDArray[np.float32]:
    return np.zeros((0, 2), dtype=np.float32)


def _no_labels() -> NDArray[np.int32]:
    return np.zeros((0,), dtype=np.int32)


@dataclass(frozen=True)
class Prompt:
    """Points, a box and a previous mask, in pixels of the whole image.

    ``points`` float32 [N,2] (x, y), where an integer is the centre of a pixel; ``labels``
    int32 [N], 1 inside and 0 outside; ``box`` float32 [4] (x0, y0, x1, y1) or None;
    ``mask_logits`` float32 [m,m], a ``low_res`` mask of an earlier prediction from the same
    region, or None. Raises `PromptError` where the shapes do not fit together.
    """

    points: NDArray[np.float32] = field(default_factory=_no_points)
    labels: NDArray[np.int32] = field(default_factory=_no_labels)
    box: NDArray[np.float32] | None = None
    mask_logits: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=np.float32).reshape(-1, 2)
        labels = np.asarray(self.labels, dtype=np.int32).reshape(-1)
        if len(points) != len(labels):
            raise PromptError(f"{len(points)} points came with {len(labels)} labels.")
        if not np.isfinite(points).all() or not np.isin(labels, (0, 1)).all():
            raise PromptError("Points need finite coordinates, and labels that are 1 or 0.")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels)
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box))
        if self.mask_logits is not None:
            logits = np.squeeze(np.asarray(self.mask_logits, dtype=np.float32))
            if logits.ndim != 2:
                raise PromptError("A mask prompt is one low-resolution mask, [m,m].")
            object.__setattr__(self, "mask_logits", logits)

    @classmethod
    def from_clicks(
        cls,
        clicks: Any,
        *,
        box: Any = None,
        mask_logits: NDArray[np.float32] | None = None,
    ) -> Prompt:
        """From (x, y, label) triples, as projects and prompt files hold them."""
        table = np.asarray(clicks, dtype=np.float64).reshape(-1, 3)
        return cls(
            points=table[:, :2].astype(np.float32),
            labels=table[:, 2].astype(np.int32),
            box=None if box is None else np.asarray(box, dtype=np.float32),
            mask_logits=mask_logits,
        )


def _checked_box(box: NDArray[np.float32]) -> NDArray[np.float32]:
    values = np.asarray(box, dtype=np.float32).reshape(-1)
    if values.shape != (4,) or not np.isfinite(values).all():
        raise PromptError("A box is four finite numbers: x0, y0, x1, y1.")
    x0, y0, x1, y1 = values
    return np.array([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], dtype=np.float32)


@dataclass
class Prediction:
    """K candidate masks for one prompt (3 with ``multimask``, else 1).

    ``scores`` float32 [K], predicted IoU; ``low_res`` float32 [K,m,m], logits to feed back;
    ``shown`` names the candidates that were enlarged, and ``masks`` bool [len(shown),H,W]
    holds these at the resolution of the image. By default that is all K.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    low_res: NDArray[np.float32]
    shown: tuple[int, ...]

    @property
    def best(self) -> int:
        """The candidate with the highest predicted IoU."""
        return int(np.argmax(self.scores))

    def mask(self, candidate: int) -> NDArray[np.bool_]:
        """One enlarged mask, bool [H,W]; KeyError where it was not asked for."""
        if candidate not in self.shown:
            raise KeyError(candidate)
        mask: NDArray[np.bool_] = self.masks[self.shown.index(candidate)]
        return mask
