"""The suggestions dock: make them, choose how sure they have to be, review them."""

from __future__ import annotations

import html

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui.actions import Actions
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.suggestion_rules import is_suggestion
from infosam_studio.ui.suggestions import Suggestions


class SuggestPanel(Panel):
    """Works with the keyboard too: Q next, Enter accept, Del dismiss."""

    def __init__(self, suggestions: Suggestions, actions: Actions, parent: QWidget) -> None:
        super().__init__("suggest", "Suggestions", parent, scrollable=True)
        self._suggestions, self._actions = suggestions, actions
        self.scope = QComboBox()
        self.scope.setAccessibleName("Images to suggest masks on")
        for text, name in (
            ("This image", "image"),
            ("The next 10 images to do", "few"),
            ("All images to do", "all"),
        ):
            self.scope.addItem(text, name)
        self.button = QPushButton("Suggest masks")
        self.button.setProperty("kind", "primary")
        self.button.clicked.connect(self._pressed)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self._state = QLabel("")
        self._state.setProperty("role", "muted")
        self._state.setWordWrap(True)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("How sure a suggestion has to be, in percent")
        self.slider.setRange(30, 95)
        self.slider.setValue(round(100 * suggestions.shown_from))
        self.slider.valueChanged.connect(self._slid)
        self._least = QLabel("")
        self.accept, self.dismiss = QPushButton("Accept all"), QPushButton("Dismiss all")
        self.accept.clicked.connect(actions["accept_suggestions"].trigger)
        self.dismiss.clicked.connect(actions["dismiss_suggestions"].trigger)
        self._hint = QLabel("")
        self._hint.setProperty("role", "muted")
        self._hint.setWordWrap(True)
        self._lay_out()
        suggestions.changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        for widget in (self.scope, self.button, self.progress, self._state):
            self.column.addWidget(widget)
        self.column.setSpacing(8)
        self._review = QWidget()
        column = QVBoxLayout(self._review)
        column.setContentsMargins(0, 4, 0, 0)
        column.setSpacing(8)
        row = QHBoxLayout()
        name = QLabel("At least")
        name.setBuddy(self.slider)
        row.addWidget(name)
        row.addWidget(self.slider, 1)
        row.addWidget(self._least)
        column.addLayout(row)
        both = QHBoxLayout()
        both.addWidget(self.accept)
        both.addWidget(self.dismiss)
        column.addLayout(both)
        column.addWidget(self._hint)
        self.column.addWidget(self._review)
        self.column.addStretch(1)

    @Slot()
    def refresh(self) -> None:
        """Show how far a run is, and what there is to review on this image."""
        suggestions = self._suggestions
        running = suggestions.running
        self.progress.setVisible(running)
        if running:
            done, of = suggestions.progress
            self.progress.setRange(0, of)
            self.progress.setValue(done)
        self.scope.setEnabled(not running)
        self.button.setText("Cancel" if running else "Suggest masks")
        self.button.setProperty("kind", "" if running else "primary")
        self.button.style().unpolish(self.button)
        self.button.style().polish(self.button)
        missing = suggestions.needs()
        self.button.setEnabled(running or not missing)
        shown = len(suggestions.here())
        everything = sum(1 for one in suggestions.objects() if is_suggestion(one))
        self._state.setText(self._words(running, missing, shown, everything))
        self._review.setVisible(everything > 0)
        self._least.setText(f"{self.slider.value()} % sure")
        self.accept.setEnabled(shown > 0)
        self.accept.setText(f"Accept {shown}" if shown else "Accept all")
        self.dismiss.setEnabled(everything > 0)
        self._hint.setText(self._keys() if everything else "")
        self.set_count(str(shown) if shown else "")

    def _words(self, running: bool, missing: str, shown: int, everything: int) -> str:
        if running:
            return "Looking… you can go on labelling."
        if missing:
            return missing
        if not everything:
            return "Nothing to review on this image."
        hidden = everything - shown
        return f"{shown} to review here" + (f", {hidden} less sure ones hidden." if hidden else ".")

    def _keys(self) -> str:
        names = {name: self._actions[name].shortcut().toString(NATIVE) for name in _KEYS}
        rows = "".join(
            f"<tr><td><b>{html.escape(names[name])}</b>&nbsp;&nbsp;</td><td>{text}</td></tr>"
            for name, text in _KEYS.items()
        )
        return f"<table>{rows}</table>"

    @Slot()
    def _pressed(self) -> None:
        if self._suggestions.running:
            self._suggestions.cancel()
        else:
            self._suggestions.start(self.scope.currentData())

    @Slot(int)
    def _slid(self, value: int) -> None:
        self._suggestions.show_from(value / 100)
        self.refresh()


NATIVE = QKeySequence.SequenceFormat.NativeText
_KEYS = {
    "next_suggestion": "the next one",
    "accept": "accept it",
    "refine": "correct it with clicks",
    "delete": "dismiss it",
}
