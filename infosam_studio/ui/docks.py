"""Where the panels lie around the canvas, and how those that share a place are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Slot
from PySide6.QtWidgets import QDockWidget, QMainWindow, QMenu, QTabBar

from infosam_studio.ui.panels.frame import Panel

LAYOUT_VERSION = 1
WIDTHS, HEIGHTS = (250, 270), (330, 330)


class Docks(QObject):
    """The panels of the open project: images left, two stacks of tabs right."""

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        self._window = window
        self.panels: tuple[Panel, ...] = ()
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._name_panels)

    def place(
        self, left: Panel, upper: Sequence[Panel], lower: Sequence[Panel], menu: QMenu, state: Any
    ) -> None:
        """As they were left; the first time the first panel of each stack lies on top."""
        window, area = self._window, Qt.DockWidgetArea
        self.panels = (left, *upper, *lower)
        for panel in self.panels:
            panel.hide()  # one above the other, before they are stacked, they would need more room
            side = area.LeftDockWidgetArea if panel is left else area.RightDockWidgetArea
            window.addDockWidget(side, panel)
        for stack in (upper, lower):
            for below, panel in pairwise(stack):
                window.tabifyDockWidget(below, panel)
        for panel in self.panels:
            panel.show()
            menu.addAction(panel.toggleViewAction())
            panel.toggleViewAction().toggled.connect(self._soon)
            panel.dockLocationChanged.connect(self._soon)
            panel.topLevelChanged.connect(self._soon)
        for stack in (upper, lower):
            stack[0].raise_()
        window.resizeDocks([left, upper[0]], list(WIDTHS), Qt.Orientation.Horizontal)
        window.resizeDocks([upper[0], lower[0]], list(HEIGHTS), Qt.Orientation.Vertical)
        if state is not None:
            window.restoreState(state, LAYOUT_VERSION)
        self._name_panels()
        self._soon()  # Qt makes the bars of tabs once the window is laid out

    def remove(self) -> None:
        """Take all panels away with their project."""
        for panel in self.panels:
            self._window.removeDockWidget(panel)
            panel.deleteLater()
        self.panels = ()

    def enable(self, enabled: bool) -> None:
        """All panels, on or off."""
        for panel in self.panels:
            panel.setEnabled(enabled)

    @Slot()
    def _soon(self) -> None:
        """Once Qt has finished moving what is moved."""
        self._later.start(0)

    @Slot()
    def _name_panels(self) -> None:
        """By its tab where it has one, else by a title of its own."""
        for panel in self.panels:
            beside = self._window.tabifiedDockWidgets(panel)
            named = not panel.isFloating() and any(_is_open(one) for one in beside)
            panel.show_title(not named)
        self._spell_out_tabs()

    def _spell_out_tabs(self) -> None:
        """Qt makes a bar of tabs wherever panels are stacked: no name on it is cut short."""
        direct = Qt.FindChildOption.FindDirectChildrenOnly
        for bar in self._window.findChildren(QTabBar, options=direct):
            bar.setElideMode(Qt.TextElideMode.ElideNone)
            bar.setUsesScrollButtons(False)


def _is_open(dock: QDockWidget) -> bool:
    """Panels below another tab are not hidden, closed ones are."""
    return not dock.isHidden()
