"""The unfinished objects at work: prompts go to the inference thread, masks come back."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.errors import StudioError
from infosam_studio.ui import crops
from infosam_studio.ui.asking import Looking, ask_for
from infosam_studio.ui.batch import Batch
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.draft_commit import commit
from infosam_studio.ui.draft_holder import DraftHolder
from infosam_studio.ui.inference_messages import Answer
from infosam_studio.ui.workers_inference import Inference


class Drafting(DraftHolder):
    """Holds the unfinished objects of every image; those of the current one are shown.

    One of them, ``draft``, takes the prompts; the others wait with their masks. ``changed``
    tells canvas and strip to show them again; ``accepted`` carries a new object's id;
    ``answered`` the milliseconds from prompt to mask.
    """

    accepted = Signal(int)
    answered = Signal(object)

    def __init__(
        self, document: Document, inference: Inference, parent: QObject | None = None
    ) -> None:
        super().__init__(document, parent)
        self._inference = inference
        self._adapter: str | None = None
        self._just_begun = False
        self.looking = Looking()
        document.current_changed.connect(self._image_changed)
        document.objects_changed.connect(self._objects_changed)
        document.class_chosen.connect(self._class_chosen)
        document.history_changed.connect(self._history_changed)
        inference.answered.connect(self._take_answer)

    # prompts -----------------------------------------------------------------------------

    def add_point(self, x: float, y: float, label: int) -> None:
        """A click in image pixels (centres are integers); the first one must add."""
        if self.draft is None and label == 0:
            self.refused.emit("Click the object first; then remove what is too much.")
            return
        batch = self._next_or_own(label == 1)
        if batch is not None:
            batch.own().add_point(x, y, label)
            self._ask(batch)

    def _next_or_own(self, adds: bool) -> Batch | None:
        """The batch for a prompt: one that ``adds`` while Enter waits for a mask begins the next
        object, others go on with this one."""
        of_next = adds and bool(self._accept_wanted)
        if of_next:
            self.park()
        return self._own(of_next=of_next)

    def add_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A dragged box in image pixels, for the object that is worked on."""
        batch = self._next_or_own(adds=True)
        if batch is not None:
            batch.own().add_box(x0, y0, x1, y1)
            self._ask(batch)

    def begin_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A box that begins another object; the one worked on so far waits with its mask."""
        self.park()
        self.add_box(x0, y0, x1, y1)
        draft = self.draft
        if draft is not None:
            draft.class_id, self._just_begun = self._document.class_id, True

    def add_prompts(
        self,
        points: tuple[tuple[float, float, int], ...],
        box: tuple[float, float, float, float] | None,
        name: str,
    ) -> None:
        """A lasso or scribble, as points and perhaps a box, in one step."""
        batch = self._next_or_own(any(label for _, _, label in points) or box is not None)
        if batch is not None:
            batch.own().add_prompts(points, box, name)
            self._ask(batch)

    def change_point(self, index: int, point: tuple[float, float, int] | None) -> None:
        """Move or (None) delete one point; without any prompt left the object is dismissed."""
        draft, batch = self.draft, self._own()
        if draft is None or draft.current is None or batch is None:
            return
        step = draft.current
        if point is None and len(step.points) == 1 and not step.boxes and step.edited is None:
            self.dismiss(draft)
            return
        draft.change_point(index, point)
        self._ask(batch)

    def set_mask(self, crop: Crop, name: str) -> None:
        """The mask after a stroke of brush or eraser."""
        batch = self._own()
        if batch is not None:
            self.clock.touch()
            draft = batch.own()
            draft.set_mask(crop, name)
            batch.stepped(draft)
            self._changed()

    def refine(self, object_ids: tuple[int, ...]) -> None:
        """Take objects up again: their masks become the start of drafts."""
        batch = self._own()
        if batch is None:
            return
        known = {draft.object_id for draft in batch.drafts}
        for object_id in object_ids:
            record = self._document.objects.get(object_id)
            if record is None or object_id in known:
                continue
            self.park()
            draft = Draft(record.image_id, base=crops.from_rle(record.mask), object_id=object_id)
            draft.hand_corrected = record.hand_corrected
            batch.begin(draft)
            draft.class_id = record.class_id
        if self.draft is not None and self.draft.class_id:
            self._document.choose_class(self.draft.class_id)
        self._changed()

    def _ask(self, batch: Batch) -> None:
        """The active draft got a prompt: ask the model."""
        self.clock.touch()
        self._just_begun = False
        draft = batch.active
        assert draft is not None
        step = batch.stepped(draft)
        image = self._document.image(draft.image_id)
        if image is not None:
            self.looking.choose(draft, step, image)
        self._inference.submit(ask_for(draft, step))
        self._changed()

    def ask_again(self) -> None:
        """Predict the newest prompts anew, as after a swap of the model."""
        for draft in self._batch.drafts if self._batch is not None else ():
            if draft.current is not None and not draft.current.by_hand:
                draft.current.asked_more = False
                ask = ask_for(draft, draft.current)
                self._inference.submit(replace(ask, after=None, after_candidate=None))

    def _ask_missing(self) -> None:
        """Ask for masks that never came, or that a restart has forgotten."""
        for draft in self._batch.drafts if self._batch is not None else ():
            if draft.waiting() and draft.current is not None:
                self._inference.submit(ask_for(draft, draft.current))

    @Slot(object)
    def _take_answer(self, answer: Answer) -> None:
        batch = self._batches.get(answer.image_id)
        draft = batch.find(answer.serial) if batch is not None else None
        if draft is None or self.looking.outdated(draft, answer):
            return
        if not draft.answer(answer.serial, answer.candidates, answer.best):
            return
        self._adapter = answer.adapter
        step = draft.current
        self._look_again(draft, answer)
        if step is not None and step.serial == answer.serial and step.unchanged:
            self.refused.emit("Nothing fitting to change there: Tab shows other masks, P paints.")
        if answer.image_id == self._document.current_id:
            self._changed()
            self.answered.emit(answer)
            wanted = self._accept_wanted
            if wanted and not any(one.waiting() for one in wanted):
                self._commit([one for one in batch.drafts if one in wanted] if batch else [])

    def _look_again(self, draft: Draft, answer: Answer) -> None:
        """Ask once more where another part of the image would show the object better."""
        step, image = draft.current, self._document.image(draft.image_id)
        if step is None or step.serial != answer.serial or image is None:
            return
        if self.looking.again(draft, step, image):
            self._inference.submit(ask_for(draft, step))

    # several objects ---------------------------------------------------------------------

    def park(self) -> None:
        """Leave the active object with its mask; the next prompt begins another one."""
        draft, batch = self.draft, self._batch
        if draft is not None and batch is not None:
            draft.seconds += self.clock.take()
            batch.park(self._document.class_id)

    def activate(self, draft: Draft) -> None:
        """Work on this one of the unfinished objects from now on."""
        batch = self._batch
        if batch is None or draft is batch.active or draft not in batch.drafts:
            return
        self.park()
        self._just_begun = False
        batch.activate(draft)
        self._show_class(draft)
        self._changed()

    def next_draft(self, direction: int = 1) -> bool:
        """Go to the next unfinished object; False where there is no other."""
        batch = self._batch
        if batch is None or not batch.parked:
            return False
        drafts = batch.drafts
        place = drafts.index(batch.active) if batch.active in drafts else -1
        self.activate(drafts[(place + direction) % len(drafts)])
        return True

    @Slot(int)
    def _class_chosen(self, class_id: int) -> None:
        """After a box another class is meant for the next one: a click goes on with the last."""
        draft, batch = self.draft, self._batch
        if not self._just_begun or draft is None or batch is None:
            return
        if draft.class_id and draft.class_id != class_id:
            draft.seconds += self.clock.take()
            batch.park(draft.class_id)
            self._changed()

    def _show_class(self, draft: Draft | None) -> None:
        """The chosen class is that of the object worked on."""
        if draft is not None and draft.class_id and draft.class_id != self._document.class_id:
            self._document.select(())
            self._document.choose_class(draft.class_id)

    def dismiss(self, draft: Draft) -> None:
        """Drop one unfinished object; undo brings it back."""
        batch = self._own()
        if batch is None or draft not in batch.drafts:
            return
        if draft is batch.active:
            draft.seconds += self.clock.take()
            draft.class_id = self._document.class_id
        batch.dismiss(draft)
        self._show_class(batch.active)
        self._changed()

    # the step keys -----------------------------------------------------------------------

    def cycle(self, direction: int) -> bool:
        """Show the next candidate; where there is only one, ask the model for others."""
        draft = self.draft
        if draft is None:
            return False
        step = draft.current
        if step is not None and draft.wants_more():
            step.asked_more = True
            self._inference.submit(replace(ask_for(draft, step), more=True))
            return True
        if not draft.cycle(direction):
            return step is not None and step.asked_more  # they are on their way
        self._changed()
        return True

    def choose(self, index: int) -> None:
        """Show candidate ``index``."""
        draft = self.draft
        if draft is not None and draft.current and index < len(draft.current.candidates):
            draft.current.chosen = index
            self._changed()

    def undo(self) -> bool:
        """Take back the newest prompt or dismissal; False where there is none."""
        batch = self._batch
        if batch is None or not batch.undo():
            return False
        self._went()
        return True

    def redo(self) -> bool:
        """Bring back what was taken back last."""
        batch = self._batch
        if batch is None or batch.redo() is None:
            return False
        self._went()
        return True

    def _went(self) -> None:
        self._accept_wanted = ()
        self.clock.touch()
        self._show_class(self.draft)
        self._ask_missing()
        self._changed()

    def forget_undone(self) -> None:
        """Prompts taken back stay gone once an older edit is undone: redo goes in order."""
        for batch in self._batches.values():
            batch.forget_undone()

    def cancel(self) -> bool:
        """Drop the object that is worked on; undo brings it back."""
        draft = self.draft
        if draft is None and self.parked:
            draft = self.parked[-1]
        if draft is None:
            return False
        self.dismiss(draft)
        return True

    def cancel_all(self) -> None:
        """Drop every unfinished object of this image; undo brings them back one by one."""
        while self.cancel():
            pass

    def accept(self) -> int:
        """Commit the unfinished objects as one edit; returns how many.

        Where a mask is still on its way they are committed once it is there.
        """
        batch, image = self._batch, self._document.current
        if batch is None or image is None or not batch.drafts:
            return 0
        if batch.waiting():
            self._accept_wanted = tuple(batch.drafts)
            return 0
        return self._commit(batch.drafts)

    def _commit(self, drafts: list[Draft]) -> int:
        """Commit these of the current image's unfinished objects; the others stay."""
        self._accept_wanted = ()
        batch = self._batch
        if batch is None:
            return 0
        if batch.active is not None and batch.active in drafts:
            batch.active.class_id = self._document.class_id
            batch.active.seconds += self.clock.take()
        good = [one for one in drafts if (one.crop() or crops.EMPTY).area]
        left = [one for one in drafts if one not in good]
        if left:
            which = "This mask is" if len(left) == 1 else f"{len(left)} masks are"
            self.refused.emit(f"{which} empty. Click inside the object or draw a box.")
        try:
            accepted = commit(self._document, good, self._adapter) if good else []
        except StudioError as problem:
            self.refused.emit(str(problem))
            return 0
        batch.keep([one for one in batch.drafts if one not in good])
        self._changed()
        for object_id in accepted:
            self.accepted.emit(object_id)
        return len(accepted)

    @Slot()
    def _image_changed(self) -> None:
        self.clock.take()
        self._accept_wanted = ()
        self.looking.region = None
        self._show_class(self.draft)
        self._ask_missing()
        self.changed.emit()

    @Slot(int)
    def _objects_changed(self, _image_id: int) -> None:
        """An undo may have taken away an object that is being refined."""
        for draft in self._batch.drafts if self._batch is not None else ():
            if draft.object_id and draft.object_id not in self._document.objects:
                draft.object_id = None

    @Slot()
    def _history_changed(self) -> None:
        """Something newer was done: what was dismissed before it stays dropped."""
        batch = self._batch
        if batch is not None and not batch.drafts:
            del self._batches[batch.image_id]
