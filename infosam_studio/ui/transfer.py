"""Exports, imports and added images, on a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.file_lists import expand
from infosam_studio.annotation.model import ImageRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.interchange.registry import exporter, importer
from infosam_studio.interchange.relocate import RelocationReport, relocate
from infosam_studio.interchange.reports import ExportReport, ImportReport
from infosam_studio.ui.dialogs.export import ExportChoice
from infosam_studio.ui.dialogs.importing import ImportChoice
from infosam_studio.ui.workers_images import Done, TaskThread

log = logging.getLogger(__name__)

TELL_EVERY_S = 0.1
Tell = Callable[[int, int], None]
Work = Callable[[Tell, Callable[[], bool]], Any]


@dataclass(frozen=True)
class Transferred:
    """A finished export or import, or images that were added or found again."""

    place: Path
    report: ExportReport | ImportReport | RelocationReport | list[ImageRecord]


class Transfer(QObject):
    """Every method returns at once; ``finished``, ``failed`` or ``stopped`` follows."""

    finished = Signal(object)
    failed = Signal(str)
    stopped = Signal()
    progress = Signal(str, int, int)
    _step = Signal(int, int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("transfer", self)
        self._thread.done.connect(self._take)
        self._step.connect(self._tell)
        self._verb = ""
        self._stop = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._verb)

    def export(self, project: Project, choice: ExportChoice) -> None:
        """Write the labels; what is edited meanwhile does not come along."""

        def work(tell: Tell, cancelled: Callable[[], bool]) -> ExportReport:
            choice.target.parent.mkdir(parents=True, exist_ok=True)
            write = exporter(choice.format)
            options = choice.all_options()
            return write(
                project, choice.target, options=options, progress=tell, cancelled=cancelled
            )

        self._begin("Exporting", choice.target, work)

    def import_labels(self, project: Project, choice: ImportChoice) -> None:
        """Take in labels as one edit."""

        def work(tell: Tell, cancelled: Callable[[], bool]) -> ImportReport:
            read, options = importer(choice.format), choice.options
            return read(project, choice.source, options=options, progress=tell, cancelled=cancelled)

        self._begin("Importing", choice.source, work)

    def add_images(self, project: Project, paths: Sequence[Path]) -> None:
        """Take files, and all images in folders, into the project."""

        def work(tell: Tell, cancelled: Callable[[], bool]) -> list[ImageRecord]:
            return project.add_images(expand(paths), tell, cancelled=cancelled)

        self._begin("Adding images", paths[0], work)

    def relocate(self, project: Project, folder: Path) -> None:
        """Look for the project's images below another folder."""

        def work(tell: Tell, cancelled: Callable[[], bool]) -> RelocationReport:
            return relocate(project, folder, progress=tell, cancelled=cancelled)

        self._begin("Looking for the images", folder, work)

    def _begin(self, verb: str, place: Path, work: Work) -> None:
        self._verb, self._stop = verb, threading.Event()
        self.progress.emit(verb, 0, 0)
        self._thread.submit(place, _Task(work, self._stop, self._step.emit))

    @Slot()
    def cancel(self) -> None:
        """Stop what is under way; nothing of an export or import stays."""
        self._stop.set()

    @Slot(int, int)
    def _tell(self, done: int, total: int) -> None:
        if self._verb and not self._stop.is_set():
            self.progress.emit(self._verb, done, total)

    @Slot(object)
    def _take(self, done: Done) -> None:
        self._verb = ""
        if done.error is None:
            self.finished.emit(Transferred(done.key, done.result))
        elif isinstance(done.error, Cancelled):
            self.stopped.emit()
        elif isinstance(done.error, StudioError | OSError):
            self.failed.emit(str(done.error))
        else:
            log.error("transfer %s", done.key, exc_info=done.error)
            self.failed.emit(f"{done.key}: {done.error}")

    def close(self) -> None:
        """Stop what is under way and end."""
        self._stop.set()
        self._thread.close()


class _Task:
    """Runs one transfer on the thread; tells of its progress in thousandths, now and then."""

    def __init__(self, work: Work, stop: threading.Event, tell: Tell) -> None:
        self._work, self._stop, self._tell = work, stop, tell
        self._told = 0.0

    def _step(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_S and total:
            self._told = now
            self._tell(1000 * done // total, 1000)

    def __call__(self) -> Any:
        return self._work(self._step, self._stop.is_set)
