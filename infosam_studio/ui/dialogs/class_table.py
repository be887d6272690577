"""The classes of a label file, and which classes of the project they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QHeaderView, QTableWidget
from PySide6.QtWidgets import QTableWidgetItem as Item

LEFT_OUT = "Leave out"
SHOWN = 500


class ClassTable(QTableWidget):
    """One row for each class: its name, its objects, and what it becomes."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__(0, 3)
        self._known = list(known)
        self.setAccessibleName("Classes of the labels")
        sides = {"In the labels": "Left", "Objects": "Right", "Becomes": "Left"}
        for column, (title, side) in enumerate(sides.items()):
            heading = Item(title)
            heading.setTextAlignment(
                Qt.AlignmentFlag[f"Align{side}"] | Qt.AlignmentFlag.AlignVCenter
            )
            self.setHorizontalHeaderItem(column, heading)
        header = self.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(36)
        self.setShowGrid(False)
        self.setMinimumHeight(180)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def show_classes(self, classes: Mapping[str, int]) -> None:
        """Rows for these classes and their numbers of objects, each becoming itself."""
        self.setVisible(bool(classes))
        chosen = sorted(classes.items(), key=lambda one: (-one[1], one[0]))[:SHOWN]
        self.setRowCount(len(chosen))
        for row, (name, count) in enumerate(chosen):
            number = Item(f"{count:,}")
            number.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            self.setItem(row, 0, Item(name))
            self.setItem(row, 1, number)
            self.setCellWidget(row, 2, self._targets(name))

    def _targets(self, name: str) -> QComboBox:
        """Itself (new, or of the project), another class of the project, nothing, or typed."""
        box = QComboBox()
        box.setAccessibleName(f"What {name} becomes")
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.addItem(name)
        for other in self._known:
            if other != name:
                box.addItem(other)
        box.addItem(LEFT_OUT)
        box.setItemData(box.count() - 1, True)
        return box

    def names(self) -> dict[str, str | None]:
        """Class of the file to class of the project, None to leave it out; others stay."""
        out: dict[str, str | None] = {}
        for row in range(self.rowCount()):
            cell, box = self.item(row, 0), self.cellWidget(row, 2)
            assert cell is not None
            assert isinstance(box, QComboBox)
            name = cell.text()
            text = box.currentText().strip()
            if text == LEFT_OUT:
                out[name] = None
            elif text and text != name:
                out[name] = text
        return out
