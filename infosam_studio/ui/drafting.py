"""The unfinished object at work: prompts go to the inference thread, masks come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.regions import covers
from infosam_studio.errors import StudioError
from infosam_studio.ui import crops
from infosam_studio.ui.activity import ActivityClock
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft, Step, from_json, to_json
from infosam_studio.ui.inference_messages import Answer, Ask, Region
from infosam_studio.ui.workers_inference import Inference

SAVE_AFTER_MS = 250


class Drafting(QObject):
    """Holds one draft per image; the one of the current image is shown.

    ``changed`` tells canvas and strip to show the draft again; ``accepted`` carries the new
    object's id; ``answered`` the milliseconds from prompt to mask.
    """

    changed = Signal()
    accepted = Signal(int)
    answered = Signal(object)
    refused = Signal(str)

    def __init__(
        self, document: Document, inference: Inference, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._inference = inference
        self._drafts: dict[int, Draft] = {}
        self._adapter: str | None = None
        self.clock = ActivityClock()
        self.region: Region | None = None
        self._save_timer = QTimer(self)
        self._save_timer.setSingleShot(True)
        self._save_timer.setInterval(SAVE_AFTER_MS)
        self._save_timer.timeout.connect(self.save)
        document.current_changed.connect(self._image_changed)
        document.objects_changed.connect(self._objects_changed)
        inference.answered.connect(self._take_answer)
        self._restore()

    # what there is -----------------------------------------------------------------------

    @property
    def draft(self) -> Draft | None:
        """The current image's unfinished object, None where there is none."""
        image_id = self._document.current_id
        draft = self._drafts.get(image_id) if image_id is not None else None
        return None if draft is None or draft.empty else draft

    def _own(self) -> Draft | None:
        """The current image's draft, made where there is none."""
        image_id = self._document.current_id
        if image_id is None:
            return None
        return self._drafts.setdefault(image_id, Draft(image_id))

    # prompts -----------------------------------------------------------------------------

    def add_point(self, x: float, y: float, label: int) -> None:
        """A click in image pixels (centres are integers); the first one must add."""
        draft = self._own()
        if draft is None:
            return
        if draft.empty and label == 0:
            self.refused.emit("Click the object first; then remove what is too much.")
            return
        self._ask(draft, draft.add_point(x, y, label))

    def add_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A dragged box in image pixels."""
        draft = self._own()
        if draft is not None:
            self._ask(draft, draft.add_box(x0, y0, x1, y1))

    def add_prompts(
        self,
        points: tuple[tuple[float, float, int], ...],
        box: tuple[float, float, float, float] | None,
        name: str,
    ) -> None:
        """A lasso or scribble, as points and perhaps a box, in one step."""
        draft = self._own()
        if draft is not None:
            self._ask(draft, draft.add_prompts(points, box, name))

    def change_point(self, index: int, point: tuple[float, float, int] | None) -> None:
        """Move or (None) delete one point of the unfinished object."""
        draft = self.draft
        if draft is None or draft.current is None:
            return
        step = draft.change_point(index, point)
        if not step.points and not step.boxes and step.edited is None:
            draft.steps.clear()
            self._changed()
        else:
            self._ask(draft, step)

    def set_mask(self, crop: Crop, name: str) -> None:
        """The mask after a stroke of brush or eraser."""
        draft = self._own()
        if draft is not None:
            self.clock.touch()
            draft.set_mask(crop, name)
            self._changed()

    def refine(self, object_id: int) -> None:
        """Take an object up again: its mask becomes the start of the draft."""
        record = self._document.objects.get(object_id)
        if record is None:
            return
        self.cancel()
        draft = Draft(record.image_id, base=crops.from_rle(record.mask), object_id=object_id)
        draft.hand_corrected = record.hand_corrected
        self._drafts[record.image_id] = draft
        self._document.choose_class(record.class_id)
        self.clock.take()
        self._changed()

    def _ask(self, draft: Draft, step: Step) -> None:
        self.clock.touch()
        if len(draft.steps) == 1:
            draft.region = self.region
        if draft.region is not None and not _inside(draft, step):
            draft.region = None
        self._inference.submit(_ask_for(draft, step))
        self._changed()

    def ask_again(self) -> None:
        """Predict the newest prompt anew, as after a swap of the model."""
        draft = self.draft
        if draft is None or draft.current is None or draft.current.by_hand:
            return
        ask = _ask_for(draft, draft.current)
        self._inference.submit(replace(ask, after=None, after_candidate=None))

    @Slot(object)
    def _take_answer(self, answer: Answer) -> None:
        draft = self._drafts.get(answer.image_id)
        if draft is None or not draft.answer(answer.serial, answer.candidates, answer.best):
            return
        self._adapter = answer.adapter
        if answer.image_id == self._document.current_id:
            self._changed()
            self.answered.emit(answer)

    # the step keys -----------------------------------------------------------------------

    def cycle(self, direction: int) -> bool:
        """Show the next candidate; False where there is only one."""
        draft = self.draft
        if draft is None or not draft.cycle(direction):
            return False
        self._changed()
        return True

    def choose(self, index: int) -> None:
        """Show candidate ``index``."""
        draft = self.draft
        if draft is not None and draft.current and index < len(draft.current.candidates):
            draft.current.chosen = index
            self._changed()

    def undo(self) -> bool:
        """Take back one prompt; False where nothing is unfinished."""
        draft = self.draft
        if draft is None or not draft.undo():
            return False
        self.clock.touch()
        self._changed()
        return True

    def redo(self) -> bool:
        """Bring one prompt back."""
        image_id = self._document.current_id
        draft = self._drafts.get(image_id) if image_id is not None else None
        if draft is None or not draft.redo():
            return False
        if draft.current is not None and draft.current.crop is None:
            self._inference.submit(_ask_for(draft, draft.current))
        self._changed()
        return True

    def forget_undone(self) -> None:
        """Prompts taken back stay gone once an older edit is undone: redo goes in order."""
        for draft in self._drafts.values():
            draft.undone.clear()

    @property
    def can_redo(self) -> bool:
        """Whether a prompt was taken back."""
        image_id = self._document.current_id
        draft = self._drafts.get(image_id) if image_id is not None else None
        return draft is not None and bool(draft.undone)

    def cancel(self) -> bool:
        """Drop the unfinished object."""
        draft = self.draft
        if draft is None:
            return False
        self._drafts.pop(draft.image_id, None)
        self.clock.take()
        self._changed()
        return True

    def accept(self) -> int | None:
        """Commit the unfinished object; returns its id, None where there is no mask."""
        draft, image = self.draft, self._document.current
        if draft is None or image is None:
            return None
        crop = draft.crop()
        if draft.waiting():
            self.refused.emit("The mask for the last click is still on its way.")
            return None
        if crop is None or crop.empty:
            self.refused.emit("This mask is empty. Click inside the object or draw a box.")
            return None
        try:
            object_id = self._commit(draft, crop)
        except StudioError as problem:
            self.refused.emit(str(problem))
            return None
        self._drafts.pop(draft.image_id, None)
        self._changed()
        self.accepted.emit(object_id)
        return object_id

    def _commit(self, draft: Draft, crop: Crop) -> int:
        document = self._document
        image = document.current
        assert image is not None
        fields: dict[str, Any] = {
            "mask": crops.to_rle(crop, image.height, image.width),
            "prompts": draft.prompts(),
            "adapter": self._adapter,
            "hand_corrected": draft.hand_corrected,
        }
        seconds = draft.seconds + self.clock.take()
        before = document.objects.get(draft.object_id) if draft.object_id else None
        if before is not None:
            fields["clicks"] = before.clicks + draft.clicks
            fields["seconds"] = before.seconds + seconds
            document.change_objects("Refine object", update={before.id: fields}, clear_draft=True)
            return before.id
        class_id = document.ensure_class()
        record = ObjectRecord(
            id=0,
            image_id=image.id,
            class_id=class_id,
            clicks=draft.clicks,
            seconds=seconds,
            **fields,
        )
        name = f"Add {document.class_of(class_id).name}"
        return document.change_objects(name, add=[record], clear_draft=True)[0].id

    # keeping -----------------------------------------------------------------------------

    def _changed(self) -> None:
        self._save_timer.start()
        self.changed.emit()

    @Slot()
    def save(self) -> None:
        """Write the draft into the project, so that a crash does not lose it."""
        draft, image = self.draft, self._document.current
        project = self._document.project
        self._save_timer.stop()
        if project.read_only:
            return
        try:
            if draft is None or image is None:
                project.save_draft(None, None)
            else:
                data = to_json(draft, image.height, image.width)
                data["seconds"] = draft.seconds + self.clock.seconds
                project.save_draft(image.id, data)
        except StudioError as problem:
            self.refused.emit(str(problem))

    def _restore(self) -> None:
        stored = self._document.project.draft()
        if stored is not None:
            image_id, data = stored
            self._drafts[image_id] = from_json(image_id, data)

    @property
    def restored_image(self) -> int | None:
        """The image whose draft an earlier session left unfinished."""
        return next((key for key, draft in self._drafts.items() if not draft.empty), None)

    @Slot()
    def _image_changed(self) -> None:
        self.clock.take()
        self.region = None
        draft = self.draft
        if draft is not None and draft.waiting() and draft.current is not None:
            self._inference.submit(_ask_for(draft, draft.current))
        self.changed.emit()

    @Slot(int)
    def _objects_changed(self, _image_id: int) -> None:
        """An undo may have taken away the object that is being refined."""
        draft = self.draft
        if draft is not None and draft.object_id and draft.object_id not in self._document.objects:
            draft.object_id = None


def _ask_for(draft: Draft, step: Step) -> Ask:
    """The question for the newest step: three candidates for a lone click, else one mask."""
    index = draft.steps.index(step)
    before = draft.steps[index - 1] if index else None
    first = len(step.points) == 1 and not step.boxes and step.edited is None
    after = None
    if before is not None and not before.by_hand:
        after = before.serial
    edited = step.edited if before is None or before.by_hand else None
    return Ask(
        serial=step.serial,
        image_id=draft.image_id,
        points=step.points,
        box=step.boxes[-1] if step.boxes else None,
        multimask=first,
        after=after,
        after_candidate=before.chosen if before is not None and before.candidates else None,
        mask=edited,
        region=draft.region,
    )


def _inside(draft: Draft, step: Step) -> bool:
    """Whether everything the model is told lies in the draft's region."""
    assert draft.region is not None
    boxes = [*step.boxes, *((x, y, x, y) for x, y, _ in step.points)]
    crop = draft.crop()
    if crop is not None and not crop.empty:
        boxes.append(crop.rect)
    return all(covers(draft.region, box) for box in boxes)
