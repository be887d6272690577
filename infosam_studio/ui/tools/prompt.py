"""The prompt tool: click adds, right click removes, drag draws a box, points can be moved."""

from __future__ import annotations

from PySide6.QtCore import QElapsedTimer, QPointF, QRectF, Qt, QTimer, Slot
from PySide6.QtGui import QGuiApplication, QKeyEvent, QMouseEvent

from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.drafting import Drafting
from infosam_studio.ui.inference_messages import Hover, HoverAnswer, ModelState
from infosam_studio.ui.tools.base import Tool
from infosam_studio.ui.workers_inference import Inference

Box = tuple[float, float, float, float]

HIT_RADIUS = 8.0
HOVER_EVERY_MS = 40


class PromptTool(Tool):
    """What most labelling needs: points and boxes for the unfinished object."""

    name = "prompt"
    title = "Click or box"
    hint = "Click an object or drag a box around it"
    box_only = False

    def __init__(
        self,
        view: CanvasView,
        layers: CanvasLayers,
        document: Document,
        drafting: Drafting,
        inference: Inference,
    ) -> None:
        super().__init__(view)
        self._view, self._layers = view, layers
        self._document, self._drafting, self._inference = document, drafting, inference
        self._pressed: QPointF | None = None
        self._button = Qt.MouseButton.NoButton
        self._dragging = False
        self._moved_point: int | None = None
        self.hover_enabled = True
        self._hover_at: QPointF | None = None
        self._hover_clock = QElapsedTimer()
        self._hover_clock.start()
        self._hover_timer = QTimer(self)
        self._hover_timer.setSingleShot(True)
        self._hover_timer.timeout.connect(self._ask_hover)
        inference.hovered.connect(self._show_hover)
        inference.model_state.connect(self._model_changed)

    def deactivate(self) -> None:
        self._pressed, self._dragging, self._moved_point = None, False, None
        self._layers.marks.show_rubber(None)
        self.leave()

    def leave(self) -> None:
        self._hover_at = None
        self._hover_timer.stop()
        self._layers.show_hover(None)

    # pointer -----------------------------------------------------------------------------

    def press(self, position: QPointF, event: QMouseEvent) -> None:
        self._layers.show_hover(None)
        self._hover_at = None
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            adding = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._layers.select_at(position, adding)
            return
        self._pressed, self._button, self._dragging = position, event.button(), False
        self._moved_point = self._point_at(position)

    def move(self, position: QPointF, event: QMouseEvent) -> None:
        if self._pressed is None:
            self._hover(position)
            return
        if not self._dragging:
            start = self._view.to_viewport(self._pressed.x(), self._pressed.y())
            here = self._view.to_viewport(position.x(), position.y())
            distance = (here - start).manhattanLength()
            self._dragging = distance >= QGuiApplication.styleHints().startDragDistance() / 2
        if not self._dragging or self._button != Qt.MouseButton.LeftButton:
            return
        if self._moved_point is not None:
            self._layers.move_mark(self._moved_point, position)
        else:
            self._layers.marks.show_rubber(QRectF(self._pressed, position).normalized())

    def release(self, position: QPointF, event: QMouseEvent) -> None:
        start, self._pressed = self._pressed, None
        point, self._moved_point = self._moved_point, None
        self._layers.marks.show_rubber(None)
        if start is None or event.button() != self._button:
            return
        left = self._button == Qt.MouseButton.LeftButton
        if self._dragging and left:
            if point is not None:
                self._move_point(point, position)
            else:
                self._box(start, position)
        elif point is not None and not left:
            self._drafting.change_point(point, None)
        else:
            self._click(position, event)
        self._dragging = False

    def _click(self, position: QPointF, event: QMouseEvent) -> None:
        modifiers = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.AltModifier
        removes = event.button() == Qt.MouseButton.RightButton or event.modifiers() & modifiers
        width, height = self._view.image_size
        x, y = int(position.x() // 1), int(position.y() // 1)
        if 0 <= x < width and 0 <= y < height:
            self._drafting.add_point(x, y, 0 if removes else 1)

    def _box(self, start: QPointF, end: QPointF) -> None:
        width, height = self._view.image_size
        x0, x1 = sorted((start.x(), end.x()))
        y0, y1 = sorted((start.y(), end.y()))
        x0, y0 = max(0.0, x0), max(0.0, y0)
        x1, y1 = min(float(width), x1), min(float(height), y1)
        if x1 - x0 >= 2 and y1 - y0 >= 2:
            # From edges to the centres of the outermost pixels, as the model counts.
            self._box_drawn((x0, y0, x1 - 1, y1 - 1))

    def _box_drawn(self, box: Box) -> None:
        """A box was dragged, (x0, y0, x1, y1) between pixel centres."""
        self._drafting.add_box(*box)

    def _move_point(self, index: int, position: QPointF) -> None:
        draft = self._drafting.draft
        if draft is not None and draft.current is not None:
            label = draft.current.points[index][2]
            point = (float(position.x() // 1), float(position.y() // 1), label)
            self._drafting.change_point(index, point)

    def _point_at(self, position: QPointF) -> int | None:
        draft = self._drafting.draft
        if draft is None or draft.current is None:
            return None
        here = self._view.to_viewport(position.x(), position.y())
        for index, (x, y, _) in enumerate(draft.current.points):
            there = self._view.to_viewport(x + 0.5, y + 0.5)
            if (here - there).manhattanLength() <= HIT_RADIUS:
                return index
        return None

    # hover -------------------------------------------------------------------------------

    def set_hover(self, enabled: bool) -> None:
        """Show what a click would give, or not."""
        self.hover_enabled = enabled
        if not enabled:
            self.leave()

    def _hover(self, position: QPointF) -> None:
        if not self.hover_enabled or self.box_only or self._drafting.draft is not None:
            return
        self._hover_at = position
        if not self._hover_timer.isActive():
            rest = HOVER_EVERY_MS - self._hover_clock.elapsed()
            self._hover_timer.start(max(0, int(rest)))

    @Slot()
    def _ask_hover(self) -> None:
        image_id, position = self._document.current_id, self._hover_at
        if image_id is None or position is None:
            return
        width, height = self._view.image_size
        x, y = position.x() // 1, position.y() // 1
        if not (0 <= x < width and 0 <= y < height):
            self._layers.show_hover(None)
            return
        self._hover_clock.restart()
        self._inference.submit(Hover(image_id, x, y, self._drafting.looking.region))

    @Slot(object)
    def _show_hover(self, answer: HoverAnswer) -> None:
        wanted = self._hover_at is not None and self._drafting.draft is None
        if wanted and answer.image_id == self._document.current_id:
            self._layers.show_hover(answer.crop)

    @Slot(object)
    def _model_changed(self, state: ModelState) -> None:
        """Under a pointer that rests, no preview of another version stays behind."""
        if self._hover_at is not None and self._drafting.draft is None:
            self._layers.show_hover(None)
            if state.phase == "ready":
                self._ask_hover()

    # keys --------------------------------------------------------------------------------

    def tab(self, direction: int) -> bool:
        return self._drafting.cycle(direction)

    def key(self, event: QKeyEvent) -> bool:
        return False


class BoxTool(PromptTool):
    """Every box begins an object of its own; all of them are accepted together.

    A click on one of them goes on with it, a right click dismisses it.
    """

    name = "box"
    title = "Boxes"
    hint = "Drag a box around each object; Enter keeps them all, right click drops one"
    box_only = True

    def _box_drawn(self, box: Box) -> None:
        self._drafting.begin_box(*box)

    def _click(self, position: QPointF, event: QMouseEvent) -> None:
        draft = self._draft_at(position)
        if draft is None:
            return
        if event.button() == Qt.MouseButton.RightButton:
            self._drafting.dismiss(draft)
        else:
            self._drafting.activate(draft)

    def _draft_at(self, position: QPointF) -> Draft | None:
        """The smallest unfinished object whose mask or box is here."""
        x, y = int(position.x() // 1), int(position.y() // 1)
        active = self._drafting.draft
        found = [*self._drafting.parked, *([active] if active is not None else [])]
        hits = [(area, one) for one in found if (area := _area_at(one, x, y)) is not None]
        return min(hits, key=lambda hit: hit[0])[1] if hits else None


def _area_at(draft: Draft, x: int, y: int) -> float | None:
    """The area of what of a draft lies at a pixel, None where nothing does."""
    crop, step = draft.crop(), draft.current
    if crop is not None and crop.contains(x, y):
        return crop.area
    for x0, y0, x1, y1 in step.boxes if step is not None else ():
        if x0 <= x <= x1 and y0 <= y <= y1:
            return (x1 - x0 + 1) * (y1 - y0 + 1)
    return None
