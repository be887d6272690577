"""Everything can be reached, named and seen without a mouse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible, QAction
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLineEdit,
    QMenu,
    QMenuBar,
    QPushButton,
    QScrollBar,
    QTabBar,
    QWidget,
)

from infosam_studio.ui.dialogs.shortcuts import ShortcutSheet
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import at, click, key
from tests.ui.test_tools import add_square

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
)


def name_of(widget: QWidget) -> str:
    """What a screen reader says."""
    interface = QAccessible.queryAccessibleInterface(widget)
    return interface.text(QAccessible.Text.Name) if interface is not None else ""


def describe(widget: QWidget) -> str:
    """Where a widget is, for a failing test."""
    chain, one = [], widget
    while one is not None and len(chain) < 5:
        chain.append(f"{type(one).__name__}({one.objectName()})")
        one = one.parentWidget()
    return " < ".join(chain)


def controls(window: MainWindow) -> Iterator[QWidget]:
    """Everything a person can operate, in every panel, shown or not."""
    for widget in window.findChildren(QWidget):
        inner = isinstance(widget, QScrollBar) or widget.objectName().startswith("qt_")
        # Buttons that offer now this, now that get their words when they are shown.
        unused = isinstance(widget, QPushButton) and not (widget.isVisible() or widget.text())
        if isinstance(widget, CONTROLS) and not inner and not unused and not _is_part(widget):
            yield widget


def _is_part(widget: QWidget) -> bool:
    """Whether Qt made it as a part of another control."""
    one = widget.parentWidget()
    whole = (QMenu, QTabBar, QMenuBar, QAbstractSpinBox, QComboBox, QAbstractItemView, QLineEdit)
    while one is not None and not isinstance(one, whole):
        one = one.parentWidget()
    return one is not None


def tabbed(widget: QWidget) -> bool:
    """Whether Tab can come here now."""
    policy = widget.focusPolicy()
    stops = bool(policy & Qt.FocusPolicy.TabFocus) and widget.focusProxy() is None
    return stops and widget.isVisible() and widget.isEnabled()


def test_every_control_has_a_name(bench: Workbench) -> None:
    window = bench.view.window()
    assert isinstance(window, MainWindow)
    add_square(bench, 20, 20, 60, 60)
    for panel in window.findChildren(Panel):
        panel.raise_()
    nameless = [describe(one) for one in controls(window) if not name_of(one).strip()]
    assert not nameless, "\n".join(nameless)


def test_every_action_has_a_key_or_a_menu(window: MainWindow) -> None:
    """A menu counts where its own title has a letter to reach it by."""
    reachable: set[QAction] = set()
    letters = []
    for top in window.menuBar().actions():
        at_letter = top.text().find("&")
        assert at_letter >= 0, f"the menu {top.text()} has no letter"
        letters.append(top.text()[at_letter + 1].lower())
        menu = top.menu()
        assert isinstance(menu, QMenu)
        reachable.update(menu.actions())
    assert len(set(letters)) == len(letters), letters
    for spec in window.actions_.specs():
        action = window.actions_[spec.name]
        assert action.shortcuts() or action in reachable, spec.name
        assert action in reachable, f"{spec.name} is in no menu"


def test_the_sheet_lists_every_action_and_says_what_is_used(qtbot: Any, window: MainWindow) -> None:
    sheet = ShortcutSheet(window.actions_, window)
    qtbot.addWidget(sheet)
    listed = {}
    for top in range(sheet.tree.topLevelItemCount()):
        group = sheet.tree.topLevelItem(top)
        assert group is not None
        for row in range(group.childCount()):
            listed[group.child(row).text(0)] = group.child(row).text(1)
    for spec in window.actions_.specs():
        assert spec.text in listed, spec.text


def test_tab_reaches_everything_that_is_shown(qtbot: Any, bench: Workbench) -> None:
    window = bench.view.window()
    window.activateWindow()
    bench.images.list.setFocus(Qt.FocusReason.TabFocusReason)
    seen: list[QWidget] = []
    for _ in range(300):
        now = QApplication.focusWidget()
        assert now is not None
        if now in seen:
            break
        seen.append(now)
        QTest.keyClick(now, Qt.Key.Key_Tab)
    assert isinstance(window, MainWindow)
    missed = [describe(one) for one in controls(window) if tabbed(one) and one not in seen]
    assert bench.view in seen
    assert not missed, "\n".join(missed)


def test_focus_is_seen(qtbot: Any, bench: Workbench) -> None:
    window = bench.view.window()
    window.activateWindow()
    assert isinstance(window, MainWindow)
    hidden = []
    for widget in [*controls(window), bench.view]:
        if not tabbed(widget):
            continue
        others = bench.view if widget is not bench.view else bench.images.list
        others.setFocus(Qt.FocusReason.TabFocusReason)
        before = widget.grab().toImage()
        widget.setFocus(Qt.FocusReason.TabFocusReason)
        if widget.hasFocus() and widget.grab().toImage() == before:
            hidden.append(describe(widget))
    assert not hidden, "\n".join(hidden)


def test_the_main_job_without_a_mouse_but_for_the_click(qtbot: Any, bench: Workbench) -> None:
    """Tools, class, accept, select, correct, undo and leave by keys alone."""
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_Return)
    assert len(bench.document.objects) == 1
    key(bench, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert len(bench.document.selected) == 1
    before = bench.document.objects[bench.document.selected[0]].mask
    key(bench, Qt.Key.Key_Period)
    assert bench.document.objects[bench.document.selected[0]].mask != before
    key(bench, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert bench.document.objects[bench.document.selected[0]].mask == before
    key(bench, Qt.Key.Key_Delete)
    assert not bench.document.objects
    for letter, name in ((Qt.Key.Key_B, "box"), (Qt.Key.Key_P, "brush"), (Qt.Key.Key_K, "cut")):
        key(bench, letter)
        assert bench.tools.active.name == name
    assert at(bench, 10, 10).x() >= 0
