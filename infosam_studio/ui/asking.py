"""What the model is asked for a step of an unfinished object."""

from __future__ import annotations

from math import ceil, floor

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.annotation.regions import Region, covers, look_again, nearer_region
from infosam_studio.ui.draft import Draft, Step
from infosam_studio.ui.inference_messages import Answer, Ask

# A nearer look is taken unasked where it takes at most so many seconds; meanwhile the first mask
# shows.
QUICK = 1.0
CACHED = 0.03


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
        region=draft.region,
        keep=draft.base is not None,
    )


def _shown_source(step: Step | None) -> int | None:
    """Which of the masks that the model remembers the person looks at."""
    if step is None or not step.candidates:
        return None
    return step.candidates[step.chosen].source


class Looking:
    """Which part of the image an object is looked at in.

    ``region`` is what the view suggests. Where an encode is quick, objects get a nearer look of
    their own as soon as it is known how large they are, ``closely`` permitting.
    """

    def __init__(self) -> None:
        self.region: Region | None = None
        self.input_size = 0  # of the model, in pixels; 0: no model yet
        self.encode_seconds: float | None = None
        self.closely = True

    def begin(self, input_size: int) -> None:
        """A model is ready; of one with another input nothing else is known yet."""
        if input_size != self.input_size:
            self.input_size, self.encode_seconds = input_size, None

    def timed(self, seconds: float) -> None:
        """An encode took so long; those from the cache tell nothing."""
        known = self.encode_seconds
        if known is None or seconds > known:
            self.encode_seconds = seconds
        elif seconds > CACHED:
            self.encode_seconds = (known + seconds) / 2

    @property
    def _nearer(self) -> bool:
        quick = self.encode_seconds is not None and self.encode_seconds <= QUICK
        return quick and self.closely and self.input_size > 0

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


def _extent(draft: Draft, step: Step) -> Region | None:
    """The box around everything the model is told."""
    boxes = [*step.boxes, *((x, y, x, y) for x, y, _ in step.points)]
    crop = draft.crop()
    if crop is not None and not crop.empty:
        boxes.append(crop.rect)
    if not boxes:
        return None
    lows, highs = [box[:2] for box in boxes], [box[2:] for box in boxes]
    return (
        floor(min(x for x, _ in lows)),
        floor(min(y for _, y in lows)),
        ceil(max(x for x, _ in highs)),
        ceil(max(y for _, y in highs)),
    )


def _holds(region: Region | None, step: Step) -> bool:
    boxes = [*step.boxes, *((x, y, x, y) for x, y, _ in step.points)]
    return region is None or all(covers(region, box) for box in boxes)
