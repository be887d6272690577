"""The image on the canvas: levels of halved size, drawn from the one that fits the zoom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QLineF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPen
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.annotation._cv2 import cv2

Levels = tuple[NDArray[np.uint8], ...]

SMALLEST_LEVEL = 512
CRISP_FROM = 2.0
GRID_FROM = 16.0


@dataclass(frozen=True)
class Picture:
    """An upright image ready to be drawn.

    ``pixels`` uint8 [H,W,3] RGB; ``levels`` uint8 [h,w,4] BGRA, each half the size before.
    """

    image_id: int
    pixels: NDArray[np.uint8]
    levels: tuple[NDArray[np.uint8], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.pixels.shape[:2]
        return width, height


def make_levels(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Drawable levels of an RGB image uint8 [H,W,3]; slow, for a worker thread."""
    levels = [cv2.cvtColor(pixels, cv2.COLOR_RGB2BGRA)]
    while max(levels[-1].shape[:2]) > 2 * SMALLEST_LEVEL:
        height, width = levels[-1].shape[:2]
        half = (max(1, width // 2), max(1, height // 2))
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    return tuple(np.ascontiguousarray(level) for level in levels)


def as_qimage(array: NDArray[np.uint8], image_format: QImage.Format) -> QImage:
    """A QImage on the memory of ``array`` uint8 [h,w,4] (it keeps the array alive)."""
    height, width = array.shape[:2]
    return QImage(array, width, height, array.strides[0], image_format)  # type: ignore[call-overload]


class PictureItem(QGraphicsItem):
    """Draws the exposed part of a picture, averaged when zoomed out, crisp when zoomed in."""

    def __init__(self) -> None:
        super().__init__()
        self._levels: list[QImage] = []
        self._rect = QRectF()
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemUsesExtendedStyleOption)

    def show_levels(self, levels: tuple[NDArray[np.uint8], ...], width: int, height: int) -> None:
        """Show an image of ``width`` × ``height`` pixels."""
        self.prepareGeometryChange()
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
        if not self._levels:
            return
        scale = painter.worldTransform().m11() * painter.device().devicePixelRatio()
        level = self._level_for(scale)
        image = self._levels[level]
        exposed = option.exposedRect.intersected(self._rect)  # type: ignore[attr-defined]
        sx, sy = image.width() / self._rect.width(), image.height() / self._rect.height()
        smooth = scale < CRISP_FROM
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        source = QRectF(
            exposed.x() * sx, exposed.y() * sy, exposed.width() * sx, exposed.height() * sy
        )
        painter.drawImage(exposed, image, source, Qt.ImageConversionFlag.NoFormatConversion)
        if scale >= GRID_FROM:
            self._draw_grid(painter, exposed)

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
