"""What the model is asked for a step of an unfinished object."""

from __future__ import annotations

from math import ceil, floor

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.annotation.regions import (
    ENLARGES_UP_TO,
    Region,
    covers,
    look_again,
    nearer_region,
)
from infosam_studio.ui.draft import Draft, Step
from infosam_studio.ui.inference_messages import Answer, Ask


def ask_for(draft: Draft, step: Step) -> Ask:
    """The question for the newest step: three candidates for a lone click, else one mask."""
    index = draft.steps.index(step)
    before = draft.steps[index - 1] if index else None
    first = len(step.points) == 1 and not step.boxes and step.edited is None
    after = None
    if before is not None and not before.by_hand:
        after = before.serial
    begun = before is None or before.by_hand
    edited = step.edited if begun or not step.boxes else None
    return Ask(
        serial=step.serial,
        image_id=draft.image_id,
        points=step.points,
        box=step.boxes[-1] if step.boxes else None,
        multimask=first,
        after=after,
        after_candidate=_shown_source(before),
        mask=edited,
        # A step that was taken back and made again may reach beyond what was chosen meanwhile.
        region=draft.region if _holds(draft.region, step) else None,
        keep=draft.base is not None,
    )


def _shown_source(step: Step | None) -> int | None:
    """Which of the masks that the model remembers the person looks at."""
    if step is None or not step.candidates:
        return None
    return step.candidates[step.chosen].source


class Looking:
    """Which part of the image an object is looked at in.

    ``region`` is what the view suggests. Small models encode in a moment: with them objects get a
    nearer look of their own as soon as it is known how large they are, ``closely`` permitting.
    (How long an encode takes must not decide: the same clicks are to give the same mask.)
    """

    def __init__(self) -> None:
        self.region: Region | None = None
        self.input_size = 0  # of the model, in pixels; 0: no model yet
        self.closely = True

    @property
    def _nearer(self) -> bool:
        return self.closely and 0 < self.input_size <= ENLARGES_UP_TO

    def choose(self, draft: Draft, step: Step, image: ImageRecord) -> None:
        """Before the model is asked."""
        known = _extent(draft, step)
        if len(draft.steps) == 1:
            draft.region, draft.looks, draft.asked_again = self.region, 0, 0
            if known is not None and (step.boxes or draft.base is not None) and self._nearer:
                size = (image.width, image.height, self.input_size)
                draft.region = nearer_region(draft.region, known, *size)
        if draft.region is not None and known is not None and not covers(draft.region, known):
            draft.region = None

    def again(self, draft: Draft, step: Step, image: ImageRecord) -> bool:
        """After the answer: whether to ask once more, with another region."""
        crop = step.crop
        if crop is None or crop.empty or not self.input_size:
            return False
        looks = draft.looks if self._nearer and len(draft.steps) == 1 else max(1, draft.looks)
        size = (image.width, image.height, self.input_size)
        region = look_again(draft.region, crop.rect, *size, looks=looks)
        if region == draft.region or not _holds(region, step):
            return False
        draft.region, draft.looks, draft.asked_again = region, looks + 1, step.serial
        return True

    @staticmethod
    def outdated(draft: Draft, answer: Answer) -> bool:
        """Whether the model has been asked again since, in another region."""
        return draft.asked_again == answer.serial and answer.region != draft.region


def _told(step: Step) -> list[tuple[float, float, float, float]]:
    """The boxes and the pixels of the points of a step; ends are excluded."""
    return [
        *step.boxes,
        *((floor(x), floor(y), ceil(x) + 1, ceil(y) + 1) for x, y, _ in step.points),
    ]


def _extent(draft: Draft, step: Step) -> Region | None:
    """The box around everything the model is told."""
    boxes = _told(step)
    crop = draft.crop()
    if crop is not None and not crop.empty:
        boxes.append(crop.rect)
    if not boxes:
        return None
    return (
        floor(min(box[0] for box in boxes)),
        floor(min(box[1] for box in boxes)),
        ceil(max(box[2] for box in boxes)),
        ceil(max(box[3] for box in boxes)),
    )


def _holds(region: Region | None, step: Step) -> bool:
    return region is None or all(covers(region, box) for box in _told(step))
