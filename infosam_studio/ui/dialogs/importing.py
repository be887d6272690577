"""Import: choose the labels, see what is in them, decide what becomes of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, QTimer, QUrl, Signal, Slot
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.annotation.project import Project
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.interchange.formats import IMPORT_FORMATS
from infosam_studio.interchange.guessing import guess_format
from infosam_studio.interchange.importing import DEFAULT_IMPORT, ImportOptions, Preview
from infosam_studio.interchange.registry import importer
from infosam_studio.interchange.reports import counted
from infosam_studio.ui.dialogs.class_table import ClassTable
from infosam_studio.ui.dialogs.plain_buttons import plain_buttons
from infosam_studio.ui.dialogs.problem_list import ProblemList
from infosam_studio.ui.workers_images import Done, TaskThread

LOOK_AFTER_MS = 350
CONFLICTS = (
    ("add", "Add what is not there yet"),
    ("replace", "Replace the objects that are there"),
    ("skip", "Leave these images as they are"),
)
MEANINGS = (
    ("auto", "Find out"),
    ("instances", "Objects: every value is one"),
    ("classes", "Classes: every value is one"),
    ("binary", "Masks: everything but black"),
)


@dataclass(frozen=True)
class ImportChoice:
    """What the user decided."""

    format: str
    source: Path
    options: ImportOptions = DEFAULT_IMPORT


class ImportDialog(QDialog):
    """Use `ask`; it returns None where the user changed their mind."""

    _stepped = Signal(int, int)

    def __init__(self, project: Project, parent: QWidget, source: Path | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Import labels")
        self._project = project
        self._folder = project.images_root.parent
        self.preview: Preview | None = None
        self._stop = threading.Event()
        self._thread = TaskThread("preview", self)
        self._thread.done.connect(self._show)
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(LOOK_AFTER_MS)
        self._later.timeout.connect(self._look)
        self._make_widgets()
        self._lay_out()
        self._connect()
        self._show_format()
        self._say("Choose the file or the folder that holds the labels.")
        self.classes.show_classes({})
        self.resize(640, 560)
        if source is not None:
            self.source.setText(str(source))

    def _make_widgets(self) -> None:
        self.source = QLineEdit()
        self.source.setAccessibleName("File or folder of labels")
        self.source.setPlaceholderText("Type a path, or drop a file here")
        self.formats = QComboBox()
        for name, title in IMPORT_FORMATS.items():
            self.formats.addItem(title, name)
        self.meaning = _choices(MEANINGS)
        self.components = QCheckBox("Every connected part is an object of its own")
        self.conflict = _choices(CONFLICTS)
        self.complete = QCheckBox("Everything on these images is labelled")
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.hide()
        self.classes = ClassTable([c.name for c in self._project.classes()])
        self.problems = ProblemList()
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        plain_buttons(self._buttons)
        self.start = self._buttons.addButton("Import", QDialogButtonBox.ButtonRole.AcceptRole)
        self.start.setProperty("kind", "primary")
        self.start.setEnabled(False)

    def _lay_out(self) -> None:
        file, folder = QPushButton("File…"), QPushButton("Folder…")
        file.clicked.connect(self._choose_file)
        folder.clicked.connect(self._choose_folder)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(self.source, 1)
        row.addWidget(file)
        row.addWidget(folder)
        self.form = QFormLayout()
        self.form.setHorizontalSpacing(14)
        self.form.setVerticalSpacing(9)
        self.form.addRow("Labels", row)
        self.form.addRow("Format", self.formats)
        self.form.addRow("Values are", self.meaning)
        self.form.addRow("", self.components)
        self.form.addRow("If labelled already", self.conflict)
        self.form.addRow("", self.complete)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 18, 18, 14)
        column.setSpacing(12)
        column.addLayout(self.form)
        column.addWidget(self.summary)
        column.addWidget(self.progress)
        column.addWidget(self.classes, 1)
        column.addWidget(self.problems)
        column.addStretch(0)  # takes the room while there is no table
        column.addWidget(self._buttons)

    def _connect(self) -> None:
        self.source.textChanged.connect(self._source_changed)
        self.formats.currentIndexChanged.connect(self._show_format)
        self.formats.currentIndexChanged.connect(self._changed)
        self.meaning.currentIndexChanged.connect(self._changed)
        self.components.toggled.connect(self._changed)
        self._stepped.connect(self._show_step)
        self._buttons.accepted.connect(self.accept)
        self._buttons.rejected.connect(self.reject)

    # choosing ----------------------------------------------------------------------------

    @property
    def place(self) -> Path:
        """Where the labels lie."""
        text = self.source.text().strip()
        if text.startswith("file:"):  # what a dropped file arrives as
            text = QUrl(text).toLocalFile()
        return Path(text)

    @Slot()
    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Labels", str(self._folder))
        if path:
            self.source.setText(path)

    @Slot()
    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Labels", str(self._folder))
        if path:
            self.source.setText(path)

    @Slot()
    def _source_changed(self) -> None:
        if self.source.text().strip() and self.place.exists():
            guess = guess_format(self.place)
            if guess is not None:
                self.formats.setCurrentIndex(self.formats.findData(guess))
        self._changed()

    @Slot()
    def _show_format(self) -> None:
        maps = self.formats.currentData() in ("png", "tiff")
        self.form.setRowVisible(self.meaning, maps)
        self.form.setRowVisible(self.components, maps)

    @Slot()
    def _changed(self) -> None:
        self.preview = None
        self._stop.set()
        self.start.setEnabled(False)
        self.classes.show_classes({})
        self.problems.show_problems([], 0)
        self._later.start()

    def options(self) -> ImportOptions:
        """The choices as the importer takes them."""
        return ImportOptions(
            conflict=self.conflict.currentData(),
            class_names=self.classes.names(),
            meaning=self.meaning.currentData(),
            components=self.components.isChecked(),
            fully_labelled=self.complete.isChecked(),
        )

    # looking -----------------------------------------------------------------------------

    @Slot()
    def _look(self) -> None:
        """Read the labels without taking them in, on a thread of its own."""
        self._thread.drop(lambda key: False)
        if not self.source.text().strip():
            self._say("Choose the file or the folder that holds the labels.")
            return
        if not self.place.exists():
            self._say("There is nothing at that place.", bad=True)
            return
        self._stop = stop = threading.Event()
        self._say("Looking into the labels…")
        self.progress.setRange(0, 0)
        self.progress.show()
        task = _Look(self._project, self._choice(), stop, self._stepped.emit)
        self._thread.submit(stop, task)

    def _choice(self) -> ImportChoice:
        return ImportChoice(self.formats.currentData(), self.place, self.options())

    @Slot(int, int)
    def _show_step(self, done: int, total: int) -> None:
        # Qt counts in 32 bits; files are counted in bytes.
        self.progress.setRange(0, 1000 if total else 0)
        self.progress.setValue(1000 * done // total if total else 0)

    @Slot(object)
    def _show(self, done: Done) -> None:
        if done.key is not self._stop or isinstance(done.error, Cancelled):
            return
        self.progress.hide()
        if done.error is not None:
            told = isinstance(done.error, StudioError | OSError)
            self._say(str(done.error) if told else f"They cannot be read: {done.error}", bad=True)
            return
        self.preview = found = done.result
        kinds = counted(len(found.classes), "class")
        text = f"{counted(found.objects, 'object')} of {kinds} on {counted(found.images, 'image')}."
        if found.conflicts:
            text += f" {counted(found.conflicts, 'image')} of these have objects already."
        self._say(text if found.objects else "There are no objects for the images of this project.")
        self.conflict.setEnabled(bool(found.conflicts))
        self.classes.show_classes(found.classes)
        self.problems.show_problems(found.problems.items, found.problems.count)
        self.start.setEnabled(bool(found.objects))

    def _say(self, text: str, *, bad: bool = False) -> None:
        self.progress.hide()
        self.summary.setText(text)
        self.summary.setProperty("role", "bad" if bad else "")
        self.summary.style().polish(self.summary)

    # ending ------------------------------------------------------------------------------

    def _end(self) -> None:
        """Stop looking: a thread that outlives its dialog would take the app with it."""
        self._later.stop()
        self._stop.set()
        self._thread.close()

    def done(self, result: int) -> None:
        self._end()
        super().done(result)

    def closeEvent(self, event: QCloseEvent) -> None:
        self._end()  # a dialog that is not shown is closed without being done
        super().closeEvent(event)

    @classmethod
    def ask(
        cls, project: Project, parent: QWidget, source: Path | None = None
    ) -> ImportChoice | None:
        """Show the dialog."""
        dialog = cls(project, parent, source)
        chosen = dialog.exec() == QDialog.DialogCode.Accepted
        choice = dialog._choice() if chosen else None
        dialog.deleteLater()
        return choice


class _Look:
    """Previews an import; runs on the dialog's thread."""

    def __init__(
        self, project: Project, choice: ImportChoice, stop: threading.Event, tell: object
    ) -> None:
        self._project, self._choice, self._stop, self._tell = project, choice, stop, tell

    def __call__(self) -> Preview:
        return importer(self._choice.format).preview(
            self._project,
            self._choice.source,
            options=self._choice.options,
            progress=self._tell,  # type: ignore[arg-type]
            cancelled=self._stop.is_set,
        )


def _choices(entries: tuple[tuple[str, str], ...]) -> QComboBox:
    box = QComboBox()
    for value, title in entries:
        box.addItem(title, value)
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return box
