"""Keeps what is drawn in step with the document and the unfinished object."""

from __future__ import annotations

import time
from dataclasses import dataclass

from PySide6.QtCore import QObject, QPointF, QRectF, QTimer, Signal, Slot
from PySide6.QtGui import QColor

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui import crops
from infosam_studio.ui.canvas.marks import OutlineItem, PromptMarks
from infosam_studio.ui.canvas.overlay import Style
from infosam_studio.ui.canvas.pen_outlines import PenOutlines
from infosam_studio.ui.canvas.samples import CropSamples, LiveSamples, Room, samples_of
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.crops import Crop, Rect
from infosam_studio.ui.document import Document
from infosam_studio.ui.drafting import Drafting
from infosam_studio.ui.suggestion_rules import confidence, is_suggestion

DRAFT_KEY = -1
HOVER_KEY = -2
STROKE_KEY = -3
DRAFT_ALPHA = 0.5
LARGEST_PREVIEW = 2_000_000
TAKE_IN_MS = 8.0
GHOST_FILL = 0.35


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
    """Overlay, outlines and prompt marks of one canvas.

    Two overlays: the objects, and above them the sketch (unfinished object, preview, stroke).
    """

    changed = Signal()

    def __init__(self, view: CanvasView, document: Document, drafting: Drafting) -> None:
        super().__init__(view)
        self._view, self._document, self._drafting = view, document, drafting
        self.look = Look()
        self._drawn: dict[int, ObjectRecord] = {}
        self._waiting: dict[int, ObjectRecord] = {}
        self._draft_crop: Crop | None = None
        self._hover_crop: Crop | None = None
        self._refined: frozenset[int] = frozenset()
        self._stroked: int | None = None
        self._room = Room()
        self._marked: tuple[int, ...] = ()
        self._draft_hidden = False
        self._sure_enough = 0.0
        view.overlay.overlay.style = self._style
        view.sketch.overlay.style = self._sketch_style
        self._draft_outline, self._hover_outline = OutlineItem(), OutlineItem()
        self._draft_outline.setZValue(4)
        self._hover_outline.setZValue(3)
        self.marks = PromptMarks()
        self._pen_outlines = PenOutlines(view.overlay.overlay)
        for item in (self._pen_outlines, self._draft_outline, self._hover_outline, self.marks):
            view.scene().addItem(item)
        self._taking_in = QTimer(self)
        self._taking_in.setSingleShot(True)
        self._taking_in.timeout.connect(self._take_in)
        document.objects_changed.connect(self.refresh_objects)
        document.classes_changed.connect(self.restyle)
        document.selection_changed.connect(self._show_selection)
        document.class_chosen.connect(self.show_draft)
        drafting.changed.connect(self.show_draft)

    # objects -----------------------------------------------------------------------------

    def crop_of(self, object_id: int) -> Crop | None:
        """The mask of an object of this image."""
        record = self._document.objects.get(object_id)
        if record is None:
            return None
        drawn, mask = self._drawn.get(object_id), self._view.overlay.overlay.masks.get(object_id)
        if drawn is not None and drawn.mask == record.mask and isinstance(mask, CropSamples):
            return mask.crop
        return crops.from_rle(record.mask)

    @Slot()
    def picture_changed(self) -> None:
        """Another image is on the canvas: draw everything anew."""
        self.marks.set_bounds(*self._view.image_size)
        self._pen_outlines.set_bounds(*self._view.image_size)
        self._drawn.clear()
        self._waiting.clear()
        self._room.clear()
        self._draft_crop = self._hover_crop = None
        self._stroked = None
        self._hover_outline.show_crop(crops.EMPTY, QColor("white"))
        self.refresh_objects()
        self.show_draft()

    @Slot()
    def refresh_objects(self) -> None:
        """Bring the drawn objects in step with the document, touching only what changed."""
        if not self._view.image_size[0] or not self._shows_current():
            return
        self.end_stroke()
        wanted = self._document.objects
        self._waiting = {key: one for key, one in self._waiting.items() if key in wanted}
        for key in [key for key in self._drawn if key not in wanted]:
            del self._drawn[key]
            self._view.overlay.set(key, None)
        for key, record in wanted.items():
            known = self._drawn.get(key)
            if known is record:
                continue
            if known is None or known.mask != record.mask:
                self._waiting[key] = record
            else:
                self._drawn[key] = record
                if known != record:
                    self._view.overlay.restyle(key)
        self._take_in()
        self._pen_outlines.update()

    @Slot()
    def _take_in(self) -> None:
        """Unpack new masks, some at a time: thousands may have come with one undo."""
        ends = time.perf_counter() + TAKE_IN_MS / 1000
        while self._waiting and time.perf_counter() < ends:
            key = next(iter(self._waiting))
            record = self._waiting.pop(key)
            self._drawn[key] = record
            self._view.overlay.set(key, samples_of(record.mask, self._room))
        if self._waiting:
            self._taking_in.start(0)
        else:
            self.changed.emit()

    def _shows_current(self) -> bool:
        image = self._document.current
        return image is not None and self._view.image_size == (image.width, image.height)

    def _style(self, key: int) -> Style | None:
        """How an object is drawn now; None where it is not."""
        if not self._visible(key):
            return None
        chosen = key in self._document.selected
        alpha = self.look.opacity if self.look.fill else 0.0
        if is_suggestion(self._document.objects[key]):
            alpha *= GHOST_FILL
        if chosen:
            alpha = min(1.0, alpha + 0.15) if self.look.fill else 0.2
        if not self.look.outlines:
            return Style(self.color_of(key), alpha)
        sharp = max(1, round(self._view.devicePixelRatioF()))
        ghost = is_suggestion(self._document.objects[key])
        line = (3 if chosen else 1 if ghost else 2) * sharp
        return Style(self.color_of(key), alpha, line, halo=chosen)

    def _visible(self, key: int) -> bool:
        if self.look.hidden or key == self._stroked or key in self._drafting.refined:
            return False
        record = self._document.objects.get(key)
        if record is None or self._too_unsure(record):
            return False
        selected = self._document.selected
        return not self.look.only_selected or not selected or key in selected

    def _too_unsure(self, record: ObjectRecord) -> bool:
        return is_suggestion(record) and confidence(record) < self._sure_enough

    def color_of(self, key: int) -> QColor:
        """The colour an object is drawn in: its class's, or its own when asked for."""
        if self.look.by_object:
            return QColor.fromHsv((key * 137) % 360, 190, 235)
        record = self._drawn.get(key) or self._document.objects.get(key)
        return QColor(self._document.class_of(record.class_id if record else 0).color)

    @Slot()
    def restyle(self) -> None:
        """Colours, opacity or selection changed; shapes stay as they are."""
        self._view.overlay.restyle()
        self._pen_outlines.update()
        self._style_draft()

    @Slot()
    def _show_selection(self) -> None:
        """Draw anew only what was or is selected, unless the rest is hidden."""
        before, self._marked = self._marked, self._document.selected
        changed = {*before, *self._marked}
        if self.look.only_selected or len(changed) > 200:
            self.restyle()
            return
        for key in changed:
            self._view.overlay.restyle(key)
        self._pen_outlines.update()
        self.changed.emit()

    def select_at(self, position: QPointF, adding: bool) -> None:
        """Select the topmost object at an image position."""
        x, y = int(position.x() // 1), int(position.y() // 1)
        here = (x, y, x + 1, y + 1)
        objects = self._document.objects
        near = [key for key in self._view.overlay.overlay.near(here) if key in objects]
        near = [key for key in near if not self._too_unsure(objects[key])]
        held = self._view.overlay.overlay.masks
        hits = [key for key in near if held[key].sample(0, here).any()]
        if not hits:
            self._document.select(())
            return
        smallest = min(hits, key=lambda key: masks.area(objects[key].mask))
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

    def _sketch_style(self, key: int) -> Style | None:
        if key == HOVER_KEY:
            return Style(self._draft_color(), 0.18)
        if self.look.hidden or (key == DRAFT_KEY and self._stroked == DRAFT_KEY):
            return None
        if key == DRAFT_KEY and self._draft_hidden:
            return None
        if key == STROKE_KEY and self._stroked is not None and self._stroked != DRAFT_KEY:
            return Style(self.color_of(self._stroked), DRAFT_ALPHA)
        return Style(self._draft_color(), DRAFT_ALPHA)

    @Slot()
    def show_draft(self) -> None:
        """Draw the unfinished object and its prompts."""
        if not self._shows_current():
            return
        self.end_stroke()
        draft = self._drafting.draft
        crop = draft.crop() if draft is not None else None
        step = draft.current if draft is not None else None
        self.marks.show_prompts(step.points if step else (), step.boxes if step else ())
        if draft is not None:
            self.show_hover(None)
        refined = self._drafting.refined
        if refined != self._refined:
            # Objects taken up again are hidden behind their drafts.
            before, self._refined = self._refined, refined
            for key in before ^ refined:
                self._view.overlay.restyle(key)
        if crop is not self._draft_crop:
            self._draft_crop = crop
            drawn = crop is not None and not crop.empty_quickly
            self._view.sketch.set(DRAFT_KEY, CropSamples(crop) if crop and drawn else None)
        self._style_draft()

    def show_stroke(self, key: int, crop: Crop, dirty: Rect) -> None:
        """A mask while a stroke is being drawn, before it is committed."""
        if self._stroked != key:
            self._stroked = key
            self._view.sketch.set(STROKE_KEY, LiveSamples(crop))
            (self._view.sketch if key == DRAFT_KEY else self._view.overlay).restyle(key)
            self._draft_outline.setVisible(key != DRAFT_KEY and not self.look.hidden)
            return
        self._view.sketch.set(STROKE_KEY, LiveSamples(crop), only=dirty)

    def end_stroke(self) -> None:
        """The stroke is over: what it made is drawn from the document again."""
        key, self._stroked = self._stroked, None
        if key is None:
            return
        self._view.sketch.set(STROKE_KEY, None)
        (self._view.sketch if key == DRAFT_KEY else self._view.overlay).restyle(key)
        self._draft_outline.setVisible(not self.look.hidden)

    def _style_draft(self) -> None:
        crop = self._draft_crop if self._draft_crop is not None else crops.EMPTY
        self._draft_outline.show_crop(crop, self._draft_color(), width=2.0, halo=True)
        self._draft_outline.setVisible(not self.look.hidden and not self._draft_hidden)
        self._view.sketch.restyle(DRAFT_KEY)
        self.changed.emit()

    def set_draft_visible(self, visible: bool) -> None:
        """Hide the unfinished object's mask while another version's is shown; its marks stay."""
        if self._draft_hidden == visible:
            self._draft_hidden = not visible
            self._style_draft()

    def show_suggestions_from(self, sure: float) -> None:
        """Suggestions less sure than this are not drawn."""
        if sure != self._sure_enough:
            self._sure_enough = sure
            self.restyle()

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
            self._view.sketch.set(HOVER_KEY, None)
            return
        self._hover_outline.show_crop(crop, color, width=1.6, dashed=True)
        # Filling half of a huge image at every move would be felt; its outline says enough.
        small = 0 < crop.pixels.size < LARGEST_PREVIEW
        self._view.sketch.set(HOVER_KEY, CropSamples(crop) if small else None)

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
            record = self._document.objects.get(key)
            if record is not None:
                rect = rect.united(QRectF(*masks.bbox(record.mask)))
        return rect
