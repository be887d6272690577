"""Brush, eraser, polygon, knife, lasso, scribble and the mask operations on real widgets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui.options_bar import step_of
from infosam_studio.ui.tools.brush import BrushTool
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import SIZE, at, drag, key, wait_mask


def add_square(bench: Workbench, x0: int, y0: int, x1: int, y1: int) -> int:
    """An object that is a rectangle; returns its id."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[y0:y1, x0:x1] = True
    class_id = bench.document.ensure_class()
    image_id = bench.document.current_id
    assert image_id is not None
    record = ObjectRecord(id=0, image_id=image_id, class_id=class_id, mask=masks.encode(mask))
    return bench.document.change_objects("Add", add=[record])[0].id


def mask_of(bench: Workbench, object_id: int) -> np.ndarray:
    return masks.decode(bench.document.objects[object_id].mask)


def run(bench: Workbench, name: str) -> None:
    bench.view.window().actions_[name].trigger()  # type: ignore[attr-defined]


def use_brush(bench: Workbench, name: str, size: int) -> BrushTool:
    run(bench, name)
    tool = bench.tools[name]
    assert isinstance(tool, BrushTool)
    tool.set_size(size)
    return tool


def test_brush_makes_a_new_object_by_hand(bench: Workbench) -> None:
    use_brush(bench, "brush", 12)
    drag(bench, (40, 60), (100, 60))
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.hand_corrected
    crop = draft.crop()
    assert crop is not None
    assert 60 * 10 < crop.area < 76 * 13
    key(bench, Qt.Key.Key_Return)
    (record,) = bench.document.objects.values()
    assert record.hand_corrected
    assert mask_of(bench, record.id)[60, 70]


def test_eraser_changes_the_selected_object_and_undo_restores_it(bench: Workbench) -> None:
    object_id = add_square(bench, 50, 50, 120, 120)
    before = mask_of(bench, object_id)
    bench.document.select((object_id,))
    use_brush(bench, "eraser", 10)
    drag(bench, (40, 85), (130, 85))
    after = mask_of(bench, object_id)
    assert after.sum() < before.sum()
    assert not after[85, 80]
    assert np.array_equal(after | before, before)
    run(bench, "undo")
    assert np.array_equal(mask_of(bench, object_id), before)


def test_right_button_erases_with_the_brush(bench: Workbench) -> None:
    object_id = add_square(bench, 50, 50, 120, 120)
    bench.document.select((object_id,))
    use_brush(bench, "brush", 9)
    viewport, right = bench.view.viewport(), Qt.MouseButton.RightButton
    QTest.mouseClick(viewport, right, pos=at(bench, 85, 85))
    assert not mask_of(bench, object_id)[85, 85]


def test_brush_keys_change_its_size(bench: Workbench) -> None:
    tool = use_brush(bench, "brush", 20)
    key(bench, Qt.Key.Key_BracketRight)
    assert tool.size > 20
    key(bench, Qt.Key.Key_BracketLeft)
    key(bench, Qt.Key.Key_BracketLeft)
    assert tool.size < 20
    assert bench.options.brush_size.value() == step_of(tool.size)
    assert bench.options._brush_text.text() == f"{tool.size} px"


def test_a_click_after_a_stroke_starts_from_its_mask(qtbot: Any, bench: Workbench) -> None:
    use_brush(bench, "brush", 16)
    drag(bench, (50, 80), (90, 80))
    run(bench, "prompt")
    QTest.mouseClick(bench.view.viewport(), Qt.MouseButton.LeftButton, pos=at(bench, 70, 70))
    wait_mask(qtbot, bench)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.clicks == 2
    run(bench, "undo")
    current = draft.current
    assert current is not None
    assert current.by_hand


def test_polygon_draws_a_new_outline(bench: Workbench) -> None:
    run(bench, "polygon")
    for x, y in ((40, 40), (100, 40), (100, 100), (40, 100)):
        QTest.mouseClick(bench.view.viewport(), Qt.MouseButton.LeftButton, pos=at(bench, x, y))
    key(bench, Qt.Key.Key_Return)
    assert bench.drafting.draft is not None
    key(bench, Qt.Key.Key_Return)
    (record,) = bench.document.objects.values()
    assert abs(masks.area(record.mask) - 3600) < 250


def test_polygon_moves_a_corner_and_keeps_far_pixels(bench: Workbench) -> None:
    object_id = add_square(bench, 50, 50, 120, 120)
    bench.document.select((object_id,))
    run(bench, "polygon")
    drag(bench, (119, 119), (150, 150))
    after = mask_of(bench, object_id)
    assert after[135, 135]
    assert after[50:110, 50:60].all()
    assert not after[:49].any()


def test_knife_splits_an_object(bench: Workbench) -> None:
    object_id = add_square(bench, 50, 50, 120, 120)
    run(bench, "cut")
    drag(bench, (85, 40), (85, 130))
    assert len(bench.document.objects) == 2
    total = sum(masks.area(one.mask) for one in bench.document.objects.values())
    assert total == 70 * 70
    run(bench, "undo")
    assert masks.area(bench.document.objects[object_id].mask) == 70 * 70


def test_merge_and_subtract(bench: Workbench) -> None:
    first = add_square(bench, 20, 20, 60, 60)
    second = add_square(bench, 40, 40, 90, 90)
    bench.document.select((second,))
    run(bench, "subtract")
    assert masks.area(bench.document.objects[second].mask) == 50 * 50 - 20 * 20
    bench.document.select((first, second))
    run(bench, "merge")
    (record,) = bench.document.objects.values()
    assert masks.area(record.mask) == 40 * 40 + 50 * 50 - 20 * 20
    run(bench, "undo")
    assert len(bench.document.objects) == 2


@pytest.mark.parametrize("name", ["fill_holes", "remove_specks", "grow", "shrink", "smooth"])
def test_operations_are_one_undoable_edit(bench: Workbench, name: str) -> None:
    object_id = add_square(bench, 50, 50, 120, 120)
    mask = mask_of(bench, object_id)
    mask[80:83, 80:83] = False
    mask[60, 130] = True
    update = {object_id: {"mask": masks.encode(mask)}}
    bench.document.change_objects("Change", update=update)
    bench.document.select((object_id,))
    run(bench, name)
    assert not np.array_equal(mask_of(bench, object_id), mask)
    assert bench.document.objects[object_id].hand_corrected
    run(bench, "undo")
    assert np.array_equal(mask_of(bench, object_id), mask)


def test_lasso_and_scribble_ask_the_model(qtbot: Any, bench: Workbench) -> None:
    run(bench, "lasso")
    viewport, left = bench.view.viewport(), Qt.MouseButton.LeftButton
    corners = [at(bench, *one) for one in ((30, 40), (110, 40), (110, 120), (30, 120))]
    QTest.mousePress(viewport, left, pos=corners[0])
    for corner in corners[1:]:
        QTest.mouseMove(viewport, corner)
    QTest.mouseRelease(viewport, left, pos=corners[-1])
    wait_mask(qtbot, bench)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.current is not None
    assert len(draft.current.boxes) == 1
    run(bench, "scribble")
    drag(bench, (50, 80), (90, 80))
    wait_mask(qtbot, bench)
    assert len(draft.current.points) >= 2
    assert draft.clicks == 2


def test_space_pans_and_the_wheel_zooms_at_the_pointer(bench: Workbench) -> None:
    view = bench.view
    before = view.to_image(view.viewport().rect().center().toPointF())
    anchor = at(bench, 100, 100).toPointF()
    there = view.to_image(anchor)
    view.zoom_by(2.0, anchor)
    again = view.to_image(anchor)
    assert abs(again.x() - there.x()) < 1.0
    assert abs(again.y() - there.y()) < 1.0
    view.pan(40, 0)
    after = view.to_image(view.viewport().rect().center().toPointF())
    assert (after - before).manhattanLength() > 0
    key(bench, Qt.Key.Key_F)
    fitted = view.visible_rect()
    assert fitted.contains(0, 0)
    assert fitted.contains(SIZE, SIZE)
    view.actual_size()
    assert abs(view.zoom - 1.0) < 1e-6
