"""From the window's prompts to the predictor's, and masks back (inference thread only)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.draft import Candidate
from infosam_studio.ui.inference_messages import Ask

if TYPE_CHECKING:
    from infosam_studio.segmentation.predictor import Embedding, Prediction, Predictor


def to_prompt(
    ask: Ask, fed_back: NDArray[np.float32] | None, predictor: Predictor, embedding: Embedding
) -> Prompt:
    """Points, box and the mask to start from as the predictor takes them."""
    points = np.array([point[:2] for point in ask.points], np.float32).reshape(-1, 2)
    labels = np.array([point[2] for point in ask.points], np.int32)
    box = np.array(ask.box, np.float32) if ask.box is not None else None
    logits = fed_back
    if ask.mask is not None and not ask.mask.empty:
        logits = predictor.logits_of_part(embedding, ask.mask.x0, ask.mask.y0, ask.mask.pixels)
        if len(points) == 0 and box is None:
            # SAM was never trained on a mask alone; its box says the same thing.
            x0, y0, x1, y1 = ask.mask.rect
            box = np.array([x0, y0, x1 - 1, y1 - 1], np.float32)
    return Prompt(points=points, labels=labels, box=box, mask_logits=logits)


def candidates_of(
    predictor: Predictor,
    embedding: Embedding,
    result: Prediction,
    sources: Sequence[int] | None = None,
) -> tuple[Candidate, ...]:
    """The masks of a prediction with their scores: ``sources``, by default all, in order."""
    return tuple(
        Candidate(
            _crop(predictor, embedding, result.low_res[source]),
            float(result.scores[source]),
            source,
        )
        for source in (range(len(result.scores)) if sources is None else sources)
    )


def _crop(predictor: Predictor, embedding: Embedding, low_res: NDArray[np.float32]) -> Crop:
    """A mask at the image's resolution, in memory for its own box only."""
    x, y, part = predictor.part(embedding, low_res)
    return crops.from_mask(part, x0=x, y0=y)


def more_candidates(
    predictor: Predictor, embedding: Embedding, prompt: Prompt
) -> tuple[tuple[Candidate, ...], NDArray[np.float32], int]:
    """The single mask, then the three a lone click would get: (candidates, logits [4,m,m], best).

    The best is the one of the three that the model thinks most of: the single one was seen.
    """
    single = predictor.predict(embedding, prompt, multimask=False, candidates=())
    three = predictor.predict(embedding, prompt, multimask=True, candidates=())
    low_res = np.concatenate([single.low_res, three.low_res])
    found = [*candidates_of(predictor, embedding, single)]
    for number, one in enumerate(candidates_of(predictor, embedding, three), start=1):
        found.append(replace(one, source=number))
    return tuple(found), low_res, 1 + int(np.argmax(three.scores))
