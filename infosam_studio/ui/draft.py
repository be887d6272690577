"""The unfinished object: its prompts and hand strokes, one undoable step each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from infosam_studio.annotation.model import Prompts
from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop

_serials = itertools.count(1)


def next_serial() -> int:
    """A number no step had before; later steps have larger ones."""
    return next(_serials)


@dataclass(frozen=True)
class Candidate:
    """One mask the model proposes, with the IoU it predicts for itself.

    ``source`` is its place among the masks the model keeps for feeding back.
    """

    crop: Crop
    score: float
    source: int = 0


@dataclass(eq=False)
class Step:
    """The object after one more prompt or hand stroke.

    ``edited`` is the mask a hand stroke left behind; prompts given later start from it.
    ``candidates`` arrive later, from the inference thread.
    """

    serial: int
    points: tuple[tuple[float, float, int], ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    edited: Crop | None = None
    by_hand: bool = False
    clicks: int = 0
    candidates: tuple[Candidate, ...] = ()
    chosen: int = 0
    name: str = "prompt"
    asked_more: bool = False
    stored: Any = field(default=None, repr=False)  # the hand-made mask as the project keeps it

    @property
    def crop(self) -> Crop | None:
        """The mask of this step, None while the model has not answered."""
        if self.by_hand:
            return self.edited
        if self.candidates:
            return self.candidates[self.chosen].crop
        return None

    @property
    def unchanged(self) -> bool:
        """Whether the model's answer is the very mask the clicks were to change."""
        return not self.by_hand and self.edited is not None and self.crop is self.edited


@dataclass(eq=False)
class Draft:
    """All steps of one object that is being made.

    ``base`` is the mask it starts from, ``object_id`` the accepted object it came from (None: a
    new one), ``class_id`` its class once another object is worked on (0: the chosen class).
    ``region`` is what the model looks at (None: the whole image), ``looks`` how often it was
    chosen anew, ``asked_again`` the step whose answer from there is still to come (0: none).
    """

    image_id: int
    steps: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)
    base: Crop | None = None
    object_id: int | None = None
    seconds: float = 0.0
    hand_corrected: bool = False
    region: tuple[int, int, int, int] | None = None
    looks: int = 0
    asked_again: int = 0
    class_id: int = 0

    @property
    def empty(self) -> bool:
        return not self.steps and self.base is None

    @property
    def current(self) -> Step | None:
        return self.steps[-1] if self.steps else None

    @property
    def clicks(self) -> int:
        return self.current.clicks if self.current else 0

    def crop(self) -> Crop | None:
        """The mask shown: of the newest step that has one, so nothing flickers while waiting."""
        for step in reversed(self.steps):
            if step.crop is not None:
                return step.crop
        return self.base

    def first_crop(self) -> Crop | None:
        """What the model answered first: its mask, or the one a correction began with."""
        if self.base is not None:
            return self.base
        return next((step.crop for step in self.steps if not step.by_hand), None)

    def waiting(self) -> bool:
        """Whether the newest prompt is still unanswered, or a better answer is on its way."""
        step = self.current
        return step is not None and (step.crop is None or step.serial == self.asked_again)

    def _next(self, name: str) -> Step:
        last = self.current
        self.undone.clear()
        points = last.points if last else ()
        boxes = last.boxes if last else ()
        edited = last.edited if last else self.base
        return Step(next_serial(), points, boxes, edited, clicks=self.clicks + 1, name=name)

    def add_point(self, x: float, y: float, label: int) -> Step:
        """A click: ``label`` 1 adds, 0 removes."""
        step = self._next("add point" if label else "remove point")
        step.points += ((float(x), float(y), int(label)),)
        self.steps.append(step)
        return step

    def add_box(self, x0: float, y0: float, x1: float, y1: float) -> Step:
        """A dragged box, its corners in any order; it takes the place of an earlier one."""
        step = self._next("box")
        step.boxes = ((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)),)
        self.steps.append(step)
        return step

    def add_prompts(
        self, points: tuple[tuple[float, float, int], ...], box: tuple[float, ...] | None, name: str
    ) -> Step:
        """A lasso or scribble: several points, perhaps a box, one step and one click."""
        step = self._next(name)
        step.points += points
        if box is not None:
            step.boxes = ((box[0], box[1], box[2], box[3]),)
        self.steps.append(step)
        return step

    def change_point(self, index: int, point: tuple[float, float, int] | None) -> Step:
        """Move point ``index`` or, with None, delete it; counted as one click."""
        step = self._next("move point" if point else "delete point")
        points = list(step.points)
        if point is None:
            del points[index]
        else:
            points[index] = point
        step.points = tuple(points)
        self.steps.append(step)
        return step

    def set_mask(self, crop: Crop, name: str) -> Step:
        """The mask after a hand stroke; earlier prompts are spent, later ones start from it."""
        step = self._next(name)
        step.edited, step.by_hand = crop, True
        step.points, step.boxes = (), ()
        self.steps.append(step)
        self.hand_corrected = True
        return step

    def answer(self, serial: int, candidates: tuple[Candidate, ...], best: int) -> bool:
        """Store the model's answer; False where that step is gone."""
        for step in itertools.chain(self.steps, self.undone):
            if step.serial == serial:
                step.candidates, step.chosen = candidates, best
                if serial == self.asked_again:
                    self.asked_again = 0
                return True
        return False

    def cycle(self, direction: int = 1) -> bool:
        """Show the next candidate of the newest step."""
        step = self.current
        if step is None or len(step.candidates) < 2:
            return False
        step.chosen = (step.chosen + direction) % len(step.candidates)
        return True

    def wants_more(self) -> bool:
        """Whether the newest step has one mask only and the model was not asked for others."""
        step = self.current
        return (
            step is not None
            and len(step.candidates) == 1
            and not step.asked_more
            and bool(step.points or step.boxes)
        )

    def undo(self) -> bool:
        """Take back the newest step."""
        if not self.steps:
            return False
        self.undone.append(self.steps.pop())
        return True

    def redo(self) -> bool:
        """Bring back the step taken back last."""
        if not self.undone:
            return False
        self.steps.append(self.undone.pop())
        return True

    def prompts(self, height: int, width: int) -> Prompts:
        """What is stored with the accepted object: every prompt up to the newest step.

        The mask is the one the prompts started from, where there was one; the sizes are those
        of the image.
        """
        step = self.current
        started = step.edited if step is not None and not step.by_hand else self.base
        mask = crops.to_rle(started, height, width) if started is not None else None
        return Prompts(step.points, step.boxes, mask) if step else Prompts(mask=mask)
