"""Every action of the window: its words, icon and keys. Keys can be remapped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QObject, QSettings, Qt, Signal, Slot
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow, QWidget

from infosam_studio.ui import icons
from infosam_studio.ui.theme import Tokens, theme


@dataclass(frozen=True)
class Spec:
    """One action. ``where``: ``window``, or ``canvas`` for keys that text fields need too."""

    name: str
    text: str
    group: str
    keys: tuple[str, ...] = ()
    icon: str = ""
    where: str = "window"
    checkable: bool = False
    needs_project: bool = True


SPECS = (
    Spec("open", "Open folder…", "Project", ("Ctrl+O",), "open", needs_project=False),
    Spec("open_files", "Open images or a list…", "Project", ("Ctrl+Shift+O",), needs_project=False),
    Spec("samples", "Try the samples", "Project", (), "samples", needs_project=False),
    Spec("export", "Export…", "Project", ("Ctrl+E",), "export"),
    Spec("report", "Progress report…", "Project", (), "chart"),
    Spec("import", "Import labels…", "Project", ("Ctrl+I",), "import"),
    Spec("add_images", "Add images…", "Project", (), "add"),
    Spec("relocate", "Find moved images…", "Project", (), "search"),
    Spec("close_project", "Close project", "Project", ("Ctrl+W",), "close"),
    Spec("quit", "Quit", "Project", ("Ctrl+Q",), needs_project=False),
    Spec("undo", "Undo", "Edit", ("Ctrl+Z",), "undo"),
    Spec("redo", "Redo", "Edit", ("Ctrl+Shift+Z", "Ctrl+Y"), "redo"),
    Spec("accept", "Accept", "Object", ("Return", "Enter", "N"), "accept", "canvas"),
    Spec("cancel", "Cancel object", "Object", ("Esc",), "cancel", "canvas"),
    Spec("cancel_all", "Cancel all unfinished", "Object", ("Shift+Esc",), "", "canvas"),
    Spec("next_draft", "Next unfinished object", "Object", ("J",), ""),
    Spec("delete", "Delete selected", "Object", ("Del", "Backspace"), "delete", "canvas"),
    Spec("refine", "Refine selected", "Object", ("R",), "refine"),
    Spec("select_all", "Select all objects", "Object", ("Ctrl+A",), "", "canvas"),
    Spec("prompt", "Click or box", "Tools", ("C",), "prompt", checkable=True),
    Spec("box", "Boxes", "Tools", ("B",), "box", checkable=True),
    Spec("lasso", "Lasso", "Tools", ("L",), "lasso", checkable=True),
    Spec("scribble", "Scribble", "Tools", ("S",), "scribble", checkable=True),
    Spec("brush", "Brush", "Tools", ("P",), "brush", checkable=True),
    Spec("eraser", "Eraser", "Tools", ("E",), "eraser", checkable=True),
    Spec("polygon", "Polygon", "Tools", ("G",), "polygon", checkable=True),
    Spec("cut", "Split", "Tools", ("K",), "cut", checkable=True),
    Spec("merge", "Merge selected", "Mask", ("M",), "merge"),
    Spec("subtract", "Subtract neighbours", "Mask", ("Shift+M",), "subtract"),
    Spec("fill_holes", "Fill holes", "Mask", ("Shift+H",), "holes"),
    Spec("remove_specks", "Remove specks", "Mask", ("Shift+S",), "specks"),
    Spec("smooth", "Smooth", "Mask", ("Shift+O",), "smooth"),
    Spec("largest_part", "Keep largest part", "Mask", ("Shift+L",), "largest"),
    Spec("grow", "Grow", "Mask", (".",), "grow"),
    Spec("shrink", "Shrink", "Mask", (",",), "shrink"),
    Spec("previous", "Previous image", "Images", ("A",), "previous"),
    Spec("next", "Next image", "Images", ("D",), "next"),
    Spec("next_unfinished", "Next image to do", "Images", ("Shift+D",), "skip"),
    Spec("suggested_image", "Next image worth labelling", "Images", ("Ctrl+D",), "next_best"),
    Spec("what_next", "Rank images by what to label next", "Images", (), "", checkable=True),
    Spec("next_review", "Next image with suggestions", "Images", ("Shift+Q",), "next"),
    Spec("mark_done", "Mark fully labelled", "Images", ("Ctrl+Return",), "done"),
    Spec("mark_empty", "Mark nothing here", "Images", ("Ctrl+Backspace",), "empty"),
    Spec("mark_flagged", "Flag this image", "Images", ("Ctrl+G",), "flagged"),
    Spec("adapt", "Adapt model", "Model", ("Ctrl+T",), "adapt"),
    Spec("suggest", "Suggest masks", "Model", ("Ctrl+B",), "suggest"),
    Spec("next_suggestion", "Next suggestion", "Model", ("Q",), "next"),
    Spec("accept_suggestions", "Accept all suggestions here", "Model", ("Shift+Return",), "accept"),
    Spec("dismiss_suggestions", "Dismiss all suggestions here", "Model", ("Shift+Del",), "delete"),
    Spec("cancel_next_images", "Stop looking for the next image", "Model", (), "cancel"),
    Spec("roll_back", "Roll back to the version before", "Model", ("Ctrl+Shift+T",), "undo"),
    Spec("whole_image", "Always look at the whole image", "Model", (), "region", checkable=True),
    Spec("models", "Models…", "Model", ("Ctrl+M",), "model", needs_project=False),
    Spec("cancel_adapt", "Cancel adaptation", "Model", (), "cancel"),
    Spec("fit", "Fit image", "View", ("F",), "fit"),
    Spec("actual", "Actual size", "View", ("Ctrl+0",), "actual"),
    Spec("zoom_in", "Zoom in", "View", ("Ctrl++", "Ctrl+=")),
    Spec("zoom_out", "Zoom out", "View", ("Ctrl+-",)),
    Spec("zoom_object", "Zoom to selected", "View", ("Z",), "zoom_object"),
    Spec("minimap", "Overview in the corner", "View", ("Shift+Z",), "minimap", checkable=True),
    Spec("hide_masks", "Hide masks", "View", ("H",), "eye_off", checkable=True),
    Spec("only_selected", "Only the selected object", "View", ("O",), "only", checkable=True),
    Spec("toggle_theme", "Light or dark", "View", ("Ctrl+Shift+L",), "dark", needs_project=False),
    Spec("guide", "Guide", "Help", ("F1",), "help", needs_project=False),
    Spec("shortcuts", "Keyboard shortcuts", "Help", ("?",), "shortcuts", needs_project=False),
)


class Actions(QObject):
    """The window's actions by name; ``triggered`` tells which one was used."""

    triggered = Signal(str, bool)

    def __init__(self, window: QMainWindow, settings: QSettings) -> None:
        super().__init__(window)
        self._settings = settings
        self._actions: dict[str, QAction] = {}
        self._specs = {spec.name: spec for spec in SPECS}
        for spec in SPECS:
            self._actions[spec.name] = self._make(spec, window)
        theme().changed.connect(self._recolour)
        self._recolour(theme().tokens)

    def _make(self, spec: Spec, window: QMainWindow) -> QAction:
        action = QAction(spec.text, window)
        action.setObjectName(spec.name)
        action.setCheckable(spec.checkable)
        if spec.where == "window":
            window.addAction(action)
        else:
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        action.triggered.connect(self._was_triggered)
        self._actions[spec.name] = action
        self._show_keys(spec.name, self._stored_keys(spec))
        return action

    def __getitem__(self, name: str) -> QAction:
        return self._actions[name]

    def specs(self) -> Iterable[Spec]:
        """All actions in the order of the shortcut sheet."""
        return self._specs.values()

    def attach(self, *widgets: QWidget) -> None:
        """Make the keys of ``canvas`` actions work while one of these has the focus."""
        for spec in SPECS:
            if spec.where == "canvas":
                for widget in widgets:
                    widget.addAction(self._actions[spec.name])

    def enable_project(self, enabled: bool) -> None:
        """Actions that need a project, on or off."""
        for spec in SPECS:
            if spec.needs_project:
                self._actions[spec.name].setEnabled(enabled)

    # keys --------------------------------------------------------------------------------

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys an action has now."""
        return tuple(
            key.toString(QKeySequence.SequenceFormat.PortableText)
            for key in self._actions[name].shortcuts()
        )

    def remap(self, name: str, keys: tuple[str, ...]) -> str | None:
        """Give an action other keys; returns the action that has one of them, then unchanged."""
        for other in self._specs:
            if other != name and set(self.keys(other)) & set(keys):
                return other
        self._show_keys(name, keys)
        self._settings.setValue(f"keys/{name}", "\n".join(keys))
        return None

    def reset_keys(self) -> None:
        """All keys as shipped."""
        self._settings.remove("keys")
        for spec in SPECS:
            self._show_keys(spec.name, spec.keys)

    def _stored_keys(self, spec: Spec) -> tuple[str, ...]:
        stored = self._settings.value(f"keys/{spec.name}")
        if stored is None:
            return spec.keys
        return tuple(key for key in str(stored).split("\n") if key)

    def _show_keys(self, name: str, keys: tuple[str, ...]) -> None:
        action = self._actions[name]
        action.setShortcuts([QKeySequence(key) for key in keys])
        shown = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        action.setToolTip(f"{action.text()} ({shown})" if shown else action.text())

    # slots -------------------------------------------------------------------------------

    @Slot(bool)
    def _was_triggered(self, checked: bool) -> None:
        self.triggered.emit(self.sender().objectName(), checked)

    @Slot(object)
    def _recolour(self, _tokens: Tokens) -> None:
        for spec in SPECS:
            if spec.icon:
                name = spec.icon
                if spec.name == "toggle_theme":
                    name = "light" if theme().tokens.name == "dark" else "dark"
                self._actions[spec.name].setIcon(icons.icon(name))
