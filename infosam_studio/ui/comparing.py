"""A/B: while a key is held, the canvas shows what another version answers to the same prompts.

The live model, the unfinished object and the project stay untouched: the inference thread puts
the other version in place for a moment only, and letting go shows again what was shown before.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, Signal, Slot
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import QLabel

from infosam_studio.ui import crops
from infosam_studio.ui.asking import ask_for
from infosam_studio.ui.canvas.marks import OutlineItem
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.document import Document
from infosam_studio.ui.drafting import Drafting
from infosam_studio.ui.inference_messages import Ask, Compare, Compared
from infosam_studio.ui.theme import theme
from infosam_studio.ui.workers_inference import Inference

KEY = Qt.Key.Key_X
BASE = "the base model"

# (name, folder) of the version to compare with; name and folder None: the base. None: no other.
Other = Callable[[], tuple[str | None, Path | None] | None]


class Comparing(QObject):
    """Holds the key, asks the other version, and draws its mask in place of one's own."""

    shown = Signal(object)
    told = Signal(str)

    def __init__(
        self,
        view: CanvasView,
        document: Document,
        drafting: Drafting,
        inference: Inference,
        other: Other,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._view, self._document, self._drafting = view, document, drafting
        self._inference, self._other = inference, other
        self._serials = count(1)
        self._waiting = 0
        self._name = ""
        self.active = False
        self.crop: Crop | None = None
        self._item = OutlineItem()
        self._item.setZValue(6)
        self._item.setVisible(False)
        view.scene().addItem(self._item)
        self.label = QLabel(view)
        self.label.setObjectName("comparing")
        self.label.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.label.hide()
        inference.compared.connect(self._take)
        document.current_changed.connect(self.end)
        drafting.changed.connect(self._again)

    # the key -----------------------------------------------------------------------------

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Installed on the window: nobody else wants this key, or it would not come here."""
        if event.type() == QEvent.Type.WindowDeactivate:
            self.end()
        if isinstance(event, QKeyEvent) and event.key() == KEY and not event.isAutoRepeat():
            plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
            if event.type() == QEvent.Type.KeyPress and plain:
                self.begin()
                return True
            if event.type() == QEvent.Type.KeyRelease and self.active:
                self.end()
                return True
        return super().eventFilter(watched, event)

    def begin(self) -> None:
        """Show the other version's mask for the current prompts from now on."""
        if self.active:
            return
        other, asks = self._other(), self._asks()
        if other is None:
            self.told.emit("There is only one version so far: adapt the model to have another.")
        elif not asks:
            self.told.emit("Click an object, or select one made by clicks, to compare versions.")
        else:
            self.active = True
            self._ask(other, asks)

    def _ask(self, other: tuple[str | None, Path | None], asks: tuple[Ask, ...]) -> None:
        self._name = other[0] or BASE
        self._waiting = next(self._serials)
        self._tell(f"Asking {self._name}…")
        image_id = self._document.current_id or 0
        self._inference.submit(Compare(self._waiting, image_id, asks, other[1]))

    @Slot()
    def end(self) -> None:
        """Show again what was shown before."""
        if not self.active:
            return
        self.active, self._waiting, self.crop = False, 0, None
        self._item.setVisible(False)
        self.label.hide()
        self.shown.emit(None)

    @Slot()
    def _again(self) -> None:
        """Another click while the key is held: ask the other version too."""
        other, asks = self._other(), self._asks()
        draft = self._drafting.draft
        if self.active and (draft is None or other is None or not asks):
            self.end()
        elif self.active and other is not None:
            self._ask(other, asks)

    # what is asked -----------------------------------------------------------------------

    def _asks(self) -> tuple[Ask, ...]:
        """The prompts of the unfinished object, else of the one that is selected."""
        draft = self._drafting.draft
        if draft is not None:
            steps = [step for step in draft.steps if not step.by_hand]
            return tuple(ask_for(draft, step) for step in steps)
        selected = self._document.selected
        record = self._document.objects.get(selected[0]) if len(selected) == 1 else None
        if record is None or not (record.prompts.points or record.prompts.boxes):
            return ()
        points, boxes = record.prompts.points, record.prompts.boxes
        lone = len(points) == 1 and not boxes
        box = boxes[-1] if boxes else None
        return (Ask(0, record.image_id, points, box, multimask=lone),)

    # what is shown -----------------------------------------------------------------------

    @Slot(object)
    def _take(self, compared: Compared) -> None:
        if not self.active or compared.serial != self._waiting:
            return
        if compared.crop is None:
            self.end()
            self.told.emit(compared.problem)
            return
        self.crop = compared.crop
        color = QColor(theme().tokens.warn)
        shown = self.crop if not self.crop.empty else crops.EMPTY
        self._item.show_crop(shown, color, width=2.4, halo=True, dashed=True)
        self._item.setVisible(True)
        nothing = " finds nothing here" if self.crop.empty else ""
        self._tell(f"{self._name}{nothing}  ·  release X to go back")
        self.shown.emit(self.crop)

    def _tell(self, text: str) -> None:
        tokens = theme().tokens
        self.label.setText(text)
        self.label.setStyleSheet(
            f"background: {tokens.text}; color: {tokens.window}; border-radius: 9px;"
            "padding: 5px 12px;"
            "font-weight: 600;"
        )
        self.label.adjustSize()
        place = QPoint((self._view.width() - self.label.width()) // 2, 12)
        self.label.move(place)
        self.label.show()
        self.label.raise_()
