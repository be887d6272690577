"""Outlines of the objects at high zoom, drawn with a pen along the edges of the pixels."""

from __future__ import annotations

from collections import OrderedDict

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.ui.canvas.marks import cosmetic_pen, outline
from infosam_studio.ui.canvas.overlay import Overlay
from infosam_studio.ui.canvas.overlay_item import PEN_FROM
from infosam_studio.ui.canvas.samples import Samples
from infosam_studio.ui.crops import Crop, Rect, intersect

MARGIN = 64
KEPT_PATHS = 400


class PenOutlines(QGraphicsItem):
    """One item for all objects: from `PEN_FROM` on only a few are in view."""

    def __init__(self, overlay: Overlay) -> None:
        super().__init__()
        self._overlay = overlay
        self._bounds = QRectF()
        self._paths: OrderedDict[int, tuple[Samples, Rect, QPainterPath]] = OrderedDict()
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemUsesExtendedStyleOption)
        self.setZValue(2)

    def set_bounds(self, width: int, height: int) -> None:
        """The size of the image."""
        self.prepareGeometryChange()
        self._bounds = QRectF(0, 0, width, height)
        self._paths.clear()

    def boundingRect(self) -> QRectF:
        return self._bounds

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        ratio = painter.device().devicePixelRatio()
        if painter.worldTransform().m11() * ratio < PEN_FROM:
            return
        exposed = option.exposedRect.intersected(self._bounds).toAlignedRect()  # type: ignore[attr-defined]
        seen = (exposed.left(), exposed.top(), exposed.right() + 1, exposed.bottom() + 1)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for key in self._overlay.near(seen):
            style = self._overlay.style(key)
            if style is None or not style.line:
                continue
            path = self._path(key, seen)
            if style.halo:
                painter.setPen(cosmetic_pen(QColor(255, 255, 255, 230), 4.4))
                painter.drawPath(path)
            painter.setPen(cosmetic_pen(style.color, 2.4 if style.halo else 1.5))
            painter.drawPath(path)
        while len(self._paths) > KEPT_PATHS:
            self._paths.popitem(last=False)

    def _path(self, key: int, seen: Rect) -> QPainterPath:
        """The outline of what is in view and a little around it, kept while that suffices."""
        mask = self._overlay.masks[key]
        wanted = intersect(mask.rect, seen) or seen
        held = self._paths.get(key)
        if held is not None and held[0] is mask and intersect(held[1], wanted) == wanted:
            self._paths.move_to_end(key)
            return held[2]
        around = (wanted[0] - MARGIN, wanted[1] - MARGIN, wanted[2] + MARGIN, wanted[3] + MARGIN)
        part = intersect(mask.rect, around) or wanted
        path = outline(Crop(part[0], part[1], mask.sample(0, part)))
        self._paths[key] = (mask, part, path)
        return path
