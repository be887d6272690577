"""The result of an adaptation in the user's currency, and the one thing to do about it."""

from __future__ import annotations

import html
import re
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from infosam_studio.ui.panels.frame import IconButton
from infosam_studio.ui.theme import theme
from infosam_studio.ui.workers_adapt import Ended

MOST_CLASSES = 8
IOU = "IoU: how well a mask covers the true object, from 0 (not at all) to 1 (exactly)"
# A dock is narrow, and these must not be torn apart.
ARROW, TO = "&nbsp;→&nbsp;", "&nbsp;to&nbsp;"


class ResultCard(QFrame):
    """Promoted, unproven, refused, failed or cut off: each with its figures and its button."""

    use_wanted = Signal(str)
    back_wanted = Signal()
    retry_wanted = Signal()
    log_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("card")
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 8, 10)
        column.setSpacing(5)
        self._title, self._figures, self._reason = QLabel(), QLabel(), QLabel()
        self._badge, self._classes = QLabel(), QLabel()
        self._figures.setToolTip(IOU)
        self._classes.setToolTip(IOU)
        self._title.setProperty("role", "heading")
        self._reason.setProperty("role", "muted")
        close = IconButton("close", "Hide this card")
        close.clicked.connect(self._dismiss)
        top = QHBoxLayout()
        top.addWidget(self._title, 1)
        top.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(top)
        labels = (self._title, self._badge, self._figures, self._classes, self._reason)
        for label in labels:
            label.setWordWrap(True)
        self._button, self._log = QPushButton(), QPushButton("Log")
        self._log.setProperty("kind", "link")
        self._button.clicked.connect(self._pressed)
        self._log.clicked.connect(self.log_wanted)
        row = QHBoxLayout()
        row.addWidget(self._button)
        row.addStretch(1)
        row.addWidget(self._log)
        # What can be done comes before the details: a low dock shows it without scrolling.
        column.addWidget(self._badge)
        column.addWidget(self._figures)
        column.addLayout(row)
        column.addWidget(self._classes)
        column.addWidget(self._reason)
        self._kind, self._name = "", ""
        self._shown: tuple[Ended, str | None] | None = None
        theme().changed.connect(self._again)
        self.hide()

    @property
    def text(self) -> str:
        """Everything the card says."""
        labels = (self._title, self._badge, self._figures, self._classes, self._reason)
        words = [label.text() for label in labels if label.text()]
        plain = html.unescape(re.sub("<[^>]*>", " ", ". ".join(words)))
        return re.sub(r"\s+", " ", plain).replace("..", ".")

    @property
    def button(self) -> QPushButton:
        """Use, roll back or try again."""
        return self._button

    def show_end(self, ended: Ended | None, in_use: str | None) -> None:
        """Show how a run ended; None hides the card."""
        self._shown = None if ended is None else (ended, in_use)
        self.setVisible(ended is not None)
        if ended is None:
            return
        if ended.result is None:
            self._show_problem(ended)
            return
        self._show_result(ended, ended.result, in_use)

    def _show_result(self, ended: Ended, result: dict[str, Any], in_use: str | None) -> None:
        self._name = str(result["adapter"])
        used, promoted = in_use == self._name, bool(result.get("promoted"))
        gate: dict[str, Any] = result.get("gate") or {}
        self._title.setText(f"{self._name} is in use" if used else _unused(self._name, ended))
        self._mark(*_badge(gate, promoted=promoted))
        self._figures.setText(figures(result))
        self._classes.setText(per_class(result))
        self._classes.setVisible(bool(self._classes.text()))
        self._reason.setText(_why(ended, gate, promoted=promoted, used=used))
        self._reason.setVisible(bool(self._reason.text()))
        self._kind = "back" if used else "use"
        self._button.setText("Roll back" if used else ("Use it" if promoted else "Use anyway"))
        self._button.setToolTip("")

    def _show_problem(self, ended: Ended) -> None:
        self._title.setText("Stopped" if ended.cancelled else "No new version")
        self._badge.hide()
        self._classes.hide()
        problem = "Nothing has changed." if ended.cancelled else ended.problem
        self._figures.setText(html.escape(problem))
        self._reason.hide()
        self._kind = "retry"
        self._button.setText("Go on" if ended.cancelled or ended.offered else "Try again")
        self._button.setToolTip(
            "Goes on where it stopped, unless the labels have changed" if ended.interrupted else ""
        )

    def _mark(self, text: str, role: str) -> None:
        self._badge.setText(text)
        self._badge.setProperty("role", role)
        self._badge.style().unpolish(self._badge)
        self._badge.style().polish(self._badge)
        self._badge.show()

    @Slot()
    def _again(self) -> None:
        """Colours inside texts follow the theme."""
        if self._shown is not None and self.isVisible():
            self.show_end(*self._shown)

    @Slot()
    def _dismiss(self) -> None:
        self.hide()

    @Slot()
    def _pressed(self) -> None:
        if self._kind == "use":
            self.use_wanted.emit(self._name)
        elif self._kind == "back":
            self.back_wanted.emit()
        else:
            self.retry_wanted.emit()


def _unused(name: str, ended: Ended) -> str:
    return f"{name} is ready" if ended.offered else f"{name} stays unused"


def _badge(gate: dict[str, Any], *, promoted: bool) -> tuple[str, str]:
    """What the gate found, in two words and a colour."""
    if promoted:
        return ("Proven better", "good") if gate.get("proven") else ("Better, unproven", "warn")
    return ("Not better" if gate else "Not compared", "muted")


def _why(ended: Ended, gate: dict[str, Any], *, promoted: bool, used: bool) -> str:
    # The interval stands among the figures already.
    reason = html.escape(re.sub(r" \(90 % interval [^)]*\)", "", str(gate.get("reason", ""))))
    if ended.offered:
        return f"It was finished without the window. {reason}"
    if promoted and not used and ended.wish.automatic:
        return f"{reason} Runs by themselves put only proven versions in use."
    if promoted and not used and ended.cancelled:
        return f"{reason} It was finished before it could be stopped."
    return reason


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
        lines.append(
            f"Tested on {objects} object{'s' * (objects != 1)} on {images} "
            f"image{'s' * (images != 1)}"
        )
    if gate.get("interval"):
        lines.append(interval(gate))
    return "<br>".join(lines)


def interval(gate: dict[str, Any]) -> str:
    """The 90 % interval of the gain, with its unit."""
    low, high = gate["interval"]
    if gate.get("figure", "noc85") == "iou":
        return f"90 % interval of the gain: {low:+.3f}{TO}{high:+.3f}&nbsp;IoU"
    return f"90 % interval of the gain: {low:+.1f}{TO}{high:+.1f}&nbsp;clicks"


def per_class(result: dict[str, Any]) -> str:
    """A small table of clicks per object by class; empty with a single class."""
    found = result.get("per_class") or {}
    before, after = found.get("before") or {}, found.get("after") or {}
    names = sorted(set(before) & set(after), key=lambda name: -after[name].get("objects", 0))
    if len(names) < 2:
        return ""
    tokens, rows = theme().tokens, []
    for name in names[:MOST_CLASSES]:
        old, new = before[name], after[name]
        gain = old.get("noc85", 0.0) - new.get("noc85", 0.0)
        color = tokens.good if gain > 0.05 else tokens.bad if gain < -0.05 else tokens.text
        rows.append(
            f"<tr><td>{html.escape(name)}&nbsp;&nbsp;</td>"
            f'<td align="right" style="color:{color}">{old.get("noc85", 0):.1f}{ARROW}'
            f"{new.get('noc85', 0):.1f}&nbsp;&nbsp;</td>"
            f'<td align="right">{_first(old):.2f}{ARROW}{_first(new):.2f}&nbsp;&nbsp;</td>'
            f'<td align="right" style="color:{tokens.muted}">{new.get("objects", 0)}</td></tr>'
        )
    more = len(names) - MOST_CLASSES
    rest = f"<tr><td>{more} more classes</td></tr>" if more > 0 else ""
    muted = f'style="color:{tokens.muted}"'
    head = (
        f"<tr><td {muted}>Class</td><td {muted}>clicks&nbsp;&nbsp;</td>"
        f"<td {muted}>IoU@1&nbsp;&nbsp;</td><td {muted}>n</td></tr>"
    )
    return f"<table cellspacing='2'>{head}{''.join(rows)}{rest}</table>"


def _first(figures_of_class: dict[str, Any]) -> float:
    ious = figures_of_class.get("miou_at") or [0.0]
    return float(ious[0])


def gain_in_clicks(result: dict[str, Any]) -> str:
    """The gain in clicks per object, as far as it was measured."""
    before, after = result.get("before") or {}, result.get("after") or {}
    if "noc85" in before and "noc85" in after:
        return f"{before['noc85']:.1f} → {after['noc85']:.1f} clicks per object."
    return "not compared."
