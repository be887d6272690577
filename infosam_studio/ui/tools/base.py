"""What every tool of the canvas answers to."""

from __future__ import annotations

from PySide6.QtCore import QObject, QPointF, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent


class Tool(QObject):
    """Gets the pointer while it is active; positions are image pixels with fractions."""

    name = ""
    title = ""
    hint = ""
    has_size = False
    cursor: Qt.CursorShape = Qt.CursorShape.CrossCursor

    def activate(self) -> None:
        """The tool was chosen."""

    def deactivate(self) -> None:
        """Another tool was chosen: drop whatever is half done."""

    def press(self, position: QPointF, event: QMouseEvent) -> None:
        """A button went down."""

    def move(self, position: QPointF, event: QMouseEvent) -> None:
        """The pointer moved, with or without a button."""

    def release(self, position: QPointF, event: QMouseEvent) -> None:
        """A button went up."""

    def double_click(self, position: QPointF, event: QMouseEvent) -> bool:
        """A double click; False lets it count as another press."""
        return False

    def leave(self) -> None:
        """The pointer left the canvas."""

    def wheel(self, steps: int) -> bool:
        """Shift and wheel; False lets the canvas zoom."""
        return False

    def key(self, event: QKeyEvent) -> bool:
        """A key while the canvas has the focus; True where the tool used it."""
        return False

    def accept(self) -> bool:
        """Enter; False accepts the unfinished object."""
        return False

    def cancel(self) -> bool:
        """Esc; False drops the unfinished object."""
        return False

    def tab(self, direction: int) -> bool:
        """Tab (1) or Shift+Tab (-1); True where the tool used it."""
        return False
