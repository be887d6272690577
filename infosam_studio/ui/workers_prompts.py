"""From the window's prompts to the predictor's (inference thread only)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.ui import crops
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
