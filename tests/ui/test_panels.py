"""Image list, classes, history, view, shortcuts, theme, export dialog on real widgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton

from infosam_studio.ui import adjusting, theme
from infosam_studio.ui.canvas.picture import Picture
from infosam_studio.ui.dialogs.export import ExportDialog
from infosam_studio.ui.dialogs.shortcuts import ShortcutSheet
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.welcome import remember_project
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import key, open_project, wait_ready
from tests.ui.test_tools import add_square


def run(bench: Workbench, name: str) -> None:
    bench.view.window().actions_[name].trigger()  # type: ignore[attr-defined]


def test_search_filter_and_next_unfinished(qtbot: Any, bench: Workbench) -> None:
    panel = bench.images
    run(bench, "mark_done")
    wait_ready(qtbot, bench)
    shown = bench.document.current_id
    assert panel.list.currentIndex().row() == 1
    panel._search.setText("disc 2")
    assert panel.filter.rowCount() == 1
    assert bench.document.current_id == shown
    panel._search.clear()
    assert panel.list.currentIndex().row() == 1
    panel.filter.show_states(frozenset({"done"}))
    assert panel.filter.rowCount() == 1
    panel.filter.show_states(frozenset())
    panel.filter.order_by("state")
    names = [panel.filter.index(row, 0).data() for row in range(3)]
    assert names[-1] == "disc 0.png"
    panel.filter.order_by("name")
    bench.document.open_image(bench.document.images()[0].id)
    run(bench, "next_unfinished")
    assert panel.list.currentIndex().row() == 1


def test_thumbnails_come_from_another_thread(qtbot: Any, bench: Workbench) -> None:
    record = bench.document.images()[2]
    job = bench.document.job(record)
    qtbot.waitUntil(lambda: bench.thumbnails.get(job) is not None, timeout=20_000)


def test_class_keys_relabel_the_selection(qtbot: Any, bench: Workbench) -> None:
    first = bench.document.add_class("leaf")
    second = bench.document.add_class("spot")
    object_id = add_square(bench, 20, 20, 60, 60)
    assert bench.document.objects[object_id].class_id == second.id
    bench.document.select((object_id,))
    key(bench, Qt.Key.Key_1)
    assert bench.document.objects[object_id].class_id == first.id
    run(bench, "undo")
    assert bench.document.objects[object_id].class_id == second.id


def test_class_is_renamed_merged_and_deleted_undoably(bench: Workbench) -> None:
    first = bench.document.add_class("leaf")
    second = bench.document.add_class("spot")
    object_id = add_square(bench, 20, 20, 60, 60)
    bench.document.rename_class(first.id, "blade")
    assert bench.document.class_of(first.id).name == "blade"
    bench.document.merge_class(second.id, first.id)
    assert bench.document.objects[object_id].class_id == first.id
    bench.document.delete_class(first.id)
    assert not bench.document.objects
    run(bench, "undo")
    assert object_id in bench.document.objects


def test_bare_letters_stay_in_text_fields(qtbot: Any, bench: Workbench) -> None:
    field = bench.images._search
    field.setFocus()
    row = bench.images.list.currentIndex().row()
    QTest.keyClicks(field, "dab1")
    assert field.text() == "dab1"
    field.clear()
    assert bench.images.list.currentIndex().row() == row


def test_history_goes_back_and_forth(qtbot: Any, bench: Workbench) -> None:
    for step in range(3):
        add_square(bench, 10 + 40 * step, 10, 40 + 40 * step, 40)
    bench.history.show()
    bench.history.raise_()
    qtbot.waitUntil(lambda: bench.history.list.count() >= 4)
    bench.history._go(bench.history.list.item(bench.history.list.count() - 1))
    assert not bench.document.objects
    bench.history._go(bench.history.list.item(0))
    assert len(bench.document.objects) == 3


def test_undo_shows_the_image_it_changes(qtbot: Any, bench: Workbench) -> None:
    add_square(bench, 10, 10, 40, 40)
    first = bench.document.current_id
    key(bench, Qt.Key.Key_D)
    assert bench.document.current_id != first
    run(bench, "undo")
    assert bench.document.current_id == first


def test_peek_opacity_and_only_selected(bench: Workbench) -> None:
    object_id = add_square(bench, 20, 20, 60, 60)
    other = add_square(bench, 100, 100, 140, 140)
    color = bench.view.overlay.overlay.color_at
    assert color(30, 30)
    assert color(120, 120)
    QTest.keyPress(bench.view, Qt.Key.Key_V)
    assert not color(30, 30)
    assert not color(120, 120)
    QTest.keyRelease(bench.view, Qt.Key.Key_V)
    assert color(30, 30)
    bench.document.select((object_id,))
    bench.layers.set_look(only_selected=True)
    assert color(30, 30)
    assert not color(120, 120)
    bench.layers.set_look(only_selected=False)
    bench.look.opacity.setValue(100)
    assert color(120, 120) >> 24 == 255
    assert other in bench.document.objects


def test_brightness_changes_the_picture_not_the_data(qtbot: Any, bench: Workbench) -> None:
    picture = bench.picture
    assert isinstance(picture, Picture)
    before = picture.pixels.copy()
    with qtbot.waitSignal(bench.showing.adjuster.ready, timeout=5000) as found:
        bench.look.brightness.setValue(60)
    assert found.args[0][1][0].mean() > picture.levels[0].mean()
    assert np.array_equal(picture.pixels, before)
    bench.look._reset()
    assert np.array_equal(adjusting.lookup(adjusting.NEUTRAL), np.arange(256))


def test_theme_switches_live(bench: Workbench) -> None:
    chosen = theme.theme()
    before = chosen.tokens.name
    run(bench, "toggle_theme")
    assert chosen.tokens.name != before
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    assert app.palette().window().color().name() == chosen.tokens.window
    run(bench, "toggle_theme")
    assert chosen.tokens.name == before


def test_keys_are_remapped_and_remembered(qtbot: Any, window: MainWindow) -> None:
    actions = window.actions_
    sheet = ShortcutSheet(actions, window)
    qtbot.addWidget(sheet)
    assert actions.remap("fit", ("D",)) == "next"
    assert actions.keys("fit") == ("F",)
    assert actions.remap("fit", ("Ctrl+9",)) is None
    assert actions.keys("fit") == ("Ctrl+9",)
    assert window.settings.value("keys/fit") == "Ctrl+9"
    actions.reset_keys()
    assert actions.keys("fit") == ("F",)


def test_no_two_actions_share_a_key(window: MainWindow) -> None:
    seen: dict[str, str] = {}
    for spec in window.actions_.specs():
        for one in spec.keys:
            assert one not in seen, (one, spec.name, seen[one])
            seen[one] = spec.name


def test_export_dialog_refuses_what_is_there(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    dialog = ExportDialog(tmp_path, window)
    qtbot.addWidget(dialog)
    assert dialog.format == "coco"
    (tmp_path / "coco.json").write_text("{}")
    dialog.accept()
    assert not dialog.result()
    dialog.overwrite.setChecked(True)
    dialog.accept()
    assert dialog.result()


def test_image_states_and_training_use(bench: Workbench) -> None:
    image_id = bench.document.current_id
    assert image_id is not None
    bench.set_image_state(image_id, "flagged")
    record = bench.document.current
    assert record is not None
    assert record.state == "flagged"
    bench.set_image_state(image_id, "excluded")
    assert bench.document.current is not None
    assert bench.document.current.excluded
    run(bench, "undo")
    assert not bench.document.current.excluded


def test_labour_panel_shows_means(bench: Workbench) -> None:
    add_square(bench, 10, 10, 40, 40)
    bench.labour.show_objects(list(bench.document.objects.values()))
    assert bench.labour._clicks_text.text() == "–"


def test_opening_a_project_leaves_the_window_its_size(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    window.resize(1000, 620)
    bench = open_project(qtbot, window, images_folder)
    assert (window.width(), window.height()) == (1000, 620)
    assert not bench.objects.visibleRegion().isEmpty()
    assert not bench.classes.visibleRegion().isEmpty()


def test_rows_of_the_shortcut_sheet_are_equally_high(qtbot: Any, window: MainWindow) -> None:
    sheet = ShortcutSheet(window.actions_, window)
    qtbot.addWidget(sheet)
    with qtbot.waitExposed(sheet):
        sheet.show()
    bar = sheet.tree.verticalScrollBar()
    bar.setValue(bar.maximum())
    groups = [sheet.tree.topLevelItem(row) for row in range(sheet.tree.topLevelItemCount())]
    rows = [group.child(row) for group in groups for row in range(group.childCount())]
    heights = {sheet.tree.visualItemRect(row).height() for row in rows}
    assert len(heights) == 1
    assert heights.pop() > sheet.fontMetrics().height() + 6


def test_recent_projects_are_named_and_placed(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    first, second = tmp_path / "cells.infosam", tmp_path / "deep" / "leaves.infosam"
    for path in (first, second):
        path.mkdir(parents=True)
        remember_project(window.settings, path)
    window.welcome.refresh()

    def shown_links() -> dict[str, QPushButton]:
        links = [one for one in window.welcome.findChildren(QPushButton) if one.property("path")]
        return {one.text(): one for one in links if one.isVisible()}

    qtbot.waitUntil(lambda: list(shown_links()) == ["leaves", "cells"])
    shown = shown_links()
    assert shown["cells"].toolTip() == str(first)
    opened: list[str] = []
    window.welcome.path_wanted.disconnect()
    window.welcome.path_wanted.connect(opened.append)
    shown["leaves"].click()
    assert opened == [str(second)]
