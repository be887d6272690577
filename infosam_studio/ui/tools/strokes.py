"""Tools drawn as one line: lasso and scribble as prompts, the knife."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor, QMouseEvent, QPainterPath

from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.drafting import Drafting
from infosam_studio.ui.editing import Editing
from infosam_studio.ui.tools.base import Tool

SCRIBBLE_POINTS = 8


class StrokeTool(Tool):
    """Collects the pointer's way while a button is down."""

    color = QColor("#ffffff")
    closed = False

    def __init__(self, view: CanvasView, layers: CanvasLayers) -> None:
        super().__init__(view)
        self._view, self._layers = view, layers
        self._path: list[tuple[float, float]] | None = None
        self._button = Qt.MouseButton.NoButton

    def deactivate(self) -> None:
        self._path = None
        self._layers.marks.show_stroke(None, self.color)

    def press(self, position: QPointF, event: QMouseEvent) -> None:
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self._layers.select_at(position, False)
            return
        self._path = [(position.x(), position.y())]
        self._button = event.button()

    def move(self, position: QPointF, event: QMouseEvent) -> None:
        if self._path is None:
            return
        self._path.append((position.x(), position.y()))
        path = QPainterPath(QPointF(*self._path[0]))
        for x, y in self._path[1:]:
            path.lineTo(x, y)
        if self.closed:
            path.closeSubpath()
        self._layers.marks.show_stroke(path, self.color)

    def release(self, position: QPointF, event: QMouseEvent) -> None:
        path, self._path = self._path, None
        self._layers.marks.show_stroke(None, self.color)
        if path is not None and len(path) >= 2:
            self.finish(path, self._button)

    def finish(self, path: list[tuple[float, float]], button: Qt.MouseButton) -> None:
        """The line is complete."""


class CutTool(StrokeTool):
    """Splits an object along a line."""

    name = "cut"
    title = "Split"
    hint = "Draw a line right across an object to split it"
    color = QColor("#ff6b72")

    def __init__(self, view: CanvasView, layers: CanvasLayers, editing: Editing) -> None:
        super().__init__(view, layers)
        self._editing = editing

    def finish(self, path: list[tuple[float, float]], button: Qt.MouseButton) -> None:
        self._editing.cut(path)


class LassoTool(StrokeTool):
    """A loose loop around an object: its box, and points inside."""

    name = "lasso"
    title = "Lasso"
    hint = "Draw a loop loosely around an object"
    closed = True

    def __init__(self, view: CanvasView, layers: CanvasLayers, drafting: Drafting) -> None:
        super().__init__(view, layers)
        self._drafting = drafting

    def finish(self, path: list[tuple[float, float]], button: Qt.MouseButton) -> None:
        width, height = self._view.image_size
        array = np.clip(np.array(path), 0, [width, height])
        x0, y0 = array.min(axis=0)
        x1, y1 = array.max(axis=0)
        if x1 - x0 >= 2 and y1 - y0 >= 2:
            box = (float(x0), float(y0), float(x1 - 1), float(y1 - 1))
            self._drafting.add_prompts((), box, "lasso")


class ScribbleTool(StrokeTool):
    """A line over an object: points along it; with the right button points that remove."""

    name = "scribble"
    title = "Scribble"
    hint = "Scribble over the object; with the right button over what is too much"
    color = QColor("#1fa971")

    def __init__(self, view: CanvasView, layers: CanvasLayers, drafting: Drafting) -> None:
        super().__init__(view, layers)
        self._drafting = drafting

    def finish(self, path: list[tuple[float, float]], button: Qt.MouseButton) -> None:
        label = 0 if button == Qt.MouseButton.RightButton else 1
        if label == 0 and self._drafting.draft is None:
            return
        width, height = self._view.image_size
        array = np.floor(np.array(path))
        inside = (array >= 0).all(axis=1) & (array < [width, height]).all(axis=1)
        chosen = _spread(array[inside])
        points = tuple((float(x), float(y), label) for x, y in chosen)
        if points:
            self._drafting.add_prompts(points, None, "scribble")


def _spread(array: np.ndarray) -> np.ndarray:
    """A few points, evenly along the line."""
    if len(array) < 2:
        return array
    steps = np.hypot(*np.diff(array, axis=0).T)
    along = np.concatenate([[0], np.cumsum(steps)])
    count = int(min(SCRIBBLE_POINTS, max(2, along[-1] // 12)))
    wanted = np.linspace(along[-1] * 0.08, along[-1] * 0.92, count)
    return array[np.unique(np.searchsorted(along, wanted).clip(0, len(array) - 1))]
