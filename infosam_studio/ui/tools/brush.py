"""Brush and eraser on the full-resolution mask."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPen
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.crops import Rect
from infosam_studio.ui.editing import Editing
from infosam_studio.ui.tools.base import Tool
from infosam_studio.ui.tools.stroke_buffer import StrokeBuffer

LARGEST = 400


class BrushRing(QGraphicsItem):
    """The brush's size and place."""

    def __init__(self) -> None:
        super().__init__()
        self._radius = 10.0
        self._erases = False
        self.setZValue(6)
        self.hide()

    def set_brush(self, radius: float, erases: bool) -> None:
        """Radius in image pixels; red where it takes away."""
        self.prepareGeometryChange()
        self._radius, self._erases = radius, erases
        self.update()

    def boundingRect(self) -> QRectF:
        reach = self._radius + 3
        return QRectF(-reach, -reach, 2 * reach, 2 * reach)

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = QColor("#ff6b72") if self._erases else QColor("#ffffff")
        for shade, width in ((QColor(0, 0, 0, 160), 3.0), (color, 1.4)):
            pen = QPen(shade, width)
            pen.setCosmetic(True)
            painter.setPen(pen)
            painter.drawEllipse(QPointF(0, 0), self._radius, self._radius)


class BrushTool(Tool):
    """Left paints, right (or Shift, Alt) erases; the eraser does the opposite."""

    name = "brush"
    title = "Brush"
    hint = "Paint the object; right button erases. [ and ] change the size"
    cursor = Qt.CursorShape.BlankCursor
    has_size = True
    erases = False

    size_changed = Signal(int)

    def __init__(
        self, view: CanvasView, layers: CanvasLayers, editing: Editing, ring: BrushRing
    ) -> None:
        super().__init__(view)
        self._view, self._layers, self._editing, self._ring = view, layers, editing, ring
        self.size = 20
        self._work: StrokeBuffer | None = None
        self._value = 1
        self._last = QPointF()

    def activate(self) -> None:
        self._ring.set_brush(self.size / 2, self.erases)

    def deactivate(self) -> None:
        self._work = None
        self._layers.end_stroke()
        self._ring.hide()

    def leave(self) -> None:
        if self._work is None:
            self._ring.hide()

    def set_size(self, size: int) -> None:
        """The diameter in image pixels."""
        self.size = max(1, min(LARGEST, size))
        self._ring.set_brush(self.size / 2, self.erases)
        self.size_changed.emit(self.size)

    def wheel(self, steps: int) -> bool:
        self.set_size(self.size + steps * max(1, self.size // 8))
        return True

    def key(self, event: QKeyEvent) -> bool:
        if event.key() not in (Qt.Key.Key_BracketLeft, Qt.Key.Key_BracketRight):
            return False
        self.wheel(1 if event.key() == Qt.Key.Key_BracketRight else -1)
        return True

    # strokes -----------------------------------------------------------------------------

    def press(self, position: QPointF, event: QMouseEvent) -> None:
        modifiers = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier
        inverted = event.button() == Qt.MouseButton.RightButton or event.modifiers() & modifiers
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._layers.select_at(position, False)
            return
        self._value = int(bool(self.erases) == bool(inverted))
        self._work = StrokeBuffer(self._editing.target(), *self._view.image_size)
        self._ring.set_brush(self.size / 2, self._value == 0)
        self._last = position
        self._stamp(position, position)

    def move(self, position: QPointF, event: QMouseEvent) -> None:
        self._ring.setPos(position)
        self._ring.show()
        if self._work is not None:
            self._stamp(self._last, position)
            self._last = position

    def release(self, position: QPointF, event: QMouseEvent) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        self._editing.apply(work.finished(), "Brush" if self._value else "Erase")
        self._layers.end_stroke()
        self._ring.set_brush(self.size / 2, self.erases)

    def _stamp(self, start: QPointF, end: QPointF) -> None:
        """Paint from one point to the next and show what changed."""
        work = self._work
        if work is None:
            return
        radius = self.size / 2
        reach = radius + 2
        dirty: Rect = (
            int(min(start.x(), end.x()) - reach),
            int(min(start.y(), end.y()) - reach),
            int(max(start.x(), end.x()) + reach) + 1,
            int(max(start.y(), end.y()) + reach) + 1,
        )
        if self._value:
            work.cover(dirty)
        if work.pixels.size:
            corner = QPointF(work.x0, work.y0)
            _line(work.pixels, start - corner, end - corner, self.size, self._value)
            self._layers.show_stroke(self._editing.target_key, work.crop, dirty)


def _line(work: np.ndarray, start: QPointF, end: QPointF, size: int, value: int) -> None:
    """A line as wide as the brush, in the buffer's coordinates."""
    if size > 2:
        _thick_line(work, start, end, size / 2, value)
        return
    first = (int(start.x() // 1), int(start.y() // 1))
    last = (int(end.x() // 1), int(end.y() // 1))
    cv2.line(work, first, last, value, size)


def _thick_line(work: np.ndarray, start: QPointF, end: QPointF, radius: float, value: int) -> None:
    """A line with round ends; coordinates are corner based, in sixteenths of a pixel."""
    scale = 16

    def fixed(point: QPointF) -> tuple[int, int]:
        return round((point.x() - 0.5) * scale), round((point.y() - 0.5) * scale)

    first, last = fixed(start), fixed(end)
    reach = round(max(0.0, radius - 0.5) * scale)
    cv2.circle(work, last, reach, value, -1, cv2.LINE_8, 4)
    if first != last:
        cv2.circle(work, first, reach, value, -1, cv2.LINE_8, 4)
        dx, dy = last[0] - first[0], last[1] - first[1]
        length = max(1.0, (dx * dx + dy * dy) ** 0.5)
        nx, ny = -dy / length * reach, dx / length * reach
        corners = np.array(
            [
                (first[0] + nx, first[1] + ny),
                (last[0] + nx, last[1] + ny),
                (last[0] - nx, last[1] - ny),
                (first[0] - nx, first[1] - ny),
            ]
        )
        cv2.fillPoly(work, [np.round(corners).astype(np.int32)], value, cv2.LINE_8, 4)


class EraserTool(BrushTool):
    """The brush the other way round."""

    name = "eraser"
    title = "Eraser"
    hint = "Erase from the object; right button paints. [ and ] change the size"
    erases = True
