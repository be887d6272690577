"""The choices of an export; each format shows those that mean something to it."""

from __future__ import annotations

from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.interchange.exporting import ExportOptions

GEOMETRY = (
    ("auto", "Polygons where they are exact, else masks"),
    ("rle", "Masks (RLE) for all objects"),
    ("polygon", "Polygons for all objects"),
)
PRIORITY = (
    ("small", "The smaller object"),
    ("top", "The one on top"),
    ("large", "The larger object"),
)
PER = (("object", "One file for each object"), ("class", "One file for each class"))
HOLES = (("bridge", "Bridge them (same pixels)"), ("refuse", "Leave these objects out"))

_MAPS = frozenset({"png", "png-semantic", "voc", "tiff"})
_COPIES = frozenset({"yolo", "voc", "labelme"})


class ExportForm(QWidget):
    """`show_format` shows what the format can be asked; `options` gives the answers."""

    def __init__(self) -> None:
        super().__init__()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 2, 0, 0)
        self._column.setSpacing(6)
        self._rows: list[tuple[frozenset[str], list[QWidget]]] = []
        self.geometry_ = self._choice("Shapes", GEOMETRY, frozenset({"coco", "labelme"}))
        self.priority = self._choice("Where objects overlap, the pixel is of", PRIORITY, _MAPS)
        self.class_order = QLineEdit()
        self.class_order.setPlaceholderText("most important first, with commas")
        self._add("Classes above all others", self.class_order, _MAPS)
        self.per = self._choice("Files", PER, frozenset({"png-binary"}))
        self.holes = self._choice("Holes", HOLES, frozenset({"yolo"}))
        self._column.addSpacing(6)
        self.copy_images = self._check("Copy the images along", _COPIES)
        self.all_images = self._check("List unlabelled images too")
        self.suggestions = self._check("Write suggestions not yet reviewed")
        self.overwrite = self._check("Replace what is already there")
        self._note = QLabel(
            "Every export is read back and compared with the project, pixel by pixel."
        )
        self._note.setProperty("role", "muted")
        self._note.setWordWrap(True)
        self._column.addStretch(1)
        self._column.addWidget(self._note)

    def _choice(
        self, title: str, entries: tuple[tuple[str, str], ...], formats: frozenset[str]
    ) -> QComboBox:
        box = QComboBox()
        for value, text in entries:
            box.addItem(text, value)
        self._add(title, box, formats)
        return box

    def _add(self, title: str, widget: QWidget, formats: frozenset[str]) -> None:
        label = QLabel(title)
        label.setProperty("role", "muted")
        label.setBuddy(widget)
        widget.setAccessibleName(title)
        self._column.addWidget(label)
        self._column.addWidget(widget)
        self._rows.append((formats, [label, widget]))

    def _check(self, title: str, formats: frozenset[str] = frozenset()) -> QCheckBox:
        box = QCheckBox(title)
        self._column.addWidget(box)
        if formats:
            self._rows.append((formats, [box]))
        return box

    def show_format(self, name: str) -> None:
        """Show the choices of a format."""
        for formats, widgets in self._rows:
            for widget in widgets:
                widget.setVisible(name in formats)

    def show_occupied(self, occupied: bool) -> None:
        """Offer to replace only where there is something."""
        self.overwrite.setVisible(occupied)
        if not occupied:
            self.overwrite.setChecked(False)

    def options(self, name: str) -> ExportOptions:
        """The answers as the exporter takes them."""
        order = self.class_order.text().split(",") if name in _MAPS else []
        return ExportOptions(
            geometry=self.geometry_.currentData(),
            holes=self.holes.currentData(),
            priority=self.priority.currentData(),
            class_order=tuple(part.strip() for part in order if part.strip()),
            per=self.per.currentData(),
            copy_images=name in _COPIES and self.copy_images.isChecked(),
            all_images=self.all_images.isChecked(),
            suggestions=self.suggestions.isChecked(),
        )
