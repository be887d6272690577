"""Keeps what is drawn in step with the document and the unfinished object."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, QPointF, QRectF, Signal, Slot
from PySide6.QtGui import QColor

from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui import crops
from infosam_studio.ui.canvas.marks import OutlineItem, PromptMarks
from infosam_studio.ui.canvas.overlay import Shape
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.crops import Crop, Rect
from infosam_studio.ui.document import Document
from infosam_studio.ui.drafting import Drafting

DRAFT_KEY = -1
HOVER_KEY = -2
DRAFT_ALPHA = 0.5
LARGEST_PREVIEW = 2_000_000


@dataclass
class Look:
    """How masks are shown."""

    opacity: float = 0.42
    fill: bool = True
    outlines: bool = True
    hidden: bool = False
    only_selected: bool = False
    by_object: bool = False


class CanvasLayers(QObject):
    """Overlay, outlines and prompt marks of one canvas."""

    changed = Signal()

    def __init__(self, view: CanvasView, document: Document, drafting: Drafting) -> None:
        super().__init__(view)
        self._view, self._document, self._drafting = view, document, drafting
        self.look = Look()
        self._crops: dict[int, tuple[ObjectRecord, Crop]] = {}
        self._outlines: dict[int, OutlineItem] = {}
        self._draft_crop: Crop | None = None
        self._hover_crop: Crop | None = None
        self._refined: frozenset[int] = frozenset()
        self._marked: tuple[int, ...] = ()
        self._draft_outline, self._hover_outline = OutlineItem(), OutlineItem()
        self._draft_outline.setZValue(4)
        self._hover_outline.setZValue(3)
        self.marks = PromptMarks()
        for item in (self._draft_outline, self._hover_outline, self.marks):
            view.scene().addItem(item)
        document.objects_changed.connect(self.refresh_objects)
        document.classes_changed.connect(self.restyle)
        document.selection_changed.connect(self._show_selection)
        document.class_chosen.connect(self.show_draft)
        drafting.changed.connect(self.show_draft)

    # objects -----------------------------------------------------------------------------

    def crop_of(self, object_id: int) -> Crop | None:
        """The mask of an object of this image."""
        entry = self._crops.get(object_id)
        return entry[1] if entry else None

    @Slot()
    def picture_changed(self) -> None:
        """Another image is on the canvas: draw everything anew."""
        self.marks.set_bounds(*self._view.image_size)
        for item in self._outlines.values():
            self._view.scene().removeItem(item)
        self._outlines.clear()
        self._crops.clear()
        self._draft_crop = self._hover_crop = None
        self._hover_outline.show_crop(crops.EMPTY, QColor("white"))
        self.refresh_objects()
        self.show_draft()

    @Slot()
    def refresh_objects(self) -> None:
        """Bring the drawn objects in step with the document, touching only what changed."""
        if not self._view.image_size[0] or not self._shows_current():
            return
        wanted = self._document.objects
        gone = [key for key in self._crops if key not in wanted]
        for key in gone:
            self._crops.pop(key)
            self._view.scene().removeItem(self._outlines.pop(key))
            self._view.overlay.set(key, None)
        for key, record in wanted.items():
            known = self._crops.get(key)
            if known is None or known[0].mask != record.mask:
                self._crops[key] = (record, crops.from_rle(record.mask))
                self._add_outline(key)
                self._view.overlay.set(key, self._shape(key))
            elif known[0] != record:
                self._crops[key] = (record, known[1])
                self._view.overlay.set(key, self._shape(key))
                self._style_outline(key)
        self.changed.emit()

    def _shows_current(self) -> bool:
        image = self._document.current
        return image is not None and self._view.image_size == (image.width, image.height)

    def _add_outline(self, key: int) -> None:
        item = self._outlines.get(key)
        if item is None:
            item = self._outlines[key] = OutlineItem()
            self._view.scene().addItem(item)
        item.show_crop(self._crops[key][1], self.color_of(key))
        self._style_outline(key)

    def _style_outline(self, key: int) -> None:
        chosen = key in self._document.selected
        item = self._outlines[key]
        width = 2.4 if chosen else 1.5
        item.restyle(self.color_of(key), width=width, halo=chosen)
        item.setVisible(self.look.outlines and self._visible(key))

    def _shape(self, key: int) -> Shape:
        alpha = self.look.opacity if self.look.fill else 0.0
        if key in self._document.selected:
            alpha = min(1.0, alpha + 0.15) if self.look.fill else 0.2
        shape = Shape(self._crops[key][1], self.color_of(key), alpha)
        shape.visible = self._visible(key)
        return shape

    def _visible(self, key: int) -> bool:
        if self.look.hidden or key in self._drafting.refined:
            return False
        selected = self._document.selected
        return not self.look.only_selected or not selected or key in selected

    def color_of(self, key: int) -> QColor:
        """The colour an object is drawn in: its class's, or its own when asked for."""
        if self.look.by_object:
            return QColor.fromHsv((key * 137) % 360, 190, 235)
        return QColor(self._document.class_of(self._crops[key][0].class_id).color)

    @Slot()
    def restyle(self) -> None:
        """Colours, opacity or selection changed; shapes stay as they are."""
        shapes = {key: self._shape(key) for key in self._crops}
        draft = self._draft_shape()
        if draft is not None:
            shapes[DRAFT_KEY] = draft
        self._view.overlay.replace_all(shapes)
        for key in self._crops:
            self._style_outline(key)
        self._style_draft()

    @Slot()
    def _show_selection(self) -> None:
        """Draw anew only what was or is selected, unless the rest is hidden."""
        before, self._marked = self._marked, self._document.selected
        if self.look.only_selected:
            self.restyle()
            return
        for key in {*before, *self._marked}:
            self._redraw(key)
        self.changed.emit()

    def _redraw(self, key: int) -> None:
        if key in self._crops:
            self._view.overlay.set(key, self._shape(key))
            self._style_outline(key)

    def select_at(self, position: QPointF, adding: bool) -> None:
        """Select the topmost object at an image position."""
        x, y = int(position.x()), int(position.y())
        hits = [key for key, (_, crop) in self._crops.items() if crop.contains(x, y)]
        if not hits:
            self._document.select(())
            return
        smallest = min(hits, key=lambda key: self._crops[key][1].area)
        if not adding:
            self._document.select((smallest,))
            return
        selected = self._document.selected
        if smallest in selected:
            self._document.select(tuple(key for key in selected if key != smallest))
        else:
            self._document.select((*selected, smallest))

    # the unfinished object ---------------------------------------------------------------

    def _draft_color(self) -> QColor:
        return QColor(self._document.class_of(self._document.class_id).color)

    def _draft_shape(self) -> Shape | None:
        if self._draft_crop is None or self._draft_crop.empty:
            return None
        alpha = 0.0 if self.look.hidden else DRAFT_ALPHA
        return Shape(self._draft_crop, self._draft_color(), alpha)

    @Slot()
    def show_draft(self) -> None:
        """Draw the unfinished object and its prompts."""
        if not self._shows_current():
            return
        draft = self._drafting.draft
        crop = draft.crop() if draft is not None else None
        step = draft.current if draft is not None else None
        self.marks.show_prompts(step.points if step else (), step.boxes if step else ())
        if draft is not None:
            self.show_hover(None)
        self._draft_crop = crop
        before, self._refined = self._refined, self._drafting.refined
        for key in before ^ self._refined:
            self._redraw(key)  # an object taken up again is hidden behind its draft
        self._view.overlay.set(DRAFT_KEY, self._draft_shape())
        self._style_draft()

    def show_stroke(self, key: int, crop: Crop, dirty: Rect) -> None:
        """A mask while a stroke is being drawn, before it is committed."""
        overlay = self._view.overlay
        shape = overlay.buffer.shapes.get(key)
        if shape is None:
            shape = Shape(crop, self._draft_color(), DRAFT_ALPHA)
            overlay.buffer.shapes[key] = shape
        shape.crop = crop
        outline = self._draft_outline if key == DRAFT_KEY else self._outlines[key]
        outline.setVisible(False)
        overlay.buffer.repaint(dirty)
        overlay.touch(dirty)

    def _style_draft(self) -> None:
        crop = self._draft_crop if self._draft_crop is not None else crops.EMPTY
        self._draft_outline.show_crop(crop, self._draft_color(), width=2.0, halo=True)
        self._draft_outline.setVisible(not self.look.hidden)
        self.changed.emit()

    def move_mark(self, index: int, position: QPointF) -> None:
        """A prompt point while it is being dragged."""
        draft = self._drafting.draft
        if draft is None or draft.current is None:
            return
        points = list(draft.current.points)
        label = points[index][2]
        points[index] = (position.x() - 0.5, position.y() - 0.5, label)
        self.marks.show_prompts(tuple(points), draft.current.boxes)

    def show_hover(self, crop: Crop | None) -> None:
        """What a click here would give; None takes it away."""
        if crop is None and self._hover_crop is None:
            return
        self._hover_crop = crop
        color = self._draft_color()
        if crop is None:
            self._hover_outline.show_crop(crops.EMPTY, color)
            self._view.overlay.set(HOVER_KEY, None)
            return
        self._hover_outline.show_crop(crop, color, width=1.6, dashed=True)
        # Filling half of a huge image at every move would be felt; its outline says enough.
        small = crop.pixels.size < LARGEST_PREVIEW
        self._view.overlay.set(HOVER_KEY, Shape(crop, color, 0.18) if small else None)

    # looking -----------------------------------------------------------------------------

    def set_look(self, **changes: object) -> None:
        """Change opacity, fill, outlines, hidden, only_selected or by_object."""
        for key, value in changes.items():
            setattr(self.look, key, value)
        self.restyle()
        self.show_hover(None)

    def rect_of(self, object_ids: tuple[int, ...]) -> QRectF:
        """The rectangle around objects, in image pixels."""
        rect = QRectF()
        for key in object_ids:
            crop = self.crop_of(key)
            if crop is not None and not crop.empty:
                x0, y0, x1, y1 = crop.rect
                rect = rect.united(QRectF(x0, y0, x1 - x0, y1 - y0))
        return rect
