"""A second look at suggestions: the mask inside the box around each, from as near as in the window.

Suggestions are searched for from as far as finds them and by clicks wherever objects may lie, so
a mask is coarser than what a person gets who zooms in. Asked for what is in the box of the mask,
from there, the model gives a better one: on nuclei (training images, base model) masks of IoU 0.85
and more went from 32 to 49 of 100, in the mean from 0.77 to 0.81
(tests/benchmarks/bench_sharpening.py); asking with the click or the mask itself gained nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.regions import ENLARGES_UP_TO, Region, region_holding
from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.close_ups import View
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.segmentation.suggesting import Suggestion

# A mask that shares less than this with the one before is of something else.
SAME = 0.5
# Squares looked at on one image, at most, the surest suggestions first.
MOST_LOOKS = 64
BATCH = 4


class Sharpening:
    """Looks again at ``found`` on an image of ``size`` (H, W), square by square; ``done`` of
    ``steps`` are made.

    Models of large input see finer from the start and take seconds for each look: with them
    nothing is done.
    """

    def __init__(
        self,
        found: Sequence[Suggestion],
        size: tuple[int, int],
        input_size: int,
    ) -> None:
        self._found, self._size = list(found), size
        self._looks: dict[Region | None, list[int]] = {}
        for place, one in enumerate(found if input_size <= ENLARGES_UP_TO else ()):
            region = self._near(one, input_size)
            if region in self._looks or len(self._looks) < MOST_LOOKS:
                self._looks.setdefault(region, []).append(place)
        self._waiting = list(self._looks)
        self.steps, self.done = len(self._waiting), 0

    def _near(self, one: Suggestion, input_size: int) -> Region | None:
        x, y, width, height = masks.bbox(one.mask)
        box = (x, y, x + width, y + height)
        return region_holding(box, self._size[1], self._size[0], input_size)

    def step(
        self,
        predictor: Predictor,
        encode: Callable[[View], Embedding],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Look at one square; False where none is left. A step that is cancelled is made again."""
        if self.done >= self.steps:
            return False
        region = self._waiting[self.done]
        view = View(max(self._size) if region is None else _side(region), self._size, region)
        embedding = view.own(encode(view))
        places = self._looks[region]
        made: list[Suggestion] = []
        for start in range(0, len(places), BATCH):
            if cancelled():
                raise Cancelled
            part = [self._found[place] for place in places[start : start + BATCH]]
            made += self._asked(predictor, embedding, view, part)
        for place, one in zip(places, made, strict=True):
            self._found[place] = one
        self.done += 1
        return True

    def _asked(
        self,
        predictor: Predictor,
        embedding: Embedding,
        view: View,
        part: Sequence[Suggestion],
    ) -> list[Suggestion]:
        left, top = view.box[:2]
        prompts = []
        for one in part:
            x, y, width, height = masks.bbox(one.mask)
            corners = (x - left, y - top, x - left + width - 1, y - top + height - 1)
            prompts.append(Prompt(box=np.asarray(corners, np.float32)))
        answers = predictor.predict_batch(embedding, prompts, multimask=False)
        return [
            self._better(one, answer.masks[0], (left, top))
            for one, answer in zip(part, answers, strict=True)
        ]

    def _better(self, one: Suggestion, mask: np.ndarray, corner: tuple[int, int]) -> Suggestion:
        """The suggestion with a new mask, where that is of the same object."""
        whole = masks.encode_window(mask, *corner, *self._size)
        if masks.iou(whole, one.mask) < SAME:
            return one
        return replace(one, mask=whole)

    def suggestions(self) -> list[Suggestion]:
        """All of them, as they are now."""
        return list(self._found)


def _side(region: Region) -> int:
    return max(region[2] - region[0], region[3] - region[1])
