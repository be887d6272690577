"""What each action does to the open project. One method per action, named after it."""

from __future__ import annotations

from PySide6.QtCore import QObject

from infosam_studio.ui.mask_ops import OPERATIONS
from infosam_studio.ui.workbench import Workbench


class Commands(QObject):
    """`run` finds the method ``do_<action>``; the window keeps those that need no project."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._bench = bench

    def run(self, name: str, checked: bool) -> bool:
        """Do an action; False where it is not one of these."""
        if name in self._bench.tools:
            self._bench.tools.use(name)
            self._bench.focus_canvas()
            return True
        if name in OPERATIONS:
            self._bench.editing.run(name)
            return True
        method = getattr(self, f"do_{name}", None)
        if method is None:
            return False
        method(checked)
        return True

    # edit --------------------------------------------------------------------------------

    def do_undo(self, _checked: bool) -> None:
        if self._bench.drafting.undo():
            return
        self._bench.drafting.forget_undone()
        self._bench.rewinding.undo()

    def do_redo(self, _checked: bool) -> None:
        if self._bench.drafting.redo():
            return
        self._bench.rewinding.redo()

    # object ------------------------------------------------------------------------------

    def do_accept(self, _checked: bool) -> None:
        if self._bench.tools.active.accept():
            return
        unfinished = self._bench.drafting.draft is not None or self._bench.drafting.parked
        if unfinished or not self._bench.loop.suggestions.accept_selected():
            self._bench.drafting.accept()

    def do_cancel(self, _checked: bool) -> None:
        if not self._bench.tools.active.cancel() and not self._bench.drafting.cancel():
            self._bench.document.select(())

    def do_cancel_all(self, _checked: bool) -> None:
        self._bench.drafting.cancel_all()

    def do_next_draft(self, _checked: bool) -> None:
        if not self._bench.drafting.next_draft():
            self._bench.toast.tell("There is no other unfinished object on this image.")

    def do_delete(self, _checked: bool) -> None:
        if not self._bench.loop.suggestions.dismiss_selected():
            self._bench.delete_selected()

    def do_refine(self, _checked: bool) -> None:
        selected = self._bench.document.selected
        if selected:
            self._bench.drafting.refine(selected)
            self._bench.focus_canvas()
        else:
            self._bench.toast.tell("Select an object (Ctrl+click) to refine it.")

    def do_select_all(self, _checked: bool) -> None:
        self._bench.document.select(tuple(self._bench.document.objects))

    # mask --------------------------------------------------------------------------------

    def do_merge(self, _checked: bool) -> None:
        self._bench.editing.merge()

    def do_subtract(self, _checked: bool) -> None:
        self._bench.editing.subtract_others()

    # model -------------------------------------------------------------------------------

    def do_adapt(self, _checked: bool) -> None:
        panel, adapting = self._bench.model_panel, self._bench.adapting
        panel.show()
        panel.raise_()
        if adapting.run is not None:
            self._bench.toast.tell("The model is being adapted already.")
        elif adapting.possible:
            panel.button.click()
        else:
            self._bench.toast.tell(adapting.needs())

    def do_whole_image(self, checked: bool) -> None:
        self._bench.drafting.looking.closely = not checked
        self._bench.look_closer()

    def do_cancel_adapt(self, _checked: bool) -> None:
        self._bench.adapting.cancel()

    def do_roll_back(self, _checked: bool) -> None:
        now = self._bench.adapting.roll_back()
        self._bench.toast.tell(f"In use now: {now or 'the base model'}.")

    # suggestions, what is next, the report -----------------------------------------------

    def do_suggest(self, _checked: bool) -> None:
        self._bench.loop.panel.show()
        self._bench.loop.panel.raise_()
        self._bench.loop.panel.button.click()

    def do_next_suggestion(self, _checked: bool) -> None:
        if not self._bench.loop.suggestions.select_next():
            self._bench.toast.tell("There is no suggestion to review on this image.")

    def do_accept_suggestions(self, _checked: bool) -> None:
        count = self._bench.loop.suggestions.accept_shown()
        if count:
            what = "1 suggestion" if count == 1 else f"{count} suggestions"
            self._bench.toast.tell(f"{what} accepted.", action="undo", label="Undo")
        else:
            self._bench.toast.tell("There is no suggestion to accept on this image.")

    def do_dismiss_suggestions(self, _checked: bool) -> None:
        count = self._bench.loop.suggestions.dismiss_here()
        if count:
            what = "1 suggestion" if count == 1 else f"{count} suggestions"
            self._bench.toast.tell(f"{what} dismissed.", action="undo", label="Undo")

    def do_next_review(self, _checked: bool) -> None:
        image_id = self._bench.loop.suggestions.next_image()
        if image_id is None:
            self._bench.toast.tell("No other image has suggestions to review.")
        else:
            self._bench.document.open_image(image_id)

    def do_suggested_image(self, _checked: bool) -> None:
        if self._bench.loop.next_images.on:
            self._bench.loop.next_images.go()
        else:
            self._bench.toast.tell(
                "Ranking images is off: it has not been shown to beat the order of the list.",
                action="what_next",
                label="Switch on",
            )

    def do_what_next(self, checked: bool) -> None:
        self._bench.loop.rank_images(checked)

    def do_cancel_next_images(self, _checked: bool) -> None:
        self._bench.loop.next_images.cancel()

    def do_report(self, _checked: bool) -> None:
        self._bench.labour.ask_report()

    # images ------------------------------------------------------------------------------

    def do_previous(self, _checked: bool) -> None:
        self._bench.images.step(-1)

    def do_next(self, _checked: bool) -> None:
        self._bench.images.step(1)

    def do_next_unfinished(self, _checked: bool) -> None:
        if not self._bench.images.step(1, unfinished=True):
            self._bench.toast.tell("No image to do after this one.")

    def _mark(self, state: str) -> None:
        image_id = self._bench.document.current_id
        if image_id is not None:
            self._bench.set_image_state(image_id, state)

    def do_mark_done(self, _checked: bool) -> None:
        self._mark("done")
        self._bench.images.step(1)

    def do_mark_empty(self, _checked: bool) -> None:
        self._mark("empty")
        self._bench.images.step(1)

    def do_mark_flagged(self, _checked: bool) -> None:
        self._mark("flagged")

    # view --------------------------------------------------------------------------------

    def do_fit(self, _checked: bool) -> None:
        self._bench.view.fit()

    def do_actual(self, _checked: bool) -> None:
        self._bench.view.actual_size()

    def do_zoom_in(self, _checked: bool) -> None:
        self._bench.view.zoom_by(1.25)

    def do_zoom_out(self, _checked: bool) -> None:
        self._bench.view.zoom_by(0.8)

    def do_zoom_object(self, _checked: bool) -> None:
        self._bench.zoom_to_selected()

    def do_minimap(self, checked: bool) -> None:
        self._bench.minimap.set_wanted(checked)

    def do_hide_masks(self, checked: bool) -> None:
        self._bench.layers.set_look(hidden=checked)

    def do_only_selected(self, checked: bool) -> None:
        self._bench.layers.set_look(only_selected=checked)
