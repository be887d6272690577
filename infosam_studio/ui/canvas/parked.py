"""Unfinished objects that wait while another one is worked on: masks and boxes on the canvas."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QObject, QRectF, Qt, Slot
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.marks import outline
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.crops import EMPTY, Crop
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.drafting import Drafting

ALPHA = 0.3
Box = tuple[float, float, float, float]


class ParkedItem(QGraphicsItem):
    """One object: a light fill, a dashed outline and its box, thinner than the active one's."""

    def __init__(self) -> None:
        super().__init__()
        self._crop: Crop = EMPTY
        self._boxes: tuple[Box, ...] = ()
        self._color = QColor("white")
        self._fill: QImage | None = None
        self._path = QPainterPath()
        self.setZValue(3)

    def show_draft(self, crop: Crop | None, boxes: tuple[Box, ...], color: QColor) -> None:
        """Draw this mask (None: it is still on its way) and its boxes."""
        crop = crop or EMPTY
        if crop is self._crop and boxes == self._boxes and color == self._color:
            return
        self.prepareGeometryChange()
        if crop is not self._crop or color != self._color:
            self._fill = _filled(crop, color)
        if crop is not self._crop:
            self._path = outline(crop, 1)
        self._crop, self._boxes, self._color = crop, boxes, color
        self.update()

    def boundingRect(self) -> QRectF:
        rects = [QRectF(x0, y0, x1 - x0 + 1, y1 - y0 + 1) for x0, y0, x1, y1 in self._boxes]
        if self._fill is not None:
            x0, y0, x1, y1 = self._crop.rect
            rects.append(QRectF(x0, y0, x1 - x0, y1 - y0))
        whole = QRectF()
        for rect in rects:
            whole = whole.united(rect)
        # Pens keep their width on the screen: far out, that is many image pixels.
        margin = 16.0 + 0.02 * max(whole.width(), whole.height())
        return whole.adjusted(-margin, -margin, margin, margin) if rects else whole

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self._fill is not None:
            x0, y0, x1, y1 = self._crop.rect
            painter.drawImage(QRectF(x0, y0, x1 - x0, y1 - y0), self._fill)
            pen = _pen(self._color, 1.8)
            pen.setDashPattern([4, 3])
            painter.setPen(pen)
            painter.drawPath(self._path)
        for color, width in ((QColor(0, 0, 0, 130), 2.4), (QColor(255, 255, 255, 210), 1.0)):
            painter.setPen(_pen(color, width))
            for left, top, right, bottom in self._boxes:
                painter.drawRect(QRectF(left + 0.5, top + 0.5, right - left, bottom - top))


def _pen(color: QColor, width: float) -> QPen:
    pen = QPen(color, width)
    pen.setCosmetic(True)
    return pen


def _filled(crop: Crop, color: QColor) -> QImage | None:
    if crop.empty_quickly:
        return None
    alpha = round(ALPHA * 255)
    red, green, blue = (round(part() * ALPHA) for part in (color.red, color.green, color.blue))
    value = np.uint32((alpha << 24) | (red << 16) | (green << 8) | blue)
    pixels = np.where(crop.pixels, value, np.uint32(0))
    height, width = pixels.shape
    made = QImage(pixels, width, height, 4 * width, QImage.Format.Format_ARGB32_Premultiplied)  # type: ignore[call-overload]
    return made.copy()


class ParkedLayer(QObject):
    """Keeps one item per object that waits."""

    def __init__(
        self, view: CanvasView, layers: CanvasLayers, document: Document, drafting: Drafting
    ) -> None:
        super().__init__(view)
        self._view, self._layers = view, layers
        self._document, self._drafting = document, drafting
        self.items: list[ParkedItem] = []
        drafting.changed.connect(self.show_parked)
        layers.changed.connect(self.show_parked)

    @Slot()
    def show_parked(self) -> None:
        """Bring what is drawn in step; what is drawn already is not touched."""
        image = self._document.current
        current = image is not None and self._view.image_size == (image.width, image.height)
        visible = current and not self._layers.look.hidden
        drafts = self._drafting.parked if visible else []
        while len(self.items) > len(drafts):
            self._view.scene().removeItem(self.items.pop())
        while len(self.items) < len(drafts):
            self.items.append(ParkedItem())
            self._view.scene().addItem(self.items[-1])
        for item, draft in zip(self.items, drafts, strict=True):
            item.show_draft(draft.crop(), _boxes(draft), self._color(draft))

    def _color(self, draft: Draft) -> QColor:
        return QColor(self._document.class_of(draft.class_id).color)


def _boxes(draft: Draft) -> tuple[Box, ...]:
    return draft.current.boxes if draft.current is not None else ()
