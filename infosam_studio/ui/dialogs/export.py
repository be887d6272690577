"""Export: choose a format and a place; the writing happens on its own thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.interchange.formats import EXPORT_FORMATS, FILE_FORMATS

# What each format is for, and what its file or folder is called by default.
FORMATS = {
    "coco": ("Exact masks with holes, parts and overlaps, in one file.", "coco.json"),
    "png": ("One picture per image; the pixel value is the object's number.", "png"),
    "png-semantic": ("One picture per image; the pixel value is the class.", "png-classes"),
    "png-binary": ("One black and white picture per object.", "png-masks"),
    "yolo": ("Text files with polygons; holes are bridged.", "yolo"),
    "voc": ("XML boxes with object and class maps.", "voc"),
    "labelme": ("One JSON file with polygons per image.", "labelme"),
    "geojson": ("Outlines for QuPath.", "geojson"),
    "tiff": ("Label images for Fiji and napari.", "tiff"),
}


@dataclass(frozen=True)
class ExportChoice:
    """What the user decided."""

    format: str
    target: Path
    overwrite: bool


class ExportDialog(QDialog):
    """Use `ask`; it returns None where the user changed their mind."""

    def __init__(self, folder: Path, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export labels")
        self._folder = folder
        self.formats = QListWidget()
        self.formats.setAccessibleName("Format")
        for name, title in EXPORT_FORMATS.items():
            text = FORMATS.get(name, ("", name))[0]
            item = QListWidgetItem(f"{title}\n{text}")
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.formats.addItem(item)
        self.target = QLineEdit()
        self.overwrite = QCheckBox("Replace what is already there")
        self._problem = QLabel("")
        self._problem.setProperty("role", "bad")
        self._lay_out()
        self.formats.currentItemChanged.connect(self._format_changed)
        self.formats.setCurrentRow(0)
        self.resize(540, 520)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 18, 18, 14)
        column.setSpacing(12)
        column.addWidget(self.formats, 1)
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.target, 1)
        row.addWidget(browse)
        form = QFormLayout()
        form.addRow("Save as", row)
        column.addLayout(form)
        column.addWidget(self.overwrite)
        column.addWidget(self._problem)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.export_button = buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.export_button.setProperty("kind", "primary")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)

    @property
    def format(self) -> str:
        """The chosen format's name."""
        return str(self.formats.currentItem().data(Qt.ItemDataRole.UserRole))

    @Slot()
    def _format_changed(self) -> None:
        default = FORMATS.get(self.format, ("", self.format))[1]
        self.target.setText(str(self._folder / default))

    @Slot()
    def _browse(self) -> None:
        if self.format in FILE_FORMATS:
            path, _ = QFileDialog.getSaveFileName(self, "Export to", self.target.text())
        else:
            path = QFileDialog.getExistingDirectory(self, "Export to", str(self._folder))
        if path:
            self.target.setText(path)

    def accept(self) -> None:
        """Refuse what cannot work before the dialog closes."""
        target = Path(self.target.text().strip())
        if not target.is_absolute():
            self._problem.setText("Give the whole path, or use Browse.")
        elif target.exists() and not self.overwrite.isChecked() and _occupied(target):
            self._problem.setText(f"{target.name} exists already. Tick the box to replace it.")
        else:
            super().accept()

    @classmethod
    def ask(cls, folder: Path, parent: QWidget) -> ExportChoice | None:
        """Show the dialog."""
        dialog = cls(folder, parent)
        if dialog.exec() != QDialog.DialogCode.Accepted:
            return None
        target = Path(dialog.target.text().strip())
        return ExportChoice(dialog.format, target, dialog.overwrite.isChecked())


def _occupied(path: Path) -> bool:
    return path.is_file() or any(path.iterdir())
