"""The whole image in a corner of the canvas, with a frame around what is in view."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPointF, QRect, QRectF, QSettings, QSize, Qt, Slot
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QWidget

from infosam_studio.ui.canvas.picture import LargePicture, Picture, as_qimage
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.theme import theme

LONGEST = 176
LEAST = 28
SHARE = 0.3
DISTANCE = 12
ROUNDING = 6.0
SETTING = "minimap"


class Minimap(QWidget):
    """Seen while the view shows only a part of the image; a press or drag moves the view."""

    def __init__(self, view: CanvasView, settings: QSettings) -> None:
        super().__init__(view)
        self._view, self._settings = view, settings
        self._image = QImage()
        self._tiles_of: LargePicture | None = None
        self.wanted = str(settings.value(SETTING, "true")) == "true"
        self.setObjectName("minimap")
        self.setAccessibleName("Overview of the image")
        self.setAccessibleDescription("Drag the frame to move what is in view")
        self.setToolTip("Overview: drag to move (Shift+Z hides it)")
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()
        view.moved.connect(self._follow)
        view.resized.connect(self._follow)
        view.picture.tiles.arrived.connect(self._tile_arrived)
        view.installEventFilter(self)
        theme().changed.connect(self._repaint)

    def set_wanted(self, wanted: bool) -> None:
        """Show it where it is of use, or never; remembered."""
        self.wanted = wanted
        self._settings.setValue(SETTING, "true" if wanted else "false")
        self._follow()

    @Slot(object)
    def show_picture(self, picture: Picture | LargePicture | None) -> None:
        """Another image is on the canvas."""
        self._tiles_of, self._image = None, QImage()
        if isinstance(picture, LargePicture):
            self._tiles_of = picture
            self._tile_arrived(None)
        elif picture is not None:
            smallest = as_qimage(picture.levels[-1], QImage.Format.Format_RGB32)
            self._take(smallest)
        self._follow()

    def _take(self, image: QImage) -> None:
        """Keep it at the size it is drawn in."""
        ratio = self.devicePixelRatioF()
        size = self._size() * ratio
        smooth = Qt.TransformationMode.SmoothTransformation
        self._image = image.scaled(size, Qt.AspectRatioMode.IgnoreAspectRatio, smooth)
        self._image.setDevicePixelRatio(ratio)
        self.update()

    @Slot(object)
    def _tile_arrived(self, _place: object) -> None:
        picture = self._tiles_of
        if picture is None or not self._image.isNull():
            return
        tile = self._view.picture.tiles.get((len(picture.pyramid.levels) - 1, 0, 0))
        if tile is not None:
            self._take(tile)

    # where it is ---------------------------------------------------------------------------

    def _size(self) -> QSize:
        """As large as is of use: a part of the canvas, with the proportions of the image."""
        width, height = self._view.image_size
        if not width:
            return QSize(LEAST, LEAST)
        room = self._view.size()
        longest = min(LONGEST, SHARE * room.width(), SHARE * room.height())
        scale = longest / max(width, height)
        return QSize(max(LEAST, round(width * scale)), max(LEAST, round(height * scale)))

    @Slot()
    def _follow(self) -> None:
        """The view moved: move the frame, come or go."""
        width, height = self._view.image_size
        seen = self._view.visible_rect()
        whole = QRectF(0, 0, width, height)
        # A pixel of the screen at the edge is no part that is out of view.
        edge = 1.5 / max(1e-9, self._view.transform().m11())
        partial = width > 0 and not seen.adjusted(-edge, -edge, edge, edge).contains(whole)
        self.setVisible(self.wanted and partial)
        if not self.isVisible():
            return
        size, room = self._size(), self._view.size()
        corner = (room.width() - size.width() - DISTANCE, room.height() - size.height() - DISTANCE)
        place = QRect(*corner, size.width(), size.height())
        if place != self.geometry():
            self.setGeometry(place)
        self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._follow()
        return False

    def frame(self) -> QRectF:
        """What is in view, in pixels of this widget."""
        width, height = self._view.image_size
        if not width:
            return QRectF()
        sx, sy = self.width() / width, self.height() / height
        seen = self._view.visible_rect().intersected(QRectF(0, 0, width, height))
        return QRectF(seen.x() * sx, seen.y() * sy, seen.width() * sx, seen.height() * sy)

    # pointer -------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
            self._go(event.position())
        event.accept()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._go(event.position())
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def _go(self, position: QPointF) -> None:
        width, height = self._view.image_size
        if width:
            x = min(max(position.x() / self.width(), 0.0), 1.0) * width
            y = min(max(position.y() / self.height(), 0.0), 1.0) * height
            self._view.center_on(QPointF(x, y))

    # painting ------------------------------------------------------------------------------

    @Slot()
    def _repaint(self) -> None:
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        tokens = theme().tokens
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        outer = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        shape = QPainterPath()
        shape.addRoundedRect(outer, ROUNDING, ROUNDING)
        painter.fillPath(shape, QColor(tokens.panel))
        painter.setClipPath(shape)
        painter.drawImage(QPointF(0, 0), self._image)
        frame = self._drawn_frame()
        beyond = QPainterPath()
        beyond.addRect(outer)
        beyond.addRect(frame)
        painter.fillPath(beyond, QColor(0, 0, 0, 80))
        painter.setPen(QPen(QColor(0, 0, 0, 150), 3.0))
        painter.drawRect(frame)
        painter.setPen(QPen(QColor("#ffffff"), 1.5))
        painter.drawRect(frame)
        painter.setClipping(False)
        painter.setPen(QPen(QColor(tokens.border), 1.0))
        painter.drawPath(shape)

    def _drawn_frame(self) -> QRectF:
        """The frame, never too small to be seen."""
        frame = self.frame()
        more_x, more_y = max(0.0, 8.0 - frame.width()) / 2, max(0.0, 8.0 - frame.height()) / 2
        inner = QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5)
        return frame.adjusted(-more_x, -more_y, more_x, more_y).intersected(inner)
