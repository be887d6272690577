"""The panels stay where they are, whatever is worked on, and are named once."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QTabBar

from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.options_bar import OptionsBar, size_of, step_of
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import click, open_project
from tests.ui.test_options_bar import draft_with


def widths(bench: Workbench) -> list[int]:
    return [panel.width() for panel in (bench.images, bench.objects, bench.classes)]


def test_no_tool_and_no_draft_moves_the_panels(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    window.resize(1000, 700)
    qtbot.waitUntil(lambda: window.width() == 1000)
    before = widths(bench)
    click(qtbot, bench, 70, 80)
    for tool in bench.tools.all():
        window.actions_[tool.name].trigger()
        qtbot.wait(0)
        assert widths(bench) == before, tool.name


def test_the_bar_asks_for_the_same_width_with_everything_in_it(qtbot: Any) -> None:
    bar = OptionsBar()
    qtbot.addWidget(bar)
    least = bar.minimumSizeHint()
    bar.show_tool("A long hint " * 20, brush=True, hover=True)
    bar.show_draft(draft_with(0.5, 0.6, 0.1, 0.2), count=12)
    assert bar.minimumSizeHint() == least


def test_the_brush_says_its_size_before_it_is_changed(window: MainWindow, bench: Workbench) -> None:
    window.actions_["brush"].trigger()
    assert bench.options._brush_text.text() == "20 px"


def test_the_slider_reaches_every_size_of_the_brush() -> None:
    assert [size_of(step_of(size)) for size in (1, 400)] == [1, 400]
    sizes = [size_of(step) for step in range(201)]
    assert sizes == sorted(sizes)
    assert size_of(50) == 25  # a quarter of the way: most of the slider is for small brushes


def test_tabs_are_never_cut_short(qtbot: Any, window: MainWindow, bench: Workbench) -> None:
    bars = window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly)
    assert len(bars) >= 2
    window.resizeDocks([bench.objects], [20], Qt.Orientation.Horizontal)
    qtbot.wait(0)
    for bar in bars:
        assert bar.elideMode() == Qt.TextElideMode.ElideNone
        assert bar.width() >= bar.sizeHint().width()


def test_a_panel_below_a_tab_has_no_second_title(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    title = bench.objects.titleBarWidget()
    images = bench.images.titleBarWidget()
    assert title.height() == 0
    assert images.height() > 0
    for panel in (bench.loop.panel, bench.history):
        panel.toggleViewAction().trigger()
    qtbot.waitUntil(lambda: title.height() > 0)  # alone in its place: nothing else names it
    bench.history.toggleViewAction().trigger()
    qtbot.waitUntil(lambda: title.height() == 0)
    bench.objects.setFloating(True)
    qtbot.waitUntil(lambda: title.height() > 0)


def test_titles_follow_a_layout_that_is_restored(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    for panel in (bench.loop.panel, bench.history):
        panel.toggleViewAction().trigger()
    folder = bench.document.project.images_root
    again = open_project(qtbot, window, folder)
    qtbot.waitUntil(lambda: again.objects.titleBarWidget().height() > 0)
    assert again.classes.titleBarWidget().height() == 0


def test_the_first_window_fits_the_screen(window: MainWindow) -> None:
    window.settings.remove("window/geometry")
    window._restore_geometry()
    room = QGuiApplication.primaryScreen().availableSize()
    assert window.width() < room.width()
    assert window.height() < room.height()
