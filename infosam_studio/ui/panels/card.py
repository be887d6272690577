"""The result of an adaptation in the user's currency, and the curves while it runs."""

from __future__ import annotations

import re
from typing import Any

from PySide6.QtCore import QPointF, QRectF, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from infosam_studio.ui.theme import theme
from infosam_studio.ui.workers_adapt import Ended


class Curves(QWidget):
    """Loss and validation IoU of the run, each on its own scale."""

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[float] = []
        self._ious: list[float] = []
        self.setAccessibleName("Training curves")
        self.setFixedHeight(86)

    def show_values(self, losses: list[float], ious: list[float]) -> None:
        """The values from the first step to the newest."""
        self._losses, self._ious = losses, ious
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        tokens = theme().tokens
        box = QRectF(self.rect()).adjusted(2, 18, -2, -4)
        painter.setPen(QColor(tokens.border))
        painter.drawLine(box.bottomLeft(), box.bottomRight())
        self._curve(painter, box, self._losses, tokens.faint)
        self._curve(painter, box, self._ious, tokens.accent)
        painter.setPen(QColor(tokens.muted))
        painter.drawText(QPointF(2, 12), "Loss")
        if self._ious:
            painter.setPen(QColor(tokens.accent))
            painter.drawText(QPointF(44, 12), f"IoU on held-out objects {self._ious[-1]:.2f}")

    def _curve(self, painter: QPainter, box: QRectF, values: list[float], color: str) -> None:
        if not values:
            return
        low, high = min(values), max(values)
        spread = (high - low) or 1.0
        step = box.width() / max(1, len(values) - 1)
        points = [
            QPointF(
                box.left() + i * step, box.bottom() - 3 - (v - low) / spread * (box.height() - 6)
            )
            for i, v in enumerate(values)
        ]
        painter.setPen(QPen(QColor(color), 1.8))
        painter.drawPolyline(QPolygonF(points))
        painter.drawEllipse(points[-1], 1.5, 1.5)


class ResultCard(QFrame):
    """What came out, and the one thing to do about it."""

    use_wanted = Signal(str)
    back_wanted = Signal()
    retry_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 12, 10)
        column.setSpacing(5)
        self._title, self._figures, self._reason = QLabel(), QLabel(), QLabel()
        self._title.setProperty("role", "heading")
        self._figures.setWordWrap(True)
        self._reason.setProperty("role", "muted")
        for label in (self._title, self._figures, self._reason):
            label.setWordWrap(True)
            column.addWidget(label)
        self._button = QPushButton()
        self._button.clicked.connect(self._pressed)
        row = QHBoxLayout()
        row.addWidget(self._button)
        row.addStretch(1)
        column.addLayout(row)
        self._kind, self._name = "", ""
        self.hide()

    @property
    def text(self) -> str:
        """Everything the card says."""
        words = (self._title.text(), self._figures.text(), self._reason.text())
        return re.sub("<[^>]*>", " ", ". ".join(one for one in words if one)).replace("  ", " ")

    def show_end(self, ended: Ended | None, in_use: str | None) -> None:
        """Show how a run ended; None hides the card."""
        self.setVisible(ended is not None and not (ended.cancelled and ended.result is None))
        if ended is None:
            return
        if ended.result is None:
            self._show_problem(ended)
            return
        result = ended.result
        self._name = str(result["adapter"])
        used = in_use == self._name
        promoted = bool(result.get("promoted"))
        gate: dict[str, Any] = result.get("gate") or {}
        proof = "" if gate.get("proven") or not promoted else " (unproven)"
        self._title.setText(
            f"{self._name} is in use{proof}" if used else f"{self._name} stays unused"
        )
        self._figures.setText(figures(result))
        self._reason.setText(str(gate.get("reason", "")))
        self._kind = "back" if used else "use"
        self._button.setText("Roll back" if used else ("Use it" if promoted else "Use anyway"))

    def _show_problem(self, ended: Ended) -> None:
        self._title.setText("No new version")
        self._figures.setText(ended.problem)
        self._reason.setText("")
        self._kind = "retry"
        self._button.setText("Try again")
        self.setToolTip("\n".join(ended.log[-12:]))

    @Slot()
    def _pressed(self) -> None:
        if self._kind == "use":
            self.use_wanted.emit(self._name)
        elif self._kind == "back":
            self.back_wanted.emit()
        else:
            self.retry_wanted.emit()


def figures(result: dict[str, Any]) -> str:
    """The paired figures of a run: clicks per object, IoU after one click, how many tested."""
    before, after = result.get("before") or {}, result.get("after") or {}
    lines = []
    if "noc85" in before and "noc85" in after:
        lines.append(f"<b>{before['noc85']:.1f} → {after['noc85']:.1f}</b> clicks per object")
    if before.get("miou_at") and after.get("miou_at"):
        first, second = before["miou_at"][0], after["miou_at"][0]
        lines.append(f"IoU after 1 click <b>{first:.2f} → {second:.2f}</b>")
    gate = result.get("gate") or {}
    if gate.get("objects"):
        objects, images = gate["objects"], gate.get("images", 0)
        what = f"{objects} object{'s' * (objects != 1)} on {images} image{'s' * (images != 1)}"
        interval = gate.get("interval")
        if interval:
            what += f", gain {interval[0]:+.1f} to {interval[1]:+.1f} (90 %)"
        lines.append(what)
    return "<br>".join(lines)


def gain_in_clicks(result: dict[str, Any]) -> str:
    """The gain in clicks per object, as far as it was measured."""
    before, after = result.get("before") or {}, result.get("after") or {}
    if "noc85" in before and "noc85" in after:
        return f"{before['noc85']:.1f} → {after['noc85']:.1f} clicks per object."
    return "not compared."
