"""What the adapted model gives back: suggestions, the other version's masks, what to label next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot
from PySide6.QtWidgets import QWidget

from infosam_studio.ui.comparing import Comparing
from infosam_studio.ui.next_images import ON_AT_FIRST, NextImages
from infosam_studio.ui.panels.suggest import SuggestPanel
from infosam_studio.ui.suggestion_rules import is_suggestion
from infosam_studio.ui.suggestions import Suggestions

if TYPE_CHECKING:
    from infosam_studio.ui.actions import Actions
    from infosam_studio.ui.workbench import Workbench

LABELS = {"undo": "Undo", "cancel_next_images": "Cancel"}


class Loop(QObject):
    """Built with the workbench, of which it uses document, canvas and inference thread."""

    def __init__(self, bench: Workbench, actions: Actions, window: QWidget) -> None:
        super().__init__(bench)
        self._bench = bench
        document, inference = bench.document, bench.inference
        self.suggestions = Suggestions(document, inference, self)
        self.next_images = NextImages(document, inference, self)
        self.comparing = Comparing(
            bench.view, document, bench.drafting, inference, self._other, self
        )
        window.installEventFilter(self.comparing)
        self.panel = SuggestPanel(self.suggestions, actions, window)
        self.suggestions.told.connect(self._tell)
        self.next_images.told.connect(self._tell)
        self.comparing.told.connect(self._note)
        self.comparing.shown.connect(self._show_other)
        self.suggestions.changed.connect(self._restyle)
        self.suggestions.accepted.connect(self._accepted)
        self.next_images.ordered.connect(self._show_order)
        bench.images.places_wanted.connect(self.next_images.start)
        stored = bench.settings.value("what_next")
        self.next_images.on = str(stored) == "true" if stored is not None else ON_AT_FIRST
        bench.images.offer_places(self.next_images.on)
        actions["what_next"].setChecked(self.next_images.on)
        bench.labour.told.connect(bench.tell)

    def _other(self) -> tuple[str | None, Path | None] | None:
        """The version selected in the timeline, else the one before, else base or newest."""
        adapting = self._bench.adapting
        used = adapting.in_use
        chosen = self._bench.model_panel.versions.chosen()
        if chosen != "" and chosen != used:
            return chosen, adapting.folder_of(chosen)
        name = adapting.store.before()
        if name == used:  # the base, with nothing to go back to: after a roll back, say
            same = ("", adapting.model)
            usable = [
                row.name for row in adapting.versions if not row.problem and row.checkpoint in same
            ]
            if not usable:
                return None
            name = usable[-1]
        return name, adapting.folder_of(name)

    @Slot(str, str, str)
    def _tell(self, text: str, kind: str, action: str) -> None:
        label = LABELS.get(action, "")
        self._bench.toast.tell(text, kind=kind, action=action, label=label)

    @Slot(str)
    def _note(self, text: str) -> None:
        self._bench.toast.tell(text)

    @Slot(object)
    def _show_other(self, crop: object) -> None:
        """One's own mask steps back while another version's is shown."""
        self._bench.layers.set_draft_visible(crop is None)

    @Slot(int)
    def _accepted(self, count: int) -> None:
        """Accepted suggestions are labels like others: runs by themselves count them."""
        for _ in range(count):
            self._bench.adapting.automatic.object_accepted()

    @Slot()
    def _restyle(self) -> None:
        """The slider decides which suggestions are drawn."""
        objects = self._bench.document.objects
        if any(is_suggestion(one) for one in objects.values()):
            self._bench.layers.show_suggestions_from(self.suggestions.shown_from)

    def rank_images(self, on: bool) -> None:
        """Switch the ranking on, which orders the list by it, or off."""
        self._bench.settings.setValue("what_next", "true" if on else "false")
        self.next_images.on = on
        self._bench.images.offer_places(on)
        if on:
            self._bench.images.order_by("next")
        else:
            self._bench.images.order_by("name")
            self.next_images.forget()

    @Slot()
    def _show_order(self) -> None:
        self._bench.images.show_places(self.next_images.places)

    def close(self) -> None:
        """Nothing is worked on any more."""
        self.comparing.end()
        self.suggestions.cancel()
        self.next_images.cancel()
