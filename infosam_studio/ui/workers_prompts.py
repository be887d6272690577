"""From the window's prompts to the predictor's, and masks back (inference thread only)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.ui import crops
from infosam_studio.ui.draft import Candidate
from infosam_studio.ui.inference_messages import Ask

if TYPE_CHECKING:
    from infosam_studio.segmentation.predictor import Embedding, Predictor


def to_prompt(
    ask: Ask, fed_back: NDArray[np.float32] | None, predictor: Predictor, embedding: Embedding
) -> Prompt:
    """Points, box and the mask to start from as the predictor takes them."""
    points = np.array([point[:2] for point in ask.points], np.float32).reshape(-1, 2)
    labels = np.array([point[2] for point in ask.points], np.int32)
    box = np.array(ask.box, np.float32) if ask.box is not None else None
    logits = fed_back
    if ask.mask is not None and not ask.mask.empty:
        height, width = embedding.image_size
        logits = predictor.logits_of_mask(embedding, crops.to_mask(ask.mask, height, width))
        if len(points) == 0 and box is None:
            # SAM was never trained on a mask alone; its box says the same thing.
            x0, y0, x1, y1 = ask.mask.rect
            box = np.array([x0, y0, x1 - 1, y1 - 1], np.float32)
    return Prompt(points=points, labels=labels, box=box, mask_logits=logits)


def candidates_of(
    masks: Iterable[np.ndarray],
    scores: NDArray[np.float32],
    sources: Sequence[int] | None = None,
) -> tuple[Candidate, ...]:
    """Masks bool [H,W] with the scores of their ``sources`` (by default all, in order)."""
    return tuple(
        Candidate(crops.from_mask(np.asarray(mask)), float(scores[source]), source)
        for mask, source in zip(masks, sources or range(len(scores)), strict=True)
    )


def more_candidates(
    predictor: Predictor, embedding: Embedding, prompt: Prompt
) -> tuple[tuple[Candidate, ...], NDArray[np.float32], int]:
    """The single mask, then the three a lone click would get: (candidates, logits [4,m,m], best).

    The best is the one of the three that the model thinks most of: the single one was seen.
    """
    single = predictor.predict(embedding, prompt, multimask=False)
    three = predictor.predict(embedding, prompt, multimask=True)
    scores = np.concatenate([single.scores, three.scores])
    low_res = np.concatenate([single.low_res, three.low_res])
    found = candidates_of([*single.masks, *three.masks], scores)
    return found, low_res, 1 + int(np.argmax(three.scores))
