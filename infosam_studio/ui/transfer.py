"""Exports and imports on a thread of their own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.importing import ImportOptions
from infosam_studio.interchange.registry import exporter, importer
from infosam_studio.interchange.reports import ExportReport, ImportReport
from infosam_studio.ui.dialogs.export import ExportChoice
from infosam_studio.ui.workers_images import Done, TaskThread

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transferred:
    """A finished export or import."""

    place: Path
    report: ExportReport | ImportReport


class Transfer(QObject):
    """`export` and `import_labels` return at once; ``finished`` or ``failed`` follows."""

    finished = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("transfer", self)
        self._thread.done.connect(self._take)

    def export(self, project: Project, choice: ExportChoice) -> None:
        """Write the labels; what is edited meanwhile does not come along."""
        self._thread.submit(choice.target, _Export(project, choice))

    def import_labels(self, project: Project, name: str, source: Path) -> None:
        """Take in labels of format ``name`` as one edit."""
        self._thread.submit(source, _Import(project, name, source))

    @Slot(object)
    def _take(self, done: Done) -> None:
        if done.error is None:
            self.finished.emit(Transferred(done.key, done.result))
        elif isinstance(done.error, StudioError | OSError):
            self.failed.emit(str(done.error))
        else:
            log.error("transfer %s", done.key, exc_info=done.error)
            self.failed.emit(f"{done.key}: {done.error}")

    def close(self) -> None:
        """End after the transfer in progress."""
        self._thread.close()


class _Export:
    def __init__(self, project: Project, choice: ExportChoice) -> None:
        self._project, self._choice = project, choice

    def __call__(self) -> ExportReport:
        self._choice.target.parent.mkdir(parents=True, exist_ok=True)
        options = ExportOptions(overwrite=self._choice.overwrite)
        return exporter(self._choice.format)(self._project, self._choice.target, options=options)


class _Import:
    def __init__(self, project: Project, name: str, source: Path) -> None:
        self._project, self._name, self._source = project, name, source

    def __call__(self) -> ImportReport:
        return importer(self._name)(self._project, self._source, options=ImportOptions())
