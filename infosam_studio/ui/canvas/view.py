"""The canvas: zoom at the pointer, pan, fit; everything else is the active tool's."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QEnterEvent,
    QFocusEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QGraphicsScene, QGraphicsView, QWidget

from infosam_studio.ui.canvas.overlay_item import OverlayItem
from infosam_studio.ui.canvas.picture import LargePicture, Picture
from infosam_studio.ui.canvas.picture_item import PictureItem
from infosam_studio.ui.tools.base import Tool

WHEEL_BASE = 1.0016
MOST_ZOOM = 64.0
FIT_MARGIN = 0.97


class CanvasView(QGraphicsView):
    """Shows one image; coordinates given to tools are image pixels (floats, corner based)."""

    zoomed = Signal(float)
    pointer_moved = Signal(object)
    resized = Signal()
    moved = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setScene(QGraphicsScene(self))
        self.picture = PictureItem()
        self.overlay, self.sketch = OverlayItem(), OverlayItem()
        self.sketch.setZValue(1.5)
        self.sketch.patient = False
        for item in (self.picture, self.overlay, self.sketch):
            self.scene().addItem(item)
        self.tool: Tool | None = None
        self._size = (0, 0)
        self._fitted = True
        self._pan_from: QPoint | None = None
        self._space = False
        self._focus_shown = False
        self._set_up()

    def _set_up(self) -> None:
        self.setObjectName("canvas")
        self.setAccessibleName("Image canvas")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setTransformationAnchor(QGraphicsView.ViewportAnchor.NoAnchor)
        self.setResizeAnchor(QGraphicsView.ViewportAnchor.NoAnchor)
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.MinimalViewportUpdate)
        self.setOptimizationFlag(QGraphicsView.OptimizationFlag.DontAdjustForAntialiasing)
        self.setMouseTracking(True)
        self.viewport().setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self.scene().setItemIndexMethod(QGraphicsScene.ItemIndexMethod.NoIndex)

    # what is shown -----------------------------------------------------------------------

    def show_picture(
        self, picture: Picture | LargePicture | None, *, keep_view: bool = False
    ) -> None:
        """Show an image, fitted unless ``keep_view``; None empties the canvas."""
        if picture is None:
            self.picture.clear()
            self._reset_overlays(0, 0)
            self._size = (0, 0)
            return
        width, height = picture.size
        same = self._size == (width, height)
        self._size = (width, height)
        if isinstance(picture, LargePicture):
            self.picture.show_tiles(picture.pyramid)
        else:
            self.picture.show_levels(picture.levels, width, height)
        if not (same and keep_view):
            self._reset_overlays(width, height)
            margin = 2.0 * max(width, height)
            self.setSceneRect(-margin, -margin, width + 2 * margin, height + 2 * margin)
            self.fit()

    def _reset_overlays(self, width: int, height: int) -> None:
        self.overlay.reset(width, height)
        self.sketch.reset(width, height)

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the image shown, (0, 0) for none."""
        return self._size

    # zoom and pan ------------------------------------------------------------------------

    @property
    def zoom(self) -> float:
        """Device pixels per image pixel."""
        return float(self.transform().m11() * self.devicePixelRatioF())

    def fit(self) -> None:
        """The whole image in the window."""
        if self._size[0]:
            self.fit_rect(QRectF(0, 0, *self._size), margin=FIT_MARGIN)
            self._fitted = True

    def fit_rect(self, rect: QRectF, *, margin: float = 0.6) -> None:
        """Show ``rect`` (image pixels) in the middle, filling ``margin`` of the window."""
        viewport = self.viewport().rect()
        if rect.isEmpty() or viewport.isEmpty():
            return
        scale = min(viewport.width() / rect.width(), viewport.height() / rect.height()) * margin
        scale = min(scale, MOST_ZOOM / self.devicePixelRatioF())
        self.resetTransform()
        self.scale(scale, scale)
        self.centerOn(rect.center())
        self._fitted = False
        self._tell_zoom()

    def actual_size(self) -> None:
        """One image pixel on one pixel of the screen, the middle kept."""
        self.zoom_by(1.0 / self.zoom)

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Zoom around ``at`` (viewport pixels; the middle by default)."""
        if not self._size[0]:
            return
        anchor = at if at is not None else QPointF(self.viewport().rect().center())
        least = 0.2 * self._fit_scale()
        most = MOST_ZOOM / self.devicePixelRatioF()
        now = self.transform().m11()
        factor = max(min(now * factor, most), min(least, now)) / now
        before = self.to_image(anchor)
        self.scale(factor, factor)
        shift = self.to_image(anchor) - before
        self.translate(shift.x(), shift.y())
        self._fitted = False
        self._tell_zoom()

    def _fit_scale(self) -> float:
        width, height = self._size
        viewport = self.viewport().rect()
        return min(viewport.width() / max(1, width), viewport.height() / max(1, height))

    def _tell_zoom(self) -> None:
        self.zoomed.emit(self.zoom)
        self.moved.emit()

    def pan(self, dx: float, dy: float) -> None:
        """Move the image by viewport pixels."""
        horizontal, vertical = self.horizontalScrollBar(), self.verticalScrollBar()
        horizontal.setValue(horizontal.value() - round(dx))
        vertical.setValue(vertical.value() - round(dy))
        self._fitted = False
        self.moved.emit()

    def center_on(self, position: QPointF) -> None:
        """Bring an image position to the middle."""
        self.centerOn(position)
        self._fitted = False
        self.moved.emit()

    def to_image(self, position: QPointF) -> QPointF:
        """Viewport position to image coordinates, with fractions."""
        inverse, _ = self.viewportTransform().inverted()
        return inverse.map(position)

    def to_viewport(self, x: float, y: float) -> QPointF:
        """Image coordinates to a viewport position."""
        return self.viewportTransform().map(QPointF(x, y))

    def visible_rect(self) -> QRectF:
        """The part of the scene in the window, in image pixels."""
        corner = self.to_image(QPointF(0, 0))
        rect = self.viewport().rect()
        far = self.to_image(QPointF(rect.width(), rect.height()))
        return QRectF(corner, far)

    # events ------------------------------------------------------------------------------

    def set_tool(self, tool: Tool) -> None:
        """Hand the pointer to another tool."""
        if self.tool is not None:
            self.tool.deactivate()
        self.tool = tool
        tool.activate()
        self._show_cursor()

    def _show_cursor(self) -> None:
        if self._pan_from is not None:
            shape = Qt.CursorShape.ClosedHandCursor
        elif self._space:
            shape = Qt.CursorShape.OpenHandCursor
        else:
            shape = self.tool.cursor if self.tool else Qt.CursorShape.ArrowCursor
        self.viewport().setCursor(shape)

    def wheelEvent(self, event: QWheelEvent) -> None:
        delta = event.angleDelta().y() or event.angleDelta().x()
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if shift and self.tool is not None and self.tool.wheel(1 if delta > 0 else -1):
            event.accept()
            return
        self.zoom_by(WHEEL_BASE**delta, event.position())
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        middle = event.button() == Qt.MouseButton.MiddleButton
        if middle or (self._space and event.button() == Qt.MouseButton.LeftButton):
            self._pan_from = event.position().toPoint()
            self._show_cursor()
        elif self.tool is not None and self._size[0]:
            self.tool.press(self.to_image(event.position()), event)
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._pan_from is not None:
            now = event.position().toPoint()
            self.pan(now.x() - self._pan_from.x(), now.y() - self._pan_from.y())
            self._pan_from = now
        elif self._size[0]:
            position = self.to_image(event.position())
            self.pointer_moved.emit(position)
            if self.tool is not None:
                self.tool.move(position, event)
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._pan_from is not None:
            self._pan_from = None
            self._show_cursor()
        elif self.tool is not None and self._size[0]:
            self.tool.release(self.to_image(event.position()), event)
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.tool is None or not self.tool.double_click(self.to_image(event.position()), event):
            self.mousePressEvent(event)
        event.accept()

    def leaveEvent(self, event: QEvent) -> None:
        self.pointer_moved.emit(None)
        if self.tool is not None:
            self.tool.leave()
        super().leaveEvent(event)

    def enterEvent(self, event: QEnterEvent) -> None:
        self._show_cursor()
        super().enterEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = True
            self._show_cursor()
        elif self.tool is None or not self.tool.key(event):
            event.ignore()

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self._show_cursor()
        else:
            event.ignore()

    def focusInEvent(self, event: QFocusEvent) -> None:
        # A frame only for those who came by keyboard: a mouse user knows where they clicked.
        self._focus_shown = event.reason() in (
            Qt.FocusReason.TabFocusReason,
            Qt.FocusReason.BacktabFocusReason,
        )
        self.viewport().update()
        super().focusInEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        self._space = self._focus_shown = False
        self.viewport().update()
        self._show_cursor()
        super().focusOutEvent(event)

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Tab cycles candidates while the canvas has focus and there are any."""
        if self.tool is not None and self.tool.tab(1 if forward else -1):
            return True
        return super().focusNextPrevChild(forward)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._fitted:
            self.fit()
        self.resized.emit()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self._focus_shown and self._size[0]:
            painter = QPainter(self.viewport())
            painter.setPen(QColor(self.palette().highlight().color()))
            painter.drawRect(self.viewport().rect().adjusted(0, 0, -1, -1))
