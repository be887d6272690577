"""Outlines and prompts on the canvas, drawn with pens that keep their width at every zoom."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPolygonF
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.ui.crops import EMPTY, Crop

ADD_COLOR = QColor("#1fa971")
REMOVE_COLOR = QColor("#e5484d")
BOX_COLOR = QColor("#ffffff")
SMALL_ENOUGH_TO_REFINE = 400_000
COMPLEX, COMPLEX_DECORATED = 4000, 800
COARSEST = 6
MOST_CONTOURS = 1500


def outline(crop: Crop, coarseness: int = 0) -> QPainterPath:
    """The outline of a mask, with its holes, in image coordinates.

    ``coarseness`` 0 follows every pixel; k leaves out what is smaller than about 2**k pixels.
    """
    path = QPainterPath()
    path.setFillRule(Qt.FillRule.OddEvenFill)
    if crop.empty:
        return path
    # Three times finer, the contour through pixel centres lies a sixth of a pixel off the edge.
    fine = coarseness == 0 and crop.pixels.size < SMALL_ENOUGH_TO_REFINE
    factor = 3 if fine else 1
    pixels = crop.pixels.view(np.uint8)
    if fine:
        pixels = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
    found, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(found) > MOST_CONTOURS:  # a frayed mask: its crumbs cannot be told apart anyway
        found = tuple(sorted(found, key=len, reverse=True)[:MOST_CONTOURS])
    corner = np.array([crop.x0, crop.y0])
    for contour in found:
        if coarseness:
            contour = cv2.approxPolyDP(contour, 0.6 * 2.0 ** (coarseness - 1), True)
        points = (contour[:, 0, :] + 0.5) / factor + corner
        path.addPolygon(QPolygonF([QPointF(x, y) for x, y in points.tolist()]))
        path.closeSubpath()
    return path


class OutlineItem(QGraphicsItem):
    """The outline of one mask; a selected one gets a light line beneath.

    Its path is made when it is first painted, as fine as the zoom can show.
    """

    def __init__(self) -> None:
        super().__init__()
        self._crop = EMPTY
        self._paths: dict[int, QPainterPath] = {}
        self._color = QColor("white")
        self._width = 1.5
        self._halo = False
        self._dashed = False
        self.setZValue(2)

    def show_crop(
        self,
        crop: Crop,
        color: QColor,
        *,
        width: float = 1.5,
        halo: bool = False,
        dashed: bool = False,
    ) -> None:
        """Outline ``crop``; an empty one draws nothing."""
        if crop is not self._crop:
            self.prepareGeometryChange()
            self._crop = crop
            self._paths.clear()
        self.restyle(color, width=width, halo=halo, dashed=dashed)

    def restyle(
        self, color: QColor, *, width: float = 1.5, halo: bool = False, dashed: bool = False
    ) -> None:
        """The same outline in another colour or weight."""
        self._color, self._width, self._halo, self._dashed = color, width, halo, dashed
        self.update()

    def boundingRect(self) -> QRectF:
        if self._crop.empty_quickly:
            return QRectF()
        x0, y0, x1, y1 = self._crop.rect
        # Pens keep their width on the screen: far out, that is many image pixels.
        margin = 16.0 + 0.02 * max(x1 - x0, y1 - y0)
        return QRectF(x0 - margin, y0 - margin, x1 - x0 + 2 * margin, y1 - y0 + 2 * margin)

    def _path_at(self, scale: float) -> QPainterPath:
        level = 0
        while level < COARSEST and scale < 0.75 * 0.5**level:
            level += 1
        if level not in self._paths:
            self._paths[level] = outline(self._crop, level)
        return self._paths[level]

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        scale = painter.worldTransform().m11() * painter.device().devicePixelRatio()
        path = self._path_at(scale)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        limit = COMPLEX_DECORATED if self._halo or self._dashed else COMPLEX
        if path.elementCount() > limit:
            # Wide or smooth strokes of a frayed mask take seconds; hairlines take none.
            painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
            painter.setPen(cosmetic_pen(self._color, 1.0))
            painter.drawPath(path)
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, self._halo or self._dashed)
        if self._halo:
            painter.setPen(cosmetic_pen(QColor(255, 255, 255, 230), self._width + 2.0))
            painter.drawPath(path)
        pen = cosmetic_pen(self._color, self._width)
        if self._dashed:
            pen.setDashPattern([4, 3])
        painter.setPen(pen)
        painter.drawPath(path)


def cosmetic_pen(color: QColor, width: float) -> QPen:
    """A pen of the same width on the screen at every zoom."""
    pen = QPen(color, width)
    pen.setCosmetic(True)
    pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return pen


class PromptMarks(QGraphicsItem):
    """Points and boxes of the unfinished object, the same size on the screen at every zoom."""

    RADIUS = 6.0

    def __init__(self) -> None:
        super().__init__()
        self._points: tuple[tuple[float, float, int], ...] = ()
        self._boxes: tuple[tuple[float, float, float, float], ...] = ()
        self._rubber: QRectF | None = None
        self._stroke: QPainterPath | None = None
        self._stroke_color = QColor("white")
        self._bounds = QRectF()
        self.setZValue(5)

    def set_bounds(self, width: int, height: int) -> None:
        """The image's size: marks may lie anywhere on it."""
        self.prepareGeometryChange()
        margin = 0.05 * max(width, height) + 50
        self._bounds = QRectF(-margin, -margin, width + 2 * margin, height + 2 * margin)

    def show_prompts(
        self,
        points: tuple[tuple[float, float, int], ...],
        boxes: tuple[tuple[float, float, float, float], ...],
    ) -> None:
        """Draw these prompts (pixel centres are integers, as the model counts)."""
        self._points, self._boxes = points, boxes
        self.update()

    def show_rubber(self, rect: QRectF | None) -> None:
        """The box while it is being dragged."""
        self._rubber = rect
        self.update()

    def show_stroke(self, path: QPainterPath | None, color: QColor) -> None:
        """The line of lasso, scribble or knife while it is being drawn."""
        self._stroke, self._stroke_color = path, color
        self.update()

    def boundingRect(self) -> QRectF:
        return self._bounds

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for x0, y0, x1, y1 in self._boxes:
            _draw_box(painter, QRectF(x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0), dashed=False)
        if self._rubber is not None:
            _draw_box(painter, self._rubber, dashed=True)
        if self._stroke is not None:
            painter.setPen(cosmetic_pen(QColor(0, 0, 0, 150), 4.0))
            painter.drawPath(self._stroke)
            painter.setPen(cosmetic_pen(self._stroke_color, 2.0))
            painter.drawPath(self._stroke)
        transform = painter.worldTransform()
        painter.resetTransform()
        for x, y, label in self._points:
            self._draw_point(painter, transform.map(QPointF(x + 0.5, y + 0.5)), label == 1)
        painter.setWorldTransform(transform)

    def _draw_point(self, painter: QPainter, center: QPointF, adds: bool) -> None:
        """A ringed dot with a plus or a minus, so that colour is not the only difference."""
        painter.setPen(QPen(QColor(255, 255, 255), 2))
        painter.setBrush(ADD_COLOR if adds else REMOVE_COLOR)
        painter.drawEllipse(center, self.RADIUS, self.RADIUS)
        arm = self.RADIUS * 0.5
        painter.setPen(QPen(QColor(255, 255, 255), 1.6))
        painter.drawLine(center - QPointF(arm, 0), center + QPointF(arm, 0))
        if adds:
            painter.drawLine(center - QPointF(0, arm), center + QPointF(0, arm))


def _draw_box(painter: QPainter, rect: QRectF, *, dashed: bool) -> None:
    painter.setPen(cosmetic_pen(QColor(0, 0, 0, 150), 3.0))
    painter.drawRect(rect)
    pen = cosmetic_pen(BOX_COLOR, 1.5)
    if dashed:
        pen.setDashPattern([5, 4])
    painter.setPen(pen)
    painter.drawRect(rect)
