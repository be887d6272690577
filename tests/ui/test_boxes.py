"""Several boxes before anything is accepted: one object each, undone and dismissed one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from infosam_studio.ui import crops
from infosam_studio.ui.app import settings
from infosam_studio.ui.batch import Batch
from infosam_studio.ui.draft_json import batch_from_json, batch_to_json
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import SIZE, WAIT_MS, at, click, drag, key, open_project, wait_ready

BOXES = (((34, 44), (108, 118)), ((138, 48), (222, 132)), ((74, 144), (166, 236)))
RIGHT = Qt.MouseButton.RightButton


def run(bench: Workbench, name: str) -> None:
    bench.view.window().actions_[name].trigger()  # type: ignore[attr-defined]


def wait_all(qtbot: Any, bench: Workbench) -> None:
    """Wait until every unfinished object has its mask."""
    batch = bench.drafting._batch
    assert batch is not None
    qtbot.waitUntil(lambda: not batch.waiting(), timeout=WAIT_MS)


def draw_boxes(qtbot: Any, bench: Workbench, count: int = 3) -> Batch:
    """Draw the boxes around the discs without waiting between them."""
    run(bench, "box")
    for start, end in BOXES[:count]:
        drag(bench, start, end)
    wait_all(qtbot, bench)
    assert bench.drafting._batch is not None
    return bench.drafting._batch


def test_every_box_becomes_an_object_and_enter_accepts_all_as_one_edit(
    qtbot: Any, bench: Workbench
) -> None:
    batch = draw_boxes(qtbot, bench)
    assert len(batch.drafts) == 3
    assert bench.options.accept.text() == "Accept 3"
    shown = [draft.crop() for draft in batch.drafts]
    assert len(bench.parked.items) == 2
    key(bench, Qt.Key.Key_Return)
    assert len(bench.document.objects) == 3
    assert bench.drafting.count == 0
    assert not bench.parked.items
    stored = list(bench.document.objects.values())
    assert [one.clicks for one in stored] == [1, 1, 1]
    assert [len(one.prompts.boxes) for one in stored] == [1, 1, 1]
    for crop, one in zip(shown, stored, strict=True):
        assert crop is not None
        assert one.mask == crops.to_rle(crop, SIZE, SIZE)
    run(bench, "undo")
    assert not bench.document.objects


def test_enter_before_the_masks_are_there_accepts_when_they_come(
    qtbot: Any, bench: Workbench
) -> None:
    run(bench, "box")
    for start, end in BOXES:
        drag(bench, start, end)
    key(bench, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: len(bench.document.objects) == 3, timeout=WAIT_MS)
    assert bench.drafting.count == 0


def test_boxes_are_undone_and_redone_one_by_one(qtbot: Any, bench: Workbench) -> None:
    draw_boxes(qtbot, bench)
    counts = []
    for _ in range(3):
        run(bench, "undo")
        counts.append(bench.drafting.count)
    assert counts == [2, 1, 0]
    for wanted in (1, 2, 3):
        run(bench, "redo")
        assert bench.drafting.count == wanted
    wait_all(qtbot, bench)
    key(bench, Qt.Key.Key_Return)
    assert len(bench.document.objects) == 3


def test_one_is_dismissed_and_comes_back(qtbot: Any, bench: Workbench) -> None:
    batch = draw_boxes(qtbot, bench)
    first = batch.drafts[0]
    QTest.mouseClick(bench.view.viewport(), RIGHT, pos=at(bench, 70, 80))
    assert first not in batch.drafts
    assert bench.drafting.count == 2
    run(bench, "undo")
    assert batch.drafts[0] is first
    key(bench, Qt.Key.Key_Escape)
    assert bench.drafting.count == 2
    key(bench, Qt.Key.Key_Return)
    assert len(bench.document.objects) == 2


def test_escape_is_undone_while_nothing_newer_was_done(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_Escape)
    assert bench.drafting.count == 0
    run(bench, "undo")
    assert bench.drafting.count == 1
    key(bench, Qt.Key.Key_Escape)
    bench.document.add_class("newer")
    run(bench, "undo")
    assert bench.drafting.count == 0
    assert not bench.document.classes()


def test_a_click_goes_on_with_one_of_them(qtbot: Any, bench: Workbench) -> None:
    batch = draw_boxes(qtbot, bench)
    QTest.mouseClick(bench.view.viewport(), Qt.MouseButton.LeftButton, pos=at(bench, 70, 80))
    assert batch.active is batch.drafts[0]
    run(bench, "prompt")
    click(qtbot, bench, 72, 90)
    assert batch.drafts[0].clicks == 2
    assert [one.clicks for one in batch.drafts[1:]] == [1, 1]
    run(bench, "next_draft")
    assert batch.active is batch.drafts[1]


def test_tab_shows_other_masks_of_a_box(qtbot: Any, bench: Workbench) -> None:
    batch = draw_boxes(qtbot, bench, 1)
    draft = batch.drafts[0]
    assert draft.current is not None
    single = draft.crop()
    bench.focus_canvas()
    QTest.keyClick(bench.view, Qt.Key.Key_Tab)
    qtbot.waitUntil(lambda: len(draft.current.candidates) == 4, timeout=WAIT_MS)
    assert draft.current.chosen != 0
    texts = [button.text() for button in bench.options._buttons if button.isVisible()]
    assert len(texts) == 4
    for _ in range(4):
        if draft.current.chosen == 0:
            break
        QTest.keyClick(bench.view, Qt.Key.Key_Tab)
    again = draft.crop()
    assert single is not None
    assert again is not None
    assert again.rect == single.rect
    assert (again.pixels == single.pixels).all()


def test_each_keeps_the_class_it_was_drawn_with(qtbot: Any, bench: Workbench) -> None:
    leaf = bench.document.add_class("leaf")
    spot = bench.document.add_class("spot")
    run(bench, "box")
    for class_id, (start, end) in zip((leaf.id, spot.id, leaf.id), BOXES, strict=True):
        bench.document.choose_class(class_id)
        drag(bench, start, end)
    wait_all(qtbot, bench)
    key(bench, Qt.Key.Key_Return)
    classes = [one.class_id for one in bench.document.objects.values()]
    assert classes == [leaf.id, spot.id, leaf.id]


def test_the_buttons_accept_and_cancel(qtbot: Any, bench: Workbench) -> None:
    draw_boxes(qtbot, bench)
    QTest.mouseClick(bench.options.cancel, Qt.MouseButton.LeftButton)
    assert bench.drafting.count == 2
    QTest.mouseClick(bench.options.accept, Qt.MouseButton.LeftButton)
    assert len(bench.document.objects) == 2


def test_several_objects_are_taken_up_again(qtbot: Any, bench: Workbench) -> None:
    draw_boxes(qtbot, bench)
    key(bench, Qt.Key.Key_Return)
    ids = tuple(bench.document.objects)
    bench.document.select(ids)
    key(bench, Qt.Key.Key_R)
    assert bench.drafting.refined == frozenset(ids)
    run(bench, "undo")
    assert bench.drafting.refined == frozenset(ids[:2])
    key(bench, Qt.Key.Key_Return)
    assert tuple(bench.document.objects) == ids


def test_all_of_them_survive_a_restart(
    qtbot: Any,
    images_folder: Path,
    predictor_maker: Callable[[str, Path | None], Any],
) -> None:
    settings().setValue("hover", "false")
    counts = []
    for turn in range(2):
        window = MainWindow(settings(), maker=predictor_maker)
        window.show()
        bench = open_project(qtbot, window, images_folder)
        if turn == 0:
            batch = draw_boxes(qtbot, bench)
            shown = [draft.crop() for draft in batch.drafts]
            key(bench, Qt.Key.Key_D)
            wait_ready(qtbot, bench)
            run(bench, "prompt")
            click(qtbot, bench, 70, 80)
        else:
            counts.append(bench.drafting.count)
            key(bench, Qt.Key.Key_A)
            counts.append(bench.drafting.count)
            restored = bench.drafting._batch
            assert restored is not None
            for before, draft in zip(shown, restored.drafts, strict=True):
                after = draft.crop()
                assert before is not None
                assert after is not None
                assert (after.pixels == before.pixels).all()
            run(bench, "undo")
            counts.append(bench.drafting.count)
        window.close()
        window.deleteLater()
    assert counts == [1, 3, 2]


def test_a_draft_of_an_earlier_version_is_read() -> None:
    batch = Batch(7)
    batch.own().add_box(1, 2, 30, 40)
    batch.stepped(batch.own())
    (entry,) = batch_to_json(batch, 64, 64)
    for name in ("active", "base", "class_id"):
        entry.pop(name)
    again = batch_from_json(7, [entry])
    assert again.active is not None
    assert again.active.clicks == 1
    assert again.undo()
    assert not again.drafts
