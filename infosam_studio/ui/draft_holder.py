"""What is unfinished on every image: held, looked at and kept in the project."""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from infosam_studio.errors import StudioError
from infosam_studio.ui.activity import ActivityClock
from infosam_studio.ui.batch import Batch
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.draft_keeping import keep_batches, kept_batches

SAVE_AFTER_MS = 250


class DraftHolder(QObject):
    """One batch of unfinished objects per image; saved shortly after every change."""

    changed = Signal()
    refused = Signal(str)

    def __init__(self, document: Document, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._document = document
        self._batches = kept_batches(document)
        self._accept_wanted: tuple[Draft, ...] = ()
        self.clock = ActivityClock()
        self._save_timer = QTimer(self)
        self._save_timer.setSingleShot(True)
        self._save_timer.setInterval(SAVE_AFTER_MS)
        self._save_timer.timeout.connect(self.save)

    # what there is -----------------------------------------------------------------------

    @property
    def _batch(self) -> Batch | None:
        """The unfinished objects of the current image, None where nothing was begun."""
        image_id = self._document.current_id
        return self._batches.get(image_id) if image_id is not None else None

    @property
    def draft(self) -> Draft | None:
        """The object that prompts go to, None where a new one would begin."""
        batch = self._batch
        draft = batch.active if batch is not None else None
        return None if draft is None or draft.empty else draft

    @property
    def parked(self) -> list[Draft]:
        """The other unfinished objects of this image, in the order they were begun."""
        return self._batch.parked if self._batch is not None else []

    @property
    def refined(self) -> frozenset[int]:
        """The objects of this image that are taken up again."""
        drafts = self._batch.drafts if self._batch is not None else []
        return frozenset(one.object_id for one in drafts if one.object_id)

    @property
    def count(self) -> int:
        """How many objects of this image are unfinished."""
        return len(self._batch.drafts) if self._batch is not None else 0

    def _own(self, *, of_next: bool = False) -> Batch | None:
        """The current image's batch, made where there is none.

        What Enter was pressed for too early is not wanted any more, unless what comes now is
        ``of_next`` object.
        """
        image_id = self._document.current_id
        if image_id is None:
            return None
        if not of_next:
            self._accept_wanted = ()
        return self._batches.setdefault(image_id, Batch(image_id))

    @property
    def can_undo(self) -> bool:
        """Whether there is a prompt, or an object dropped, to take back."""
        return self._batch is not None and self._batch.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether a prompt was taken back."""
        return self._batch is not None and self._batch.can_redo

    # keeping -----------------------------------------------------------------------------

    def _changed(self) -> None:
        self._save_timer.start()
        self.changed.emit()

    @Slot()
    def save(self) -> None:
        """Write the drafts into the project, so that a crash does not lose them."""
        self._save_timer.stop()
        if self._document.busy:
            self._save_timer.start()  # a long step holds the database
            return
        try:
            keep_batches(self._document, self._batches, self.clock.seconds)
        except StudioError as problem:
            self.refused.emit(str(problem))

    @property
    def restored_image(self) -> int | None:
        """The image whose objects an earlier session left unfinished."""
        return next((key for key, batch in self._batches.items() if batch.drafts), None)
