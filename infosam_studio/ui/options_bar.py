"""The strip above the canvas: what the active tool offers. Its height never changes."""

from __future__ import annotations

import math

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QStackedWidget,
    QToolButton,
    QWidget,
)

from infosam_studio.ui.draft import Draft

HEIGHT = 42
# No tool may ask for more: the canvas would grow, and the panels beside it would give way.
LEAST_WIDTH = 320
LARGEST_BRUSH = 400
BRUSH_STEPS = 200
# The single mask of a box or of several clicks, and the three that a lone click gets.
MOST_CANDIDATES = 4


class ElidedLabel(QLabel):
    """One line that ends in dots where there is no room; the tooltip says all of it."""

    def __init__(self) -> None:
        super().__init__("")
        self._full = ""

    def setText(self, text: str) -> None:
        self._full = text
        self.setToolTip(text)
        self._elide()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        room = self.fontMetrics().elidedText(self._full, Qt.TextElideMode.ElideRight, self.width())
        super().setText(room)


class OptionsBar(QFrame):
    """Hint or candidates on the left, accept and cancel on the right."""

    candidate_chosen = Signal(int)
    hover_toggled = Signal(bool)
    brush_resized = Signal(int)
    accept_wanted = Signal()
    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("options")
        self.setFixedHeight(HEIGHT)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 4, 10, 4)
        row.setSpacing(8)
        self._hint = ElidedLabel()
        self._hint.setProperty("role", "muted")
        self._hint.setMinimumWidth(10)
        self._left = QStackedWidget()
        self._left.addWidget(self._hint)
        self._left.addWidget(self._make_candidates())
        row.addWidget(self._left, 1)
        self._brush = self._make_brush()
        row.addWidget(self._brush)
        self.hover = QCheckBox("Preview")
        self.hover.setToolTip("Show what a click would give while the pointer moves")
        self.hover.setChecked(True)
        self.hover.toggled.connect(self.hover_toggled)
        row.addWidget(self.hover)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Drop the unfinished object (Esc)")
        self.cancel.clicked.connect(self.cancel_wanted)
        self.accept = QPushButton("Accept")
        self.accept.setProperty("kind", "primary")
        self.accept.setToolTip("Keep this object (Enter)")
        self.accept.clicked.connect(self.accept_wanted)
        for button in (self.cancel, self.accept):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            row.addWidget(button)
        self.show_draft(None)

    def minimumSizeHint(self) -> QSize:
        """The same for every tool and draft, so that nothing beside the canvas ever moves."""
        return QSize(LEAST_WIDTH, HEIGHT)

    def _make_candidates(self) -> QWidget:
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self._clicks = QLabel("")
        self._clicks.setProperty("role", "muted")
        row.addWidget(self._clicks)
        self._group = QButtonGroup(self)
        self._buttons = []
        for index in range(MOST_CANDIDATES):
            button = QToolButton()
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setAccessibleName(f"Candidate {index + 1}")
            self._group.addButton(button, index)
            self._buttons.append(button)
            row.addWidget(button)
        self._group.idClicked.connect(self.candidate_chosen)
        self._waiting = QLabel("")
        self._waiting.setProperty("role", "muted")
        row.addWidget(self._waiting)
        row.addStretch(1)
        return box

    def _make_brush(self) -> QWidget:
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        label = QLabel("Size")
        self.brush_size = QSlider(Qt.Orientation.Horizontal)
        self.brush_size.setRange(0, BRUSH_STEPS)
        self.brush_size.setMinimumWidth(70)
        self.brush_size.setMaximumWidth(140)
        self.brush_size.setAccessibleName("Brush size")
        self.brush_size.setToolTip("Brush size ([ and ], or Shift and wheel)")
        self.brush_size.valueChanged.connect(self._brush_moved)
        self._brush_text = QLabel("")
        self._brush_text.setFixedWidth(48)
        label.setBuddy(self.brush_size)
        for widget in (label, self.brush_size, self._brush_text):
            row.addWidget(widget)
        box.hide()
        return box

    def show_tool(self, hint: str, *, brush: bool = False, hover: bool = False) -> None:
        """What the chosen tool needs."""
        self._hint.setText(hint)
        self._brush.setVisible(brush)
        self.hover.setVisible(hover)

    def show_brush_size(self, size: int) -> None:
        """The brush's diameter in image pixels."""
        self.brush_size.blockSignals(True)  # a step of the slider is not exactly this size
        self.brush_size.setValue(step_of(size))
        self.brush_size.blockSignals(False)
        self.brush_resized.emit(size)
        self._brush_text.setText(f"{size} px")

    @Slot(int)
    def _brush_moved(self, step: int) -> None:
        size = size_of(step)
        self._brush_text.setText(f"{size} px")
        self.brush_resized.emit(size)

    def show_draft(self, draft: Draft | None, count: int = 1) -> None:
        """Candidates and buttons for the object worked on; None shows the hint.

        ``count`` is how many objects are unfinished on this image, this one among them.
        """
        active = draft is not None
        self.accept.setEnabled(active)
        self.accept.setText(f"Accept {count}" if active and count > 1 else "Accept")
        self.cancel.setEnabled(active)
        self._left.setCurrentIndex(1 if active else 0)
        if draft is None:
            return
        clicks = "1 click" if draft.clicks == 1 else f"{draft.clicks} clicks"
        self._clicks.setText(f"{count} objects, this one {clicks}" if count > 1 else clicks)
        step = draft.current
        candidates = step.candidates if step is not None else ()
        # One mask leaves nothing to choose, and a predicted IoU means something only for a choice.
        several = len(candidates) > 1
        for index, button in enumerate(self._buttons):
            button.setVisible(several and index < len(candidates))
            if index < len(candidates):
                self._show_candidate(button, index, candidates[index].score)
        if candidates and step is not None:
            self._buttons[step.chosen].setChecked(True)
        self._waiting.setText(_remark(draft))

    def _show_candidate(self, button: QToolButton, index: int, score: float) -> None:
        if score != score:  # restored after a crash: the score is not known any more
            button.setText(f"{index + 1}")
            button.setToolTip(f"Candidate {index + 1}. Tab shows the next one.")
            return
        score = min(max(score, 0.0), 1.0)  # a regression, so it may leave the range of an IoU
        percent = f"{100 * score:.0f} %"
        button.setText(f"{index + 1}   {percent}")
        button.setToolTip(
            f"Candidate {index + 1}: the model expects {percent} overlap (IoU) with the object."
            " Tab shows the next one."
        )


def size_of(step: int) -> int:
    """The brush's diameter at a step of the slider: small brushes have most of its length."""
    return max(1, round(LARGEST_BRUSH * (step / BRUSH_STEPS) ** 2))


def step_of(size: int) -> int:
    """The step of the slider for a diameter."""
    return round(BRUSH_STEPS * math.sqrt(size / LARGEST_BRUSH))


def _remark(draft: Draft) -> str:
    """What stands beside the candidates."""
    if draft.waiting():
        return "Predicting…"
    return "Tab shows other masks" if draft.wants_more() else ""
