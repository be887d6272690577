"""Click, box, candidates, accept, undo on the real widgets."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from infosam_studio.ui import crops
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import at, click, drag, key, wait_mask, wait_ready

RIGHT = Qt.MouseButton.RightButton


def test_first_click_gives_three_candidates_and_tab_cycles(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.current is not None
    assert len(draft.current.candidates) == 3
    scores = [one.score for one in draft.current.candidates]
    first = draft.current.chosen
    assert scores[first] == max(scores)
    bench.focus_canvas()
    QTest.keyClick(bench.view, Qt.Key.Key_Tab)
    assert draft.current.chosen == (first + 1) % 3
    QTest.keyClick(bench.view, Qt.Key.Key_Backtab, Qt.KeyboardModifier.ShiftModifier)
    assert draft.current.chosen == first


def test_tab_moves_the_focus_where_nothing_is_unfinished(qtbot: Any, bench: Workbench) -> None:
    bench.focus_canvas()
    QTest.keyClick(bench.view, Qt.Key.Key_Tab)
    assert not bench.view.hasFocus()


def test_prompts_undo_and_redo_one_by_one(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    click(qtbot, bench, 180, 90, RIGHT)
    click(qtbot, bench, 75, 70, modifier=Qt.KeyboardModifier.ShiftModifier)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.current is not None
    assert [point[2] for point in draft.current.points] == [1, 0, 0]
    second = draft.steps[1].crop
    window = bench.view.window()
    window.actions_["undo"].trigger()  # type: ignore[attr-defined]
    assert len(draft.steps) == 2
    assert draft.crop() is second
    window.actions_["redo"].trigger()  # type: ignore[attr-defined]
    assert len(draft.steps) == 3
    for _ in range(3):
        window.actions_["undo"].trigger()  # type: ignore[attr-defined]
    assert bench.drafting.draft is None


def test_right_click_first_is_refused_with_a_word(qtbot: Any, bench: Workbench) -> None:
    QTest.mouseClick(bench.view.viewport(), RIGHT, pos=at(bench, 70, 80))
    assert bench.drafting.draft is None
    assert "first" in bench.toast.text


def test_box_then_accept_stores_what_it_cost(qtbot: Any, bench: Workbench) -> None:
    drag(bench, (30, 40), (110, 120))
    wait_mask(qtbot, bench)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.current is not None
    assert len(draft.current.boxes) == 1
    shown = draft.crop()
    assert shown is not None
    with qtbot.waitSignal(bench.drafting.accepted):
        key(bench, Qt.Key.Key_Return)
    (record,) = bench.document.objects.values()
    assert record.clicks == 1
    assert record.prompts.boxes == draft.current.boxes
    assert record.adapter is None
    assert record.seconds >= 0
    assert record.mask == crops.to_rle(shown, 256, 256)
    assert bench.drafting.draft is None
    image = bench.document.current
    assert image is not None
    assert image.state == "in_progress"


def test_esc_cancels_and_n_accepts(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_Escape)
    assert bench.drafting.draft is None
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_N)
    assert len(bench.document.objects) == 1


def test_point_is_dragged_and_deleted(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    click(qtbot, bench, 180, 90)
    drag(bench, (180, 90), (120, 190))
    wait_mask(qtbot, bench)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.current is not None
    x, y, label = draft.current.points[1]
    assert abs(x - 120) <= 1
    assert abs(y - 190) <= 1
    assert label == 1
    click(qtbot, bench, x, y, RIGHT)
    assert len(draft.current.points) == 1


def test_a_click_while_the_image_is_being_encoded_is_answered(qtbot: Any, bench: Workbench) -> None:
    key(bench, Qt.Key.Key_D)
    image = bench.document.current
    assert image is not None
    qtbot.waitUntil(lambda: bench.view.image_size == (image.width, image.height))
    click(qtbot, bench, 70, 80)
    assert bench.drafting.draft is not None


def test_the_draft_waits_on_its_image(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_D)
    wait_ready(qtbot, bench)
    assert bench.drafting.draft is None
    key(bench, Qt.Key.Key_A)
    wait_ready(qtbot, bench)
    assert bench.drafting.draft is not None


def test_refining_keeps_the_object_and_adds_its_clicks(qtbot: Any, bench: Workbench) -> None:
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_Return)
    (before,) = bench.document.objects.values()
    bench.document.select((before.id,))
    key(bench, Qt.Key.Key_R)
    assert bench.drafting.draft is not None
    click(qtbot, bench, 75, 75)
    key(bench, Qt.Key.Key_Return)
    (after,) = bench.document.objects.values()
    assert after.id == before.id
    assert after.clicks == before.clicks + 1
    assert after.seconds >= before.seconds


def test_hover_shows_a_preview_and_makes_no_draft(qtbot: Any, bench: Workbench) -> None:
    bench.options.hover.setChecked(True)
    with qtbot.waitSignal(bench.inference.hovered, timeout=20_000):
        QTest.mouseMove(bench.view.viewport(), at(bench, 60, 70))
        QTest.mouseMove(bench.view.viewport(), at(bench, 70, 80))
    assert bench.drafting.draft is None
    bench.options.hover.setChecked(False)


def test_a_click_while_enter_waits_for_a_mask_begins_the_next_object(
    qtbot: Any, bench: Workbench
) -> None:
    """Somebody quicker than the model must not get two objects in one."""
    drafting = bench.drafting
    drafting.add_point(70, 80, 1)
    assert drafting.accept() == 0  # its mask is on its way
    drafting.add_point(180, 90, 1)
    qtbot.waitUntil(lambda: len(bench.document.objects) == 1, timeout=60_000)
    wait_mask(qtbot, bench)
    (first,) = bench.document.objects.values()
    assert [point[:2] for point in first.prompts.points] == [(70, 80)]
    assert drafting.count == 1  # the second one is not accepted before it is asked for
    draft = drafting.draft
    assert draft is not None
    assert draft.current is not None
    assert [point[:2] for point in draft.current.points] == [(180, 90)]
    assert drafting.accept() == 1
    assert len(bench.document.objects) == 2


def test_a_negative_click_takes_an_early_enter_back(qtbot: Any, bench: Workbench) -> None:
    drafting = bench.drafting
    drafting.add_point(70, 80, 1)
    assert drafting.accept() == 0
    drafting.add_point(180, 90, 0)
    wait_mask(qtbot, bench)
    assert not bench.document.objects
    draft = drafting.draft
    assert draft is not None
    assert draft.current is not None
    assert len(draft.current.points) == 2
