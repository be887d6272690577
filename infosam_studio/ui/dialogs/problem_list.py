"""What could not be read, folded away until somebody wants to know."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import QListWidget, QPushButton, QVBoxLayout, QWidget

from infosam_studio.interchange.reports import Problem, counted

SHOWN = 200


class ProblemList(QWidget):
    """A line that says how many items were left out; a click shows which, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.toggle = QPushButton()
        self.toggle.setProperty("kind", "link")
        self.toggle.setCheckable(True)
        self.list = QListWidget()
        self.list.setAccessibleName("Items that cannot be read")
        self.list.setFixedHeight(104)
        self.list.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.toggle, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self.list)
        self.toggle.toggled.connect(self._fold)
        self.show_problems([], 0)

    def show_problems(self, problems: Sequence[Problem], count: int) -> None:
        """The first of the problems, and how many there are."""
        self.setVisible(bool(count))
        self.toggle.setText(f"{counted(count, 'item')} left out or changed…")
        self.toggle.setChecked(False)
        self.list.hide()
        self.list.clear()
        self.list.addItems([f"{one.item}: {one.reason}" for one in problems[:SHOWN]])
        if count > len(problems[:SHOWN]):
            self.list.addItem(f"… and {count - len(problems[:SHOWN]):,} more")

    @Slot(bool)
    def _fold(self, shown: bool) -> None:
        self.list.setVisible(shown)
