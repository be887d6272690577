"""Labels and images in and out of the open project: asking, progress, and what is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from infosam_studio.annotation.images import SUFFIXES
from infosam_studio.annotation.model import ImageRecord
from infosam_studio.annotation.scan import MISSING
from infosam_studio.interchange.relocate import RelocationReport
from infosam_studio.interchange.reports import ExportReport, ImportReport, counted
from infosam_studio.ui.dialogs.export import ExportChoice, ExportDialog
from infosam_studio.ui.dialogs.importing import ImportChoice, ImportDialog
from infosam_studio.ui.toast import Toast
from infosam_studio.ui.transfer import Transfer, Transferred
from infosam_studio.ui.workbench import Workbench

LABEL_SUFFIXES = frozenset({".json", ".geojson", ".xml", ".yaml", ".yml"})
CANCEL = "cancel_transfer"


class Exchange(QObject):
    """Belongs to the window; `attach` gives it the project that is open."""

    exported = Signal(object)

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._bench: Workbench | None = None
        self.transfer = Transfer(self)
        self.transfer.finished.connect(self._finished)
        self.transfer.failed.connect(self._failed)
        self.transfer.stopped.connect(self._stopped)
        self.transfer.progress.connect(self._show_progress)

    def attach(self, bench: Workbench | None) -> None:
        """Work for this project from now on; what is under way for another one stops."""
        if self._bench is not None:
            self.transfer.cancel()
        self._bench = bench

    def close(self) -> None:
        """Stop what is under way and end the thread."""
        self.transfer.close()

    @property
    def _toast(self) -> Toast | None:
        return self._bench.toast if self._bench is not None else None

    def _free(self) -> Workbench | None:
        """The project, where nothing else is under way."""
        if self._bench is not None and self.transfer.busy:
            self._bench.toast.tell("One export or import at a time: the other is not done yet.")
            return None
        return self._bench

    # asking ------------------------------------------------------------------------------

    def ask_import(self, source: Path | None = None) -> None:
        """Show the import dialog."""
        bench = self._free()
        if bench is not None:
            choice = ImportDialog.ask(bench.document.project, self._window, source)
            if choice is not None:
                self.import_labels(choice)

    def ask_export(self) -> None:
        """Show the export dialog."""
        bench = self._free()
        if bench is not None:
            folder = bench.document.project.folder / "exports"
            choice = ExportDialog.ask(folder, self._window)
            if choice is not None:
                self.export(choice)

    def import_labels(self, choice: ImportChoice) -> None:
        """Take in labels as chosen; a message tells when it is done."""
        bench = self._free()
        if bench is not None:
            self.transfer.import_labels(bench.document.project, choice)

    def export(self, choice: ExportChoice) -> None:
        """Write the labels as chosen; a message tells when it is done."""
        bench = self._free()
        if bench is not None:
            self.transfer.export(bench.document.project, choice)

    def ask_images(self) -> None:
        """Choose files to add to the project."""
        bench = self._free()
        if bench is not None:
            folder = str(bench.document.project.images_root)
            paths, _ = QFileDialog.getOpenFileNames(self._window, "Add images", folder)
            if paths:
                self.transfer.add_images(bench.document.project, [Path(one) for one in paths])

    def ask_moved(self) -> None:
        """Choose the folder where the project's images are now."""
        bench = self._free()
        if bench is not None:
            path = QFileDialog.getExistingDirectory(self._window, "Where are the images now?")
            if path:
                self.relocate(Path(path))

    def relocate(self, folder: Path) -> None:
        """Look for the project's images, by their content, below ``folder``."""
        bench = self._free()
        if bench is not None:
            self.transfer.relocate(bench.document.project, folder)

    def tell_missing(self) -> None:
        """Say so where images of the project are not where they were."""
        if self._bench is None:
            return
        project = self._bench.document.project
        records = self._bench.document.images()
        missing = sum(1 for one in records if one.problem == MISSING)
        if not project.images_root.is_dir():
            missing = len(records)
        if missing:
            text = f"{counted(missing, 'image')} of {len(records):,} cannot be found."
            find = (
                {} if project.read_only else {"action": "relocate", "label": "Find moved images…"}
            )
            self._bench.toast.tell(text, kind="warning", **find)

    def take(self, paths: Sequence[Path]) -> bool:
        """Use what was dropped on the open project: labels, images, or several folders.

        False where it is one folder or project, which is to be opened instead.
        """
        if self._bench is None or not paths:
            return False
        if len(paths) == 1 and paths[0].suffix.lower() in LABEL_SUFFIXES and paths[0].is_file():
            self.ask_import(paths[0])
            return True
        images = [one for one in paths if one.is_dir() or one.suffix.lower() in SUFFIXES]
        if not images or (len(paths) == 1 and paths[0].is_dir()):
            return False
        if self._bench.document.project.read_only:
            self._bench.toast.tell("This project is open for reading only.", kind="warning")
            return True
        bench = self._free()
        if bench is not None:
            self.transfer.add_images(bench.document.project, images)
        return True

    # telling -----------------------------------------------------------------------------

    @Slot()
    def cancel(self) -> None:
        """Stop what is under way."""
        self.transfer.cancel()

    @Slot(str, int, int)
    def _show_progress(self, verb: str, done: int, total: int) -> None:
        if self._toast is not None:
            part = f" {100 * done // total} %" if total else ""
            self._toast.tell(f"{verb}…{part}", action=CANCEL, label="Cancel")

    @Slot(object)
    def _finished(self, done: Transferred) -> None:
        if self._bench is None:
            return
        report = done.report
        if isinstance(report, ImportReport):
            self._bench.document.reload()
            self._bench.toast.tell(report.summary, action="undo", label="Undo")
        elif isinstance(report, ExportReport):
            where = done.place if done.place.is_dir() else done.place.parent
            text = f"{done.place.name}: {report.summary}"
            kind = "error" if report.different else "info"
            self._bench.toast.tell(text, kind=kind, action=f"show:{where}", label="Show folder")
            self.exported.emit(done)
        elif isinstance(report, RelocationReport):
            self._bench.document.reload()
            self._bench.toast.tell(report.summary, kind="warning" if report.missing else "info")
            self._bench.document.current_changed.emit()  # its file may be readable now
        else:
            self._show_added(report)

    def _show_added(self, records: list[ImageRecord]) -> None:
        bench = self._bench
        assert bench is not None
        known = {one.id for one in bench.document.images()}
        new = [one for one in records if one.id not in known]
        bench.document.reload()
        shown = next((one for one in records if not one.problem), None)
        if shown is not None:
            bench.document.open_image(shown.id)
        broken = sum(1 for one in new if one.problem)
        text = f"{counted(len(new), 'image')} added" if new else "Already in this project"
        text += f", {broken} of them cannot be read" if broken else ""
        bench.toast.tell(f"{text}.", kind="warning" if broken else "info")

    @Slot(str)
    def _failed(self, problem: str) -> None:
        if self._toast is not None:
            self._toast.tell(problem, kind="error")

    @Slot()
    def _stopped(self) -> None:
        if self._bench is not None:
            self._bench.document.reload()
            self._bench.toast.tell("Stopped; nothing was changed.")
