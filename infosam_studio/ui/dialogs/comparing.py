"""Two versions side by side, in the figures their manifests keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui.workers_versions import VersionRow


class CompareDialog(QDialog):
    """The version in use on the left, the other one on the right."""

    use_wanted = Signal(object)

    def __init__(self, left: VersionRow, right: VersionRow, parent: QWidget) -> None:
        super().__init__(parent)
        self._right = right
        self.setWindowTitle("Compare versions")
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 18, 20, 14)
        column.setSpacing(12)
        grid = QGridLayout()
        grid.setHorizontalSpacing(26)
        grid.setVerticalSpacing(6)
        for place, row in ((1, left), (2, right)):
            label = QLabel(_title(row))
            label.setProperty("role", "heading")
            grid.addWidget(label, 0, place, Qt.AlignmentFlag.AlignRight)
        self.lines = compared(left, right)
        for number, texts in enumerate(self.lines, start=1):
            self._add(grid, number, texts)
        column.addLayout(grid)
        note = QLabel(_note(left, right))
        note.setProperty("role", "muted")
        note.setWordWrap(True)
        column.addWidget(note)
        buttons = QDialogButtonBox()
        buttons.addButton("Close", QDialogButtonBox.ButtonRole.RejectRole)
        use = buttons.addButton(f"Use {_title(right)}", QDialogButtonBox.ButtonRole.AcceptRole)
        use.setEnabled(not right.problem)
        buttons.accepted.connect(self._use)
        buttons.rejected.connect(self.reject)
        column.addWidget(buttons)
        self.setMinimumWidth(420)

    def _add(self, grid: QGridLayout, number: int, texts: tuple[str, ...]) -> None:
        for place, text in enumerate(texts):
            label = QLabel(text)
            if place == 0:
                label.setProperty("role", "muted")
            side = Qt.AlignmentFlag.AlignLeft if place == 0 else Qt.AlignmentFlag.AlignRight
            grid.addWidget(label, number, place, side)

    @Slot()
    def _use(self) -> None:
        self.use_wanted.emit(self._right.name if self._right.path is not None else None)
        self.accept()


def compared(left: VersionRow, right: VersionRow) -> list[tuple[str, ...]]:
    """Title and both values of every line that at least one of the two can fill.

    The base model has the figures that the other one was compared with, where that was the base.
    """
    figures = (_figures(left, right), _figures(right, left))
    lines: list[tuple[str, ...]] = []
    for title, key in (("Clicks to IoU 0.85", "noc85"), ("Clicks to IoU 0.90", "noc90")):
        lines.append((title, *(_number(one.get(key), 2) for one in figures)))
    ious = [one.get("miou_at") or [] for one in figures]
    for clicks in (1, 2, 3, 5, 8):
        values = [_number(one[clicks - 1] if len(one) >= clicks else None, 3) for one in ious]
        plural = "s" * (clicks > 1)
        lines.append((f"IoU after {clicks} click{plural}", values[0], values[1]))
    lines.append(("IoU from a box", *(_number(one.get("box_miou"), 3) for one in figures)))
    for name in _classes(left, right):
        lines.append((f"{name}: clicks", *(_of_class(one, name) for one in (left, right))))
    lines.append(("Objects learnt from", *(_labels(one) for one in (left, right))))
    lines.append(("Method", *(one.method or "–" for one in (left, right))))
    lines.append(("Remark", *(one.remark or "–" for one in (left, right))))
    return [line for line in lines if line[1] != "–" or line[2] != "–"]


def _figures(row: VersionRow, other: VersionRow) -> dict[str, Any]:
    if row.path is None:
        return dict(other.before) if other.notes.get("compared_with", "?") is None else {}
    return dict(row.after)


def _classes(left: VersionRow, right: VersionRow) -> list[str]:
    found = [set(one.per_class.get("after") or {}) for one in (left, right)]
    names = sorted(found[0] | found[1])
    return names if len(names) > 1 else []


def _of_class(row: VersionRow, name: str) -> str:
    return _number(((row.per_class.get("after") or {}).get(name) or {}).get("noc85"), 2)


def _labels(row: VersionRow) -> str:
    objects = row.notes.get("train_objects")
    return str(objects) if objects else "–"


def _number(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "–"


def _title(row: VersionRow) -> str:
    return row.name if row.path is not None else f"{Path(row.name).stem} (base)"


def _note(left: VersionRow, right: VersionRow) -> str:
    tests = {one.gate.get("objects") for one in (left, right) if one.path is not None}
    text = "Measured by simulated clicks on the images kept aside, when each version was made."
    if len(tests) > 1:
        text += " The two were tested on different numbers of objects."
    return text
