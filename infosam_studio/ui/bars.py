"""Menus and toolbars of the window, made from the actions."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QActionGroup
from PySide6.QtWidgets import QLabel, QMainWindow, QMenu, QSizePolicy, QToolBar, QToolButton

from infosam_studio.ui.actions import Actions

# What stands on the left of the main bar, None for a gap.
LEFT: tuple[str | None, ...] = (
    *("open", None, "undo", "redo", None),
    *("previous", "next", "next_unfinished", None),
    *("fit", "zoom_object", "hide_masks"),
)
RIGHT: tuple[str | None, ...] = ("mark_done", None, "adapt", None, "toggle_theme", "export")
# Alt and the letter open a menu.
LETTERS = {
    "Project": "&Project",
    "Edit": "&Edit",
    "Object": "&Object",
    "Tools": "&Tools",
    "Mask": "Mas&k",
    "Images": "&Images",
    "Model": "Mo&del",
    "View": "&View",
    "Help": "&Help",
}
WITH_TEXT = ("adapt", "export")


def fill_menus(window: QMainWindow, actions: Actions) -> QMenu:
    """One menu per group of actions; returns the one for the panels."""
    menus: dict[str, QMenu] = {}
    for spec in actions.specs():
        menu = menus.get(spec.group)
        if menu is None:
            menu = menus[spec.group] = window.menuBar().addMenu(LETTERS[spec.group])
        menu.addAction(actions[spec.name])
    return menus["View"].addMenu("Panels")


def make_rail(window: QMainWindow, actions: Actions) -> QToolBar:
    """The tools, one below the other."""
    rail = QToolBar("Tools")
    rail.setObjectName("tools")
    rail.setMovable(False)
    rail.setOrientation(Qt.Orientation.Vertical)
    rail.setIconSize(QSize(20, 20))
    group = QActionGroup(window)
    for spec in actions.specs():
        if spec.group == "Tools":
            group.addAction(actions[spec.name])
            rail.addAction(actions[spec.name])
    window.addToolBar(Qt.ToolBarArea.LeftToolBarArea, rail)
    return rail


def make_top_bar(window: QMainWindow, actions: Actions, image_name: QLabel) -> QToolBar:
    """What is needed all the time, with the image's name in the middle."""
    bar = QToolBar("Main")
    bar.setObjectName("main")
    bar.setMovable(False)
    bar.setIconSize(QSize(18, 18))
    _add(bar, actions, LEFT)
    image_name.setProperty("role", "muted")
    image_name.setAlignment(Qt.AlignmentFlag.AlignCenter)
    image_name.setMinimumWidth(40)
    image_name.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    bar.addWidget(image_name)
    _add(bar, actions, RIGHT)
    for name in WITH_TEXT:
        button = bar.widgetForAction(actions[name])
        if isinstance(button, QToolButton):
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.ensurePolished()
            # A shorter word, while the model is being adapted, moves nothing beside it.
            button.setMinimumWidth(button.sizeHint().width())
    window.addToolBar(Qt.ToolBarArea.TopToolBarArea, bar)
    return bar


def _add(bar: QToolBar, actions: Actions, names: tuple[str | None, ...]) -> None:
    for name in names:
        if name is None:
            bar.addSeparator()
        else:
            bar.addAction(actions[name])
