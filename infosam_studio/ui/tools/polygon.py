"""Polygon tool: draw a new outline corner by corner, or move, add and delete corners."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt, Slot
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.ui import crops, mask_ops
from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.editing import Editing
from infosam_studio.ui.tools.base import Tool

HIT = 9.0
TOLERANCE = 1.2

Ring = list[tuple[float, float]]


class Handles(QGraphicsItem):
    """Corners and edges, the same size at every zoom."""

    def __init__(self) -> None:
        super().__init__()
        self.rings: list[Ring] = []
        self.open_ring: Ring = []
        self.setZValue(6)

    def boundingRect(self) -> QRectF:
        points = [point for ring in (*self.rings, self.open_ring) for point in ring]
        if not points:
            return QRectF()
        array = np.array(points)
        (x0, y0), (x1, y1) = array.min(axis=0), array.max(axis=0)
        margin = 20 + 0.1 * max(x1 - x0, y1 - y0)
        return QRectF(x0 - margin, y0 - margin, x1 - x0 + 2 * margin, y1 - y0 + 2 * margin)

    def show_rings(self, rings: list[Ring], open_ring: Ring) -> None:
        """Draw these rings; the open one is still being made."""
        self.prepareGeometryChange()
        self.rings, self.open_ring = rings, open_ring
        self.update()

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(QColor("white"), 1.5)
        pen.setCosmetic(True)
        painter.setPen(pen)
        for ring, closed in [*((one, True) for one in self.rings), (self.open_ring, False)]:
            if ring:
                path = QPainterPath(QPointF(*ring[0]))
                for point in ring[1:]:
                    path.lineTo(*point)
                if closed:
                    path.closeSubpath()
                painter.drawPath(path)
        transform = painter.worldTransform()
        painter.resetTransform()
        painter.setPen(QPen(QColor(20, 20, 20), 1))
        painter.setBrush(QColor("white"))
        for ring in (*self.rings, self.open_ring):
            for x, y in ring:
                center = transform.map(QPointF(x, y))
                painter.drawRect(QRectF(center.x() - 3, center.y() - 3, 6, 6))
        painter.setWorldTransform(transform)


class PolygonTool(Tool):
    """Edits the target's outline; pixels away from the moved corner stay as they are."""

    name = "polygon"
    title = "Polygon"
    hint = "Drag a corner, click an edge to add one, right click deletes. Or click a new outline"

    def __init__(self, view: CanvasView, layers: CanvasLayers, editing: Editing) -> None:
        super().__init__(view)
        self._view, self._layers, self._editing = view, layers, editing
        self._handles = Handles()
        view.scene().addItem(self._handles)
        self._rings: list[Ring] = []
        self._open: Ring = []
        self._grabbed: tuple[int, int] | None = None
        self._before: list[Ring] = []
        self._shown: Crop | None = None
        layers.changed.connect(self._reload)

    def activate(self) -> None:
        self._shown = None
        self._reload()

    def deactivate(self) -> None:
        self._open, self._grabbed = [], None
        self._handles.show_rings([], [])

    @Slot()
    def _reload(self) -> None:
        """Take the corners from the target's mask, unless they are just being moved."""
        if self._view.tool is not self or self._grabbed is not None:
            return
        crop = self._editing.target()
        if crop is not self._shown:
            self._shown = crop
            self._rings = rings_of(crop)
        self._handles.show_rings(self._rings, self._open)

    # pointer -----------------------------------------------------------------------------

    def press(self, position: QPointF, event: QMouseEvent) -> None:
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._layers.select_at(position, False)
            return
        corner = self._corner_at(position)
        right = event.button() == Qt.MouseButton.RightButton
        self._before = [list(ring) for ring in self._rings]
        if corner is not None and right:
            self._delete(corner)
        elif corner is not None:
            self._grabbed = corner
        elif not right:
            self._press_free(position)

    def _press_free(self, position: QPointF) -> None:
        edge = self._edge_at(position) if not self._open else None
        if edge is not None:
            ring, index = edge
            self._rings[ring].insert(index + 1, (position.x(), position.y()))
            self._grabbed = (ring, index + 1)
            self._handles.show_rings(self._rings, self._open)
        elif not self._rings:
            self._open.append((position.x(), position.y()))
            self._handles.show_rings(self._rings, self._open)

    def move(self, position: QPointF, event: QMouseEvent) -> None:
        if self._grabbed is not None:
            ring, index = self._grabbed
            self._rings[ring][index] = (position.x(), position.y())
            self._handles.show_rings(self._rings, self._open)

    def release(self, position: QPointF, event: QMouseEvent) -> None:
        if self._grabbed is not None:
            self._grabbed = None
            self._commit("Move corner")

    def double_click(self, position: QPointF, event: QMouseEvent) -> bool:
        return self._close()

    def accept(self) -> bool:
        return bool(self._open) and self._close()

    def cancel(self) -> bool:
        if not self._open:
            return False
        self._open = []
        self._handles.show_rings(self._rings, self._open)
        return True

    def _close(self) -> bool:
        """A new outline is complete."""
        if len(self._open) < 3:
            return False
        ring, self._open = self._open, []
        self._editing.apply(mask_ops.polygon_mask(ring, *self._view.image_size), "Polygon")
        return True

    def _delete(self, corner: tuple[int, int]) -> None:
        ring, index = corner
        if len(self._rings[ring]) > 3:
            del self._rings[ring][index]
            self._commit("Delete corner")

    def _commit(self, name: str) -> None:
        """Flip only the pixels between the old and the new outline."""
        width, height = self._view.image_size
        crop = self._editing.target()
        for before, after in zip(self._before, self._rings, strict=True):
            if before != after:
                old = mask_ops.polygon_mask(before, width, height)
                new = mask_ops.polygon_mask(after, width, height)
                added = crops.combine(new, old, "subtract")
                removed = crops.combine(old, new, "subtract")
                crop = crops.combine(crop, added, "union")
                crop = crops.combine(crop, removed, "subtract")
        self._editing.apply(crop, name)

    def _corner_at(self, position: QPointF) -> tuple[int, int] | None:
        here = self._view.to_viewport(position.x(), position.y())
        for number, ring in enumerate(self._rings):
            for index, (x, y) in enumerate(ring):
                if (self._view.to_viewport(x, y) - here).manhattanLength() <= HIT:
                    return number, index
        return None

    def _edge_at(self, position: QPointF) -> tuple[int, int] | None:
        here = np.array([position.x(), position.y()])
        reach = HIT / max(1e-6, self._view.transform().m11())
        for number, ring in enumerate(self._rings):
            points = np.array(ring)
            following = np.roll(points, -1, axis=0)
            along = following - points
            length = np.maximum((along**2).sum(axis=1), 1e-9)
            share = np.clip(((here - points) * along).sum(axis=1) / length, 0, 1)
            distance = np.hypot(*(points + along * share[:, None] - here).T)
            if distance.min() <= reach:
                return number, int(distance.argmin())
        return None


def rings_of(crop: Crop) -> list[Ring]:
    """The mask's outer outlines with few corners, in image coordinates."""
    if crop.empty:
        return []
    pixels = np.ascontiguousarray(crop.pixels.view(np.uint8))
    found, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rings: list[Ring] = []
    for contour in found:
        simple = cv2.approxPolyDP(contour, TOLERANCE, True)[:, 0, :]
        if len(simple) >= 3:
            rings.append([(float(x + crop.x0 + 0.5), float(y + crop.y0 + 0.5)) for x, y in simple])
    return rings
