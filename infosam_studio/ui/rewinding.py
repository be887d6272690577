"""Undo, redo and steps of the history: short ones at once, long ones off the main thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.history import Step
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.ui.document import Document, Snapshot, read_snapshot
from infosam_studio.ui.toast import Toast
from infosam_studio.ui.workers_images import Done, TaskThread


@dataclass(frozen=True)
class Rewound:
    """A step's name (None: there was none), what it was, and the project afterwards."""

    kind: str
    name: str | None
    snapshot: Snapshot


class Rewinding(QObject):
    """``held_still`` encloses a long step: between True and False nothing may be edited.

    ``finished`` carries kind ("undo", "redo", "go_to", "reload") and name of every step, "" where
    there was none to take.
    """

    held_still = Signal(bool)
    finished = Signal(str, str)

    def __init__(self, document: Document, toast: Toast, parent: QObject) -> None:
        super().__init__(parent)
        self._document, self._toast = document, toast
        self._thread: TaskThread | None = None

    def undo(self) -> None:
        """Take back the newest step."""
        self._step("undo", self._document.undo)

    def redo(self) -> None:
        """Make the step taken back last again."""
        self._step("redo", self._document.redo)

    def go_to(self, entry_id: int) -> None:
        """Go back or forth to an entry of the history."""
        self._step("go_to", lambda: self._document.go_to(entry_id), entry_id)

    def reload(self) -> None:
        """Read everything again, as after an import."""
        self._submit("reload", 0)

    def _step(self, kind: str, now: Callable[[], str | None], entry_id: int = 0) -> None:
        if self._document.busy:
            return
        if self._document.guarded(self._document.project.is_long, kind, entry_id):
            self._submit(kind, entry_id)
            return
        try:
            name = now()
        except StudioError as problem:
            self._document.failed.emit(str(problem))
            return
        self._finish(kind, name)

    def _finish(self, kind: str, name: str | None) -> None:
        text = _told(kind, name or "")
        if text:
            self._toast.tell(text)
        self.finished.emit(kind, name or "")

    def _submit(self, kind: str, entry_id: int) -> None:
        if self._thread is None:
            self._thread = TaskThread("rewinding", self)
            self._thread.done.connect(self._take)
        document = self._document
        document.busy = True
        self.held_still.emit(True)
        self._toast.tell(_told(kind, None))
        task = _Rewind(document.project, kind, entry_id, document.current_id)
        self._thread.submit(kind, task)

    @Slot(object)
    def _take(self, done: Done) -> None:
        self._document.busy = False
        self.held_still.emit(False)
        self._toast.hide()
        if done.error is not None:
            self._document.failed.emit(str(done.error))
            return
        rewound: Rewound = done.result
        self._document.show(rewound.snapshot)
        self._finish(rewound.kind, rewound.name)

    def close(self) -> None:
        """Wait for the step that is being taken: half of it is nothing."""
        if self._thread is not None:
            self._thread.close()
            self._document.busy = False


class _Rewind:
    """Takes the step and reads the project as it is then; runs on a thread."""

    def __init__(self, project: Project, kind: str, entry_id: int, current_id: int | None) -> None:
        self._project, self._kind = project, kind
        self._entry_id, self._current_id = entry_id, current_id

    def __call__(self) -> Rewound:
        steps: list[Step | None] = []
        if self._kind == "undo":
            steps.append(self._project.undo())
        elif self._kind == "redo":
            steps.append(self._project.redo())
        elif self._kind == "go_to":
            steps += self._project.go_to(self._entry_id)
        last = steps[-1] if steps else None
        # The person should see what changed, also where it was on another image.
        moved = last.image_id if last is not None and self._kind != "go_to" else None
        current = self._current_id if moved is None else moved
        snapshot = read_snapshot(self._project, current)
        return Rewound(self._kind, last.name if last is not None else None, snapshot)


def _told(kind: str, name: str | None) -> str:
    """What the person reads about a step; ``name`` is None while it is being taken."""
    if name is None:
        return {
            "undo": "Undoing a large step…",
            "redo": "Doing a large step again…",
            "go_to": "Going through the history…",
            "reload": "Reading the project…",
        }[kind]
    if kind == "undo":
        return f"Undone: {name}" if name else "Nothing to undo."
    if kind == "redo":
        return f"Done again: {name}" if name else "Nothing to redo."
    return ""
