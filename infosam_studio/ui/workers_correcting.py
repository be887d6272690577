"""Clicks on a mask that is there already: they change it where they are and nowhere else.

SAM answers a mask prompt with a mask of its own, which often forgets the one it was given; a
single click that removes wipes an object out. So only the part of the answer that a click asks
for is taken over: the connected change that holds the click, the smallest one of several
answers, and none that is out of proportion to the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.clicks import next_click
from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.draft import Candidate
from infosam_studio.ui.inference_messages import Ask
from infosam_studio.ui.workers_prompts import more_candidates

if TYPE_CHECKING:
    from infosam_studio.segmentation.predictor import Embedding, Predictor

# Changes under this share of the mask are noise of the outline; above these they replace it.
LEAST, LEAST_PIXELS = 0.01, 6
MOST_ADDED, MOST_REMOVED = 1.0, 0.6


def corrects(ask: Ask) -> bool:
    """Whether this is about clicks on a mask that the person has already."""
    return ask.mask is not None and not ask.mask.empty and bool(ask.points) and ask.box is None


def corrected_candidates(
    ask: Ask, predictor: Predictor, embedding: Embedding, prompt: Prompt
) -> tuple[tuple[Candidate, ...], NDArray[np.float32], int]:
    """The mask changed where it was clicked, then whole masks: (candidates, logits, best)."""
    start = ask.mask
    assert start is not None
    found, low_res, best = more_candidates(predictor, embedding, with_inner_click(prompt, start))
    changed = correct(start, [one.crop for one in found], ask.points)
    # Its score is nobody's prediction. Fed back are the logits of the single mask.
    first = Candidate(changed, float("nan"), 0)
    nothing = changed is start and not ask.keep
    return (first, found[0], found[best]), low_res, 1 if nothing else 0


def with_inner_click(prompt: Prompt, start: Crop) -> Prompt:
    """One more click deep inside the mask: without it, SAM takes the others for all there is."""
    click = next_click(start.pixels, np.zeros_like(start.pixels))
    assert click is not None
    inner = np.array([[click[0] + start.x0, click[1] + start.y0]], np.float32)
    return Prompt(
        np.concatenate([inner, prompt.points]),
        np.concatenate([[1], prompt.labels]),
        prompt.box,
        prompt.mask_logits,
    )


def correct(start: Crop, answers: list[Crop], points: tuple[tuple[float, float, int], ...]) -> Crop:
    """The mask after every click took its smallest fitting change from the answers.

    ``start`` itself is returned where no click found one.
    """
    mask = start
    for x, y, label in points:
        spot = (round(x), round(y))
        if mask.contains(*spot) == bool(label):
            continue
        pairs = [(answer, mask) if label else (mask, answer) for answer in answers]
        changes = [_part_at(crops.combine(one, other, "subtract"), spot) for one, other in pairs]
        least = max(LEAST_PIXELS, LEAST * start.area)
        most = (MOST_ADDED if label else MOST_REMOVED) * start.area
        fitting = [one for one in changes if least <= one.area <= most]
        if fitting:
            change = min(fitting, key=lambda one: one.area)
            mask = crops.combine(mask, change, "union" if label else "subtract")
    return mask


def _part_at(crop: Crop, spot: tuple[int, int]) -> Crop:
    """The connected part of a mask that holds a pixel; empty where it is not in the mask."""
    if not crop.contains(*spot):
        return crops.EMPTY
    _, labels = cv2.connectedComponents(crop.pixels.view(np.uint8), connectivity=8)
    wanted = labels[spot[1] - crop.y0, spot[0] - crop.x0]
    return crops.from_mask(np.asarray(labels == wanted), x0=crop.x0, y0=crop.y0)
