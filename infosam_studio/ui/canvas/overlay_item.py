"""Draws an `Overlay` over the picture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QTimer, Slot
from PySide6.QtGui import QImage, QPainter, QTransform
from PySide6.QtWidgets import QGraphicsItem, QGraphicsObject, QStyleOptionGraphicsItem, QWidget

from infosam_studio.ui.canvas.overlay import FINEST, TILE, Budget, Overlay, Spot
from infosam_studio.ui.canvas.picture import as_qimage
from infosam_studio.ui.canvas.samples import Samples, scaled
from infosam_studio.ui.crops import Rect

# From this zoom on outlines are drawn with a pen, following the pixels exactly.
PEN_FROM = 8.0
BUDGET_MS = 9.0


def level_for(scale: float, finest: int = FINEST) -> int:
    """The level of which a pixel covers half to one pixel of the screen at this zoom."""
    return max(finest, math.floor(-math.log2(max(scale, 1e-6))))


class OverlayItem(QGraphicsObject):
    """The tiles in view, as many as there is time for; coarser or finer ones until then."""

    def __init__(self) -> None:
        super().__init__()
        self.overlay = Overlay()
        self.patient = True
        self._images: dict[int, tuple[NDArray[np.uint32], QImage]] = {}
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self._paint_again)
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemUsesExtendedStyleOption)
        self.setZValue(1)

    def reset(self, width: int, height: int) -> None:
        """An empty overlay for an image of this size."""
        self.prepareGeometryChange()
        self.overlay.reset(width, height)
        self._images.clear()
        self.update()

    def set(self, key: int, mask: Samples | None, *, only: Rect | None = None) -> None:
        """Change one mask (in the part ``only``) and paint what it covered and covers."""
        changed = self.overlay.set(key, mask, only=only)
        if changed is not None:
            self._touch(changed)

    def restyle(self, key: int | None = None) -> None:
        """The style of one mask (None: of all) is another one now."""
        mask = self.overlay.masks.get(key) if key is not None else None
        if key is None:
            self.overlay.spoil()
            self._images.clear()
            self.update()
        elif mask is not None:
            self.spoil(mask.rect)

    def spoil(self, rect: Rect) -> None:
        """What lies in a rectangle of the image changed."""
        self.overlay.spoil(rect)
        self._touch(rect)

    def _touch(self, rect: Rect) -> None:
        x0, y0, x1, y1 = rect
        views = self.scene().views() if self.scene() else []
        margin = 4.0 + (6.0 / max(1e-6, views[0].transform().m11()) if views else 0.0)
        self.update(QRectF(x0 - margin, y0 - margin, x1 - x0 + 2 * margin, y1 - y0 + 2 * margin))

    @Slot()
    def _paint_again(self) -> None:
        self.update()

    def boundingRect(self) -> QRectF:
        return QRectF(0, 0, self.overlay.width, self.overlay.height)

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        if not self.overlay.masks:
            return
        exposed = option.exposedRect.intersected(self.boundingRect())  # type: ignore[attr-defined]
        transform = painter.worldTransform()
        scale = transform.m11() * painter.device().devicePixelRatio()
        lines = scale < PEN_FROM
        level = level_for(scale) if lines else 0
        rect = exposed.toAlignedRect()
        area = scaled((rect.left(), rect.top(), rect.right() + 1, rect.bottom() + 1), level)
        budget = Budget(BUDGET_MS if self.patient else math.inf)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, lines)
        painter.resetTransform()
        for row in range(area[1] // TILE, -(-area[3] // TILE)):
            for column in range(area[0] // TILE, -(-area[2] // TILE)):
                self._paint_tile(painter, transform, (level, lines, column, row), budget)
        painter.restore()
        if budget.exceeded:
            self._again.start(0)
        self._forget_images()

    def _paint_tile(
        self, painter: QPainter, transform: QTransform, spot: Spot, budget: Budget
    ) -> None:
        ready, pixels = self.overlay.state(spot)
        if not ready and budget.left():
            self.overlay.compose(spot, budget)
            ready, pixels = self.overlay.state(spot)
        if ready or pixels is not None:
            if pixels is not None:
                self._draw(painter, transform, spot, pixels, (0, 0, TILE, TILE))
            return
        self._draw_substitute(painter, transform, spot)

    def _draw_substitute(self, painter: QPainter, transform: QTransform, spot: Spot) -> None:
        """A part of a coarser tile, or finer ones, while there is no time for the right one."""
        level, lines, column, row = spot
        for up in range(1, 4):
            above = (level + up, lines, column >> up, row >> up)
            _, pixels = self.overlay.state(above)
            if pixels is not None:
                side = TILE >> up
                left = (column - ((column >> up) << up)) * side
                top = (row - ((row >> up) << up)) * side
                self._draw(painter, transform, above, pixels, (left, top, left + side, top + side))
                return
        for down_row in (2 * row, 2 * row + 1):
            for down_column in (2 * column, 2 * column + 1):
                below = (level - 1, lines, down_column, down_row)
                _, pixels = self.overlay.state(below)
                if pixels is not None:
                    self._draw(painter, transform, below, pixels, (0, 0, TILE, TILE))

    def _draw(
        self,
        painter: QPainter,
        transform: QTransform,
        spot: Spot,
        pixels: NDArray[np.uint32],
        part: Rect,
    ) -> None:
        level, _, column, row = spot
        size = 2.0**level
        left, top = (column * TILE + part[0]) * size, (row * TILE + part[1]) * size
        source = QRectF(part[0], part[1], part[2] - part[0], part[3] - part[1])
        place = QRectF(left, top, source.width() * size, source.height() * size)
        painter.drawImage(on_pixels(transform.mapRect(place)), self._image(pixels), source)

    def _image(self, pixels: NDArray[np.uint32]) -> QImage:
        """The image on a tile's memory."""
        held = self._images.get(id(pixels))
        if held is None or held[0] is not pixels:
            view = pixels.view(np.uint8).reshape(TILE, TILE, 4)
            image = as_qimage(view, QImage.Format.Format_ARGB32_Premultiplied)
            held = self._images[id(pixels)] = (pixels, image)
        return held[1]

    def _forget_images(self) -> None:
        if len(self._images) > 256:
            self._images.clear()


def on_pixels(rect: QRectF) -> QRectF:
    """The rectangle with its edges on whole pixels, so that neighbours meet without a seam."""
    left, top = round(rect.left()), round(rect.top())
    return QRectF(left, top, round(rect.right()) - left, round(rect.bottom()) - top)
