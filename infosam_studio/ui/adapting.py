"""Adapt model: starts runs, follows them, swaps versions in and back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from infosam_studio.errors import StudioError
from infosam_studio.events import Event
from infosam_studio.ui.document import Document
from infosam_studio.ui.inference_messages import ModelState, UseAdapter
from infosam_studio.ui.workers_adapt import AdaptWish, Ended, Supervisor
from infosam_studio.ui.workers_images import Done, TaskThread
from infosam_studio.ui.workers_inference import Inference
from infosam_studio.ui.workers_versions import IN_USE, VersionRow, VersionTask

BEFORE = "adapter_before"
AUTO_EVERY = 10
SILENT_AFTER = 180.0
PROOF_IMAGES = 4

STAGES = {
    "load": "Loading the model",
    "encode": "Looking at the images",
    "before": "Testing the version in use",
    "train": "Learning from your labels",
    "after": "Testing the new version",
    "write": "Writing the new version",
}


@dataclass
class RunState:
    """What is known about the run in progress."""

    wish: AdaptWish
    stage: str = "Starting"
    step: int = 0
    of: int = 0
    left: float | None = None
    losses: list[float] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    warnings: list[str] = field(default_factory=list)


class Adapting(QObject):
    """One run at a time. ``changed`` tells the panel; ``finished`` carries how a run ended."""

    changed = Signal()
    versions_changed = Signal()
    finished = Signal(object)
    told = Signal(str, str)

    def __init__(
        self, document: Document, inference: Inference, model: str, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document, self._inference, self.model = document, inference, model
        self._supervisor: Supervisor | None = None
        self.run: RunState | None = None
        self.last: Ended | None = None
        self.versions: list[VersionRow] = []
        self.automatic = False
        self._accepted = 0
        self._closed = False
        self._tasks = TaskThread("versions", self)
        self._tasks.done.connect(self._take_versions)
        self._watch = QTimer(self)
        self._watch.setInterval(5000)
        self._watch.timeout.connect(self._check_alive)
        inference.model_state.connect(self._model_changed)
        # Undo, deletion and import change what can be learnt from, not only accepting.
        document.objects_changed.connect(self.changed)
        document.images_changed.connect(self.changed)

    # what there is -----------------------------------------------------------------------

    @property
    def in_use(self) -> str | None:
        """The version in use, None for the base model."""
        name = self._document.project.setting(IN_USE)
        return str(name) if name else None

    def folder_of(self, name: str | None) -> Path | None:
        """The folder of a version."""
        return self._document.project.adapters_dir / name if name else None

    def needs(self) -> str:
        """What a run would have to work with, in one sentence."""
        labelled = [
            one
            for one in self._document.images()
            if self._document.count(one.id) and not one.excluded
        ]
        objects = sum(self._document.count(one.id) for one in labelled)
        if not objects:
            return "Accept a few objects first; the model then learns from them."
        what = f"{_count(objects, 'object')} on {_count(len(labelled), 'image')}"
        missing = PROOF_IMAGES - len(labelled)
        if missing > 0:
            more = _count(missing, "more labelled image")
            return f"{what}. You can start now; with {more} the result can be proven."
        return f"{what}. Some are held out to prove the result."

    @property
    def possible(self) -> bool:
        """Whether a run can be started now."""
        labelled = any(self._document.count(one.id) for one in self._document.images())
        return self.run is None and labelled and not self._document.project.read_only

    # running -----------------------------------------------------------------------------

    def start(
        self,
        *,
        speed: str = "instant",
        method: str = "infosam",
        recipe: str = "studio",
        minutes: float | None = None,
        automatic: bool = False,
    ) -> bool:
        """Start a run; False where that is not possible now."""
        if not self.possible:
            return False
        project = self._document.project
        try:
            project.ensure_split()
        except StudioError as problem:
            self.told.emit(str(problem), "error")
            return False
        wish = AdaptWish(project.folder, self.model, speed, method, recipe, minutes, automatic)
        self.run, self.last = RunState(wish), None
        self._accepted = 0
        supervisor = self._supervisor = Supervisor(wish, self)
        supervisor.event_read.connect(self._take_event)
        supervisor.ended.connect(self._take_end)
        supervisor.finished.connect(supervisor.deleteLater)
        supervisor.start()
        self._watch.start()
        self.changed.emit()
        return True

    def cancel(self) -> None:
        """Ask the run to stop; the version in use stays in use."""
        if self._supervisor is not None and self.run is not None:
            self.run.stage = "Stopping"
            self._supervisor.cancel()
            self.changed.emit()

    @property
    def process_id(self) -> int | None:
        """The child's process id while a run is in progress."""
        return self._supervisor.process_id if self._supervisor is not None else None

    @Slot(object)
    def _take_event(self, event: Event) -> None:
        run = self.run
        if run is None or self._closed:
            return
        run.heard = time.monotonic()
        data = event.data
        if event.kind == "progress":
            run.stage = STAGES.get(str(data.get("stage")), str(data.get("stage")))
            run.step, run.of = int(data.get("step") or 0), int(data.get("of") or 0)
            run.left = data.get("left")
            losses = data.get("losses") or {}
            if losses:
                run.losses.append(float(losses.get("total", sum(losses.values()))))
        elif event.kind == "validation":
            run.ious.append(float(data.get("iou") or 0.0))
        elif event.kind == "warning":
            run.warnings.append(str(data.get("text", "")))
        self.changed.emit()

    @Slot(object)
    def _take_end(self, ended: Ended) -> None:
        self._watch.stop()
        if self._closed:
            return
        self._supervisor, self.run, self.last = None, None, ended
        result = ended.result
        if result is not None and result.get("promoted"):
            proven = bool((result.get("gate") or {}).get("proven"))
            if proven or not ended.wish.automatic:
                self.use(str(result["adapter"]))
        self.refresh()
        self.changed.emit()
        self.finished.emit(ended)

    @Slot()
    def _check_alive(self) -> None:
        """A silent child is ended; its end is told like any other."""
        run = self.run
        if run is not None and time.monotonic() - run.heard > SILENT_AFTER:
            self.told.emit("The adaptation has fallen silent and is being stopped.", "warning")
            self.cancel()

    # versions ----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the list of versions again."""
        self._tasks.submit("list", VersionTask(self._document.project))

    @Slot(object)
    def _take_versions(self, done: Done) -> None:
        if done.error is not None:
            self.told.emit(str(done.error), "error")
            return
        self.versions = done.result
        self.versions_changed.emit()

    def use(self, name: str | None) -> None:
        """Swap to a version (None: the base model) between two predictions."""
        before = self.in_use
        if name == before:
            return
        project = self._document.project
        try:
            project.set_setting(IN_USE, name)
            project.set_setting(BEFORE, {"name": before})
        except StudioError as problem:
            self.told.emit(str(problem), "error")
            return
        self._inference.submit(UseAdapter(self.folder_of(name)))
        self.versions_changed.emit()

    def roll_back(self) -> str | None:
        """Use the version that was in use before; returns what is in use now."""
        stored: dict[str, Any] | None = self._document.project.setting(BEFORE)
        self.use(stored.get("name") if stored is not None else None)
        return self.in_use

    def rename(self, name: str, new: str) -> None:
        """Give a version another name."""
        self._tasks.submit("rename", VersionTask(self._document.project, "rename", name, new))

    def delete(self, name: str) -> None:
        """Delete a version; where it is in use, the base model takes over first."""
        if self.in_use == name:
            self.use(None)
        self._tasks.submit("delete", VersionTask(self._document.project, "delete", name))

    def export(self, name: str, out: Path) -> None:
        """Copy a version to a folder or zip."""
        self._tasks.submit("export", VersionTask(self._document.project, "export", name, out))

    def import_version(self, source: Path) -> None:
        """Take in a version from a folder or zip."""
        task = VersionTask(self._document.project, "import_version", source)
        self._tasks.submit("import", task)

    # auto --------------------------------------------------------------------------------

    def set_automatic(self, on: bool) -> None:
        """Adapt by itself after every ten accepted objects."""
        self.automatic, self._accepted = on, 0

    @Slot()
    def object_accepted(self) -> None:
        """Count accepted objects for the automatic runs."""
        self._accepted += 1
        if self.automatic and self._accepted >= AUTO_EVERY:
            self.start(speed="instant", automatic=True)
        self.changed.emit()

    @Slot(object)
    def _model_changed(self, state: ModelState) -> None:
        if state.phase == "ready" and not self.versions:
            self.refresh()

    def close(self) -> None:
        """End a run in progress and the threads."""
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.close()
        self._tasks.close()


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
