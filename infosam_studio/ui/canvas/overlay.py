"""All masks of an image in one premultiplied buffer, repainted in dirty rectangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QGraphicsItem, QStyleOptionGraphicsItem, QWidget

from infosam_studio.ui.canvas.picture import as_qimage
from infosam_studio.ui.crops import Crop, Rect, intersect

# Above this many pixels the fill is kept at a fraction of the image's size; outlines stay exact.
LARGEST_BUFFER = 50_000_000


@dataclass
class Shape:
    """A mask as it is drawn: its colour and how opaque its fill is (0..1)."""

    crop: Crop
    color: QColor
    alpha: float
    visible: bool = True

    def premultiplied(self) -> int:
        """The fill as 0xAARRGGBB with the colour multiplied by alpha."""
        alpha = self.alpha
        red, green, blue = self.color.red(), self.color.green(), self.color.blue()
        value = (round(alpha * 255) << 24) | (round(red * alpha) << 16)
        return value | (round(green * alpha) << 8) | round(blue * alpha)


class OverlayBuffer:
    """Shapes by key, painted in order of insertion; the later one is on top."""

    def __init__(self, width: int, height: int) -> None:
        self.step = 1
        while width * height / self.step**2 > LARGEST_BUFFER:
            self.step *= 2
        self.width, self.height = width, height
        size = (-(-height // self.step), -(-width // self.step))
        self.pixels: NDArray[np.uint32] = np.zeros(size, np.uint32)
        self.shapes: dict[int, Shape] = {}

    def set(self, key: int, shape: Shape | None) -> Rect | None:
        """Add, replace or (None) take away a shape; returns the rectangle that changed."""
        before = self.shapes.get(key)
        if shape is None:
            self.shapes.pop(key, None)
        else:
            self.shapes[key] = shape
        dirty = None
        for one in (before, shape):
            if one is not None and not one.crop.empty:
                rect = one.crop.rect
                dirty = rect if dirty is None else _around(dirty, rect)
        if dirty is not None:
            self.repaint(dirty)
        return dirty

    def replace_all(self, shapes: dict[int, Shape]) -> None:
        """Show exactly these shapes."""
        self.shapes = dict(shapes)
        self.repaint((0, 0, self.width, self.height))

    def repaint(self, rect: Rect) -> None:
        """Compose the shapes anew inside ``rect`` (image pixels)."""
        step = self.step
        common = intersect(rect, (0, 0, self.width, self.height))
        if common is None:
            return
        area = (
            common[0] // step,
            common[1] // step,
            -(-common[2] // step),
            -(-common[3] // step),
        )
        self.pixels[area[1] : area[3], area[0] : area[2]] = 0
        for shape in self.shapes.values():
            if shape.visible and not shape.crop.empty:
                self._blend(shape, area)

    def _blend(self, shape: Shape, area: Rect) -> None:
        crop, step = shape.crop, self.step
        left, top = -(-crop.x0 // step), -(-crop.y0 // step)
        pixels = crop.pixels[top * step - crop.y0 :: step, left * step - crop.x0 :: step]
        height, width = pixels.shape
        common = intersect((left, top, left + width, top + height), area)
        if common is None:
            return
        x0, y0, x1, y1 = common
        inside = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
        self.pixels[y0:y1, x0:x1][inside] = shape.premultiplied()


def _around(first: Rect, second: Rect) -> Rect:
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


class OverlayItem(QGraphicsItem):
    """Draws an `OverlayBuffer` over the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = OverlayBuffer(0, 0)
        self._image = QImage()
        self.setFlag(QGraphicsItem.GraphicsItemFlag.ItemUsesExtendedStyleOption)
        self.setZValue(1)

    def reset(self, width: int, height: int) -> None:
        """An empty overlay for an image of this size."""
        self.prepareGeometryChange()
        self.buffer = OverlayBuffer(width, height)
        rows, columns = self.buffer.pixels.shape
        view = self.buffer.pixels.view(np.uint8).reshape(rows, columns, 4)
        self._image = (
            as_qimage(view, QImage.Format.Format_ARGB32_Premultiplied) if view.size else QImage()
        )
        self.update()

    def set(self, key: int, shape: Shape | None) -> None:
        """Change one shape and repaint what it covered and covers."""
        dirty = self.buffer.set(key, shape)
        if dirty is not None:
            self.touch(dirty)

    def replace_all(self, shapes: dict[int, Shape]) -> None:
        """Show exactly these shapes."""
        self.buffer.replace_all(shapes)
        self.update()

    def touch(self, rect: Rect) -> None:
        """Ask the view to paint ``rect`` again."""
        x0, y0, x1, y1 = rect
        margin = self.buffer.step
        self.update(QRectF(x0 - margin, y0 - margin, x1 - x0 + 2 * margin, y1 - y0 + 2 * margin))

    def boundingRect(self) -> QRectF:
        return QRectF(0, 0, self.buffer.width, self.buffer.height)

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionGraphicsItem,
        widget: QWidget | None = None,
    ) -> None:
        if self._image.isNull():
            return
        step = self.buffer.step
        exposed = option.exposedRect.intersected(self.boundingRect())  # type: ignore[attr-defined]
        scale = painter.worldTransform().m11() * painter.device().devicePixelRatio()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, scale < 1.0)
        source = QRectF(
            exposed.x() / step,
            exposed.y() / step,
            exposed.width() / step,
            exposed.height() / step,
        )
        painter.drawImage(exposed, self._image, source)
