"""Import: choose a format and where the labels lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.interchange.formats import FILE_FORMATS, IMPORT_FORMATS


@dataclass(frozen=True)
class ImportChoice:
    """What the user decided."""

    format: str
    source: Path


class ImportDialog(QDialog):
    """Use `ask`; it returns None where the user changed their mind."""

    def __init__(self, folder: Path, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Import labels")
        self._folder = folder
        self.formats = QComboBox()
        for name, title in IMPORT_FORMATS.items():
            self.formats.addItem(title, name)
        self.source = QLineEdit()
        self._problem = QLabel("")
        self._problem.setProperty("role", "bad")
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.source, 1)
        row.addWidget(browse)
        form = QFormLayout()
        form.addRow("Format", self.formats)
        form.addRow("File or folder", row)
        note = QLabel("Labels are matched to the images by name. One undo takes them out again.")
        note.setProperty("role", "muted")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        start = buttons.addButton("Import", QDialogButtonBox.ButtonRole.AcceptRole)
        start.setProperty("kind", "primary")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 18, 18, 14)
        column.setSpacing(12)
        column.addLayout(form)
        column.addWidget(note)
        column.addWidget(self._problem)
        column.addWidget(buttons)
        self.resize(560, 200)

    @Slot()
    def _browse(self) -> None:
        if self.formats.currentData() in FILE_FORMATS:
            path, _ = QFileDialog.getOpenFileName(self, "Labels", str(self._folder))
        else:
            path = QFileDialog.getExistingDirectory(self, "Labels", str(self._folder))
        if path:
            self.source.setText(path)

    def accept(self) -> None:
        """Refuse what is not there before the dialog closes."""
        text = self.source.text().strip()
        if not text or not Path(text).exists():
            self._problem.setText("There is nothing at that place. Use Browse to choose it.")
        else:
            super().accept()

    @classmethod
    def ask(cls, folder: Path, parent: QWidget) -> ImportChoice | None:
        """Show the dialog."""
        dialog = cls(folder, parent)
        if dialog.exec() != QDialog.DialogCode.Accepted:
            return None
        return ImportChoice(dialog.formats.currentData(), Path(dialog.source.text().strip()))
