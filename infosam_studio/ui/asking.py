"""What the model is asked for a step of an unfinished object."""

from __future__ import annotations

from infosam_studio.annotation.regions import covers
from infosam_studio.ui.draft import Draft, Step
from infosam_studio.ui.inference_messages import Ask


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


def lies_inside(draft: Draft, step: Step) -> bool:
    """Whether everything the model is told lies in the draft's region."""
    assert draft.region is not None
    boxes = [*step.boxes, *((x, y, x, y) for x, y, _ in step.points)]
    crop = draft.crop()
    if crop is not None and not crop.empty:
        boxes.append(crop.rect)
    return all(covers(draft.region, box) for box in boxes)
