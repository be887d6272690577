"""Export: choose a format and a place; the writing happens on its own thread."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.interchange.exporting import DEFAULT_EXPORT, ExportOptions
from infosam_studio.interchange.formats import EXPORT_FORMATS, FILE_FORMATS
from infosam_studio.ui.dialogs.export_options import ExportForm
from infosam_studio.ui.dialogs.plain_buttons import plain_buttons

# What each format is for, and what its file or folder is called by default.
FORMATS = {
    "coco": ("Exact masks with holes, parts and overlaps, in one file.", "coco.json"),
    "png": ("One picture per image; the pixel value is the object's number.", "png"),
    "png-semantic": ("One picture per image; the pixel value is the class.", "png-classes"),
    "png-binary": ("One black and white picture per object or class.", "png-masks"),
    "yolo": ("Text files with polygons; holes are bridged.", "yolo"),
    "voc": ("Object and class maps in the folders of a VOC data set.", "voc"),
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
    options: ExportOptions = DEFAULT_EXPORT

    def all_options(self) -> ExportOptions:
        """The options with the permission to overwrite."""
        return replace(self.options, overwrite=self.overwrite)


class ExportDialog(QDialog):
    """Use `ask`; it returns None where the user changed their mind."""

    def __init__(self, folder: Path, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export labels")
        self._folder = folder
        self.formats = QListWidget()
        self.formats.setAccessibleName("Format")
        self.formats.setWordWrap(True)
        for name, title in EXPORT_FORMATS.items():
            text = FORMATS.get(name, ("", name))[0]
            item = QListWidgetItem(f"{title}\n{text}")
            item.setData(Qt.ItemDataRole.UserRole, name)
            self.formats.addItem(item)
        self.target = QLineEdit()
        self.target.setAccessibleName("Save as")
        self.form = ExportForm()
        self.overwrite = self.form.overwrite
        self._problem = QLabel("")
        self._problem.setProperty("role", "bad")
        self._problem.setWordWrap(True)
        self._problem.hide()
        self._lay_out()
        self.formats.currentItemChanged.connect(self._format_changed)
        self.target.textChanged.connect(self._target_changed)
        self.formats.setCurrentRow(0)
        self.resize(780, 540)

    def _lay_out(self) -> None:
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        label = QLabel("Save as")
        label.setBuddy(self.target)
        row.addWidget(label)
        row.addWidget(self.target, 1)
        row.addWidget(browse)
        sides = QHBoxLayout()
        sides.setSpacing(16)
        sides.addWidget(self.formats, 5)
        sides.addWidget(self.form, 4)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        plain_buttons(buttons)
        self.export_button = buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.export_button.setProperty("kind", "primary")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(18, 18, 18, 14)
        column.setSpacing(12)
        column.addLayout(sides, 1)
        column.addLayout(row)
        column.addWidget(self._problem)
        column.addWidget(buttons)

    @property
    def format(self) -> str:
        """The chosen format's name."""
        return str(self.formats.currentItem().data(Qt.ItemDataRole.UserRole))

    @Slot()
    def _format_changed(self) -> None:
        default = FORMATS.get(self.format, ("", self.format))[1]
        self.target.setText(str(self._folder / default))
        self.form.show_format(self.format)

    @Slot()
    def _target_changed(self) -> None:
        """Say at once where something would be overwritten."""
        occupied = _occupied(self._place())
        self.form.show_occupied(occupied)
        text = "There is a file at that place already."
        if self.format not in FILE_FORMATS:
            text = "There are files in that folder already; those of other names stay."
        self._complain(text if occupied else "")

    def _complain(self, text: str) -> None:
        self._problem.setText(text)
        self._problem.setVisible(bool(text))

    def _place(self) -> Path:
        return Path(self.target.text().strip())

    @Slot()
    def _browse(self) -> None:
        if self.format in FILE_FORMATS:
            # The dialog's own question would come before ours, and only for files.
            path, _ = QFileDialog.getSaveFileName(
                self,
                "Export to",
                self.target.text(),
                options=QFileDialog.Option.DontConfirmOverwrite,
            )
        else:
            path = QFileDialog.getExistingDirectory(self, "Export to", str(self._folder))
        if path:
            self.target.setText(path)

    def accept(self) -> None:
        """Refuse what cannot work before the dialog closes."""
        target = self._place()
        if not target.is_absolute():
            self._complain("Give the whole path, or use Browse.")
        elif not self.overwrite.isChecked() and _occupied(target):
            self.form.show_occupied(True)
            self._complain(f"{target.name} exists already. Tick the box to replace it.")
        else:
            super().accept()

    def choice(self) -> ExportChoice:
        """What is chosen now."""
        return ExportChoice(
            self.format, self._place(), self.overwrite.isChecked(), self.form.options(self.format)
        )

    @classmethod
    def ask(cls, folder: Path, parent: QWidget) -> ExportChoice | None:
        """Show the dialog."""
        dialog = cls(folder, parent)
        chosen = dialog.exec() == QDialog.DialogCode.Accepted
        choice = dialog.choice() if chosen else None
        dialog.deleteLater()
        return choice


def _occupied(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:
        return False
