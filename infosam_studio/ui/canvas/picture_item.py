"""The image on the canvas, drawn from the level or the tiles that fit the zoom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QRectF, Qt, Slot
from PySide6.QtGui import QColor, QImage, QPainter, QPen
from PySide6.QtWidgets import QGraphicsItem, QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from infosam_studio.annotation.pyramid import TILE, Pyramid
from infosam_studio.ui.canvas.picture import as_qimage
from infosam_studio.ui.canvas.tiles import Place, Table, TileSource, draw_tiles

CRISP_FROM = 2.0
GRID_FROM = 16.0


class PictureItem(QGraphicsObject):
    """Draws the exposed part of a picture, averaged when zoomed out, crisp when zoomed in."""

    def __init__(self) -> None:
        super().__init__()
        self.tiles = TileSource(self)
        self.tiles.arrived.connect(self._tile_arrived)
        self._levels: list[QImage] = []
        self._rect = QRectF()
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemUsesExtendedStyleOption)

    def show_tiles(self, pyramid: Pyramid, table: Table | None = None) -> None:
        """Show a huge image, its values looked up in ``table`` uint8 [256]."""
        self.prepareGeometryChange()
        self._levels = []
        self._rect = QRectF(0, 0, pyramid.width, pyramid.height)
        self.tiles.show(pyramid, table)
        self.update()

    @Slot(object)
    def _tile_arrived(self, place: Place) -> None:
        level, column, row = place
        size = TILE << level
        # A pixel more: what is drawn smoothly reaches over its edge.
        margin = 2 << level
        self.update(
            QRectF(column * size, row * size, size, size).adjusted(-margin, -margin, margin, margin)
        )

    def show_levels(self, levels: tuple[NDArray[np.uint8], ...], width: int, height: int) -> None:
        """Show an image of ``width`` × ``height`` pixels."""
        self.prepareGeometryChange()
        self.tiles.show(None)
        self._levels = [as_qimage(level, QImage.Format.Format_RGB32) for level in levels]
        self._rect = QRectF(0, 0, width, height)
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self.show_levels((), 0, 0)

    def boundingRect(self) -> QRectF:
        return self._rect

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        ratio = painter.device().devicePixelRatio()
        scale = painter.worldTransform().m11() * ratio
        exposed = option.exposedRect.intersected(self._rect)  # type: ignore[attr-defined]
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, scale < CRISP_FROM)
        if self._levels:
            self._draw_level(painter, exposed, scale)
        elif self.tiles.pyramid is not None:
            seen = exposed
            if widget is not None:
                back, _ = painter.worldTransform().inverted()
                seen = back.mapRect(QRectF(widget.rect())).intersected(self._rect)
            draw_tiles(painter, self.tiles, exposed, seen, ratio)
        else:
            return
        if scale >= GRID_FROM:
            self._draw_grid(painter, exposed)

    def _draw_level(self, painter: QPainter, exposed: QRectF, scale: float) -> None:
        image = self._levels[self._level_for(scale)]
        sx, sy = image.width() / self._rect.width(), image.height() / self._rect.height()
        source = QRectF(
            exposed.x() * sx, exposed.y() * sy, exposed.width() * sx, exposed.height() * sy
        )
        painter.drawImage(exposed, image, source, Qt.ImageConversionFlag.NoFormatConversion)

    def _draw_grid(self, painter: QPainter, exposed: QRectF) -> None:
        """Thin lines between pixels."""
        pen = QPen(QColor(128, 128, 128, 70), 1)
        pen.setCosmetic(True)
        painter.setPen(pen)
        x0, x1 = int(exposed.left()), int(exposed.right()) + 1
        y0, y1 = int(exposed.top()), int(exposed.bottom()) + 1
        lines = [QLineF(x, y0, x, y1) for x in range(x0, x1 + 1)]
        lines += [QLineF(x0, y, x1, y) for y in range(y0, y1 + 1)]
        painter.drawLines(lines)

    def _level_for(self, scale: float) -> int:
        level = 0
        while level + 1 < len(self._levels) and scale <= 0.5 ** (level + 1):
            level += 1
        return level
