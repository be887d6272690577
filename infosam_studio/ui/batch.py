"""The unfinished objects of one image: several boxes can be drawn before anything is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from infosam_studio.ui.draft import Draft, Step

Kind = Literal["begin", "step", "dismiss"]


@dataclass(frozen=True)
class Event:
    """One thing undo takes back: an object taken up, a step of it, or that it was dismissed."""

    kind: Kind
    draft: Draft
    place: int


class Batch:
    """Drafts in the order they were begun; ``active`` is the one that prompts go to.

    Undo and redo go through the events of all of them, the newest first.
    """

    def __init__(self, image_id: int) -> None:
        self.image_id = image_id
        self.drafts: list[Draft] = []
        self.active: Draft | None = None
        self._trail: list[Event] = []
        self._undone: list[Event] = []

    # what there is -----------------------------------------------------------------------

    @property
    def parked(self) -> list[Draft]:
        """All but the active one."""
        return [one for one in self.drafts if one is not self.active]

    def waiting(self) -> bool:
        """Whether a mask is still on its way."""
        return any(one.waiting() for one in self.drafts)

    def find(self, serial: int) -> Draft | None:
        """The draft that has or had the step with this number."""
        known = [*self.drafts, *(event.draft for event in (*self._trail, *self._undone))]
        for draft in known:
            if any(step.serial == serial for step in (*draft.steps, *draft.undone)):
                return draft
        return None

    @property
    def can_undo(self) -> bool:
        return bool(self._trail)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    # changes -----------------------------------------------------------------------------

    def own(self) -> Draft:
        """The active draft, a new one where there is none; a step has to follow."""
        if self.active is None:
            self.active = Draft(self.image_id)
            self.drafts.append(self.active)
        return self.active

    def begin(self, draft: Draft) -> None:
        """Take up an object whose mask is there already."""
        self._did(Event("begin", draft, len(self.drafts)))
        self.drafts.append(draft)
        self.active = draft

    def park(self, class_id: int) -> None:
        """Leave the active draft as it is, with its class, so that another one can begin."""
        if self.active is not None:
            self.active.class_id = class_id
            self.active = None

    def activate(self, draft: Draft) -> None:
        """Prompts go to this one from now on."""
        self.active = draft

    def stepped(self, draft: Draft) -> Step:
        """The draft got one more step, which is returned."""
        self._did(Event("step", draft, self.drafts.index(draft)))
        step = draft.current
        assert step is not None
        return step

    def dismiss(self, draft: Draft) -> None:
        """Drop one draft; undo brings it back."""
        self._did(Event("dismiss", draft, self.drafts.index(draft)))
        self._remove(draft)

    def _did(self, event: Event) -> None:
        self._trail.append(event)
        self.forget_undone()

    def _remove(self, draft: Draft) -> None:
        self.drafts.remove(draft)
        if self.active is draft:
            self.active = self.drafts[-1] if self.drafts else None

    def _put_back(self, draft: Draft, place: int) -> None:
        if draft not in self.drafts:
            self.drafts.insert(min(place, len(self.drafts)), draft)
        self.active = draft

    def forget_undone(self) -> None:
        """What was taken back stays gone."""
        self._undone.clear()
        for draft in self.drafts:
            draft.undone.clear()

    def keep(self, drafts: list[Draft]) -> None:
        """Go on with these alone, as after the others were accepted."""
        self.drafts = [one for one in self.drafts if one in drafts]
        self.active = self.drafts[-1] if self.drafts else None
        self._trail = [event for event in self._trail if event.draft in self.drafts]
        self.forget_undone()

    def retrace(self) -> None:
        """Make the trail anew from the steps, in the order they were made."""
        steps = [(step.serial, draft) for draft in self.drafts for step in draft.steps]
        steps.sort(key=lambda one: one[0])
        begun = [Event("begin", draft, 0) for draft in self.drafts if draft.base is not None]
        made = [Event("step", draft, self.drafts.index(draft)) for _, draft in steps]
        self._trail = [*begun, *made]

    # undo --------------------------------------------------------------------------------

    def undo(self) -> bool:
        """Take back the newest event; False where there is none."""
        if not self._trail:
            return False
        event = self._trail.pop()
        draft = event.draft
        if event.kind == "dismiss":
            self._put_back(draft, event.place)
        elif event.kind == "begin":
            self._remove(draft)
        else:
            draft.undo()
            self.active = draft
            if draft.empty:
                self._remove(draft)
        self._undone.append(event)
        return True

    def redo(self) -> Draft | None:
        """Bring back what was taken back last; returns its draft, None where there is none."""
        if not self._undone:
            return None
        event = self._undone.pop()
        draft = event.draft
        if event.kind == "dismiss":
            self._remove(draft)
        else:
            self._put_back(draft, event.place)
            if event.kind == "step":
                draft.redo()
        self._trail.append(event)
        return draft
