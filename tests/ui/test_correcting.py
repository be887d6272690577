"""Clicks on a mask that is there change it where they are: never somewhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
from PySide6.QtCore import Qt

from infosam_studio.annotation import masks
from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_correcting import correct
from tests.ui.conftest import DISCS, SIZE, click, key
from tests.ui.test_tools import mask_of


def box(x0: int, y0: int, x1: int, y1: int) -> Crop:
    return Crop(x0, y0, np.ones((y1 - y0, x1 - x0), bool))


def test_a_click_adds_the_part_it_is_in() -> None:
    start = box(10, 10, 30, 30)
    answer = crops.combine(box(10, 10, 40, 30), box(60, 10, 70, 20), "union")
    made = correct(start, [answer], ((35.0, 20.0, 1),))
    assert made.area == 20 * 20 + 10 * 20
    assert not made.contains(65, 15)


def test_a_click_removes_the_part_it_is_in() -> None:
    start = crops.combine(box(10, 10, 30, 30), box(30, 10, 36, 30), "union")
    made = correct(start, [box(12, 10, 30, 30)], ((33.0, 20.0, 0),))
    assert made.contains(10, 10)  # the answer left this out too, but nobody asked for it
    assert not made.contains(33, 20)


def test_the_smallest_fitting_change_is_taken() -> None:
    start = box(10, 10, 30, 30)
    answers = [box(0, 0, 100, 100), box(10, 10, 36, 30), box(10, 10, 44, 30)]
    assert correct(start, answers, ((33.0, 20.0, 1),)).area == 26 * 20


def test_a_change_out_of_proportion_changes_nothing() -> None:
    start = box(10, 10, 30, 30)
    assert correct(start, [box(0, 0, 100, 100)], ((50.0, 50.0, 1),)) is start
    assert correct(start, [crops.EMPTY], ((20.0, 20.0, 0),)) is start


def test_several_clicks_in_turn() -> None:
    start = box(10, 10, 30, 30)
    answer = crops.combine(box(10, 10, 36, 30), box(10, 10, 14, 30), "subtract")
    made = correct(start, [answer], ((33.0, 20.0, 1), (11.0, 20.0, 0)))
    assert made.rect == (14, 10, 36, 30)


def add_spoilt_disc(bench: Workbench, *, too_much: bool) -> tuple[int, np.ndarray]:
    """A disc with a bite, or with a lump at its side, as an accepted object; and the true one."""
    from infosam_studio.annotation.model import ObjectRecord

    cx, cy, radius = DISCS[0]
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    disc = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
    spoilt = disc & (x < cx + radius // 2)
    if too_much:
        spoilt = disc | ((x - cx - radius - 4) ** 2 + (y - cy) ** 2 <= 12**2)
    image_id = bench.document.current_id
    assert image_id is not None
    class_id = bench.document.ensure_class()
    record = ObjectRecord(id=0, image_id=image_id, class_id=class_id, mask=masks.encode(spoilt))
    (added,) = bench.document.change_objects("Add", add=[record])
    return added.id, disc


def refined(qtbot: Any, bench: Workbench, *, too_much: bool) -> tuple[np.ndarray, np.ndarray]:
    """The object before and after one click of a refinement."""
    object_id, _ = add_spoilt_disc(bench, too_much=too_much)
    before = mask_of(bench, object_id)
    bench.document.select((object_id,))
    key(bench, Qt.Key.Key_R)
    cx, cy, radius = DISCS[0]
    button = Qt.MouseButton.RightButton if too_much else Qt.MouseButton.LeftButton
    click(qtbot, bench, cx + radius + (7 if too_much else -8), cy, button)
    key(bench, Qt.Key.Key_Return)
    assert list(bench.document.objects) == [object_id]
    return before, mask_of(bench, object_id)


def test_refining_never_loses_the_object(qtbot: Any, bench: Workbench) -> None:
    """Whatever the model answers: a click that removes takes only what lies around it."""
    before, after = refined(qtbot, bench, too_much=True)
    assert not (after & ~before).any()
    assert after.sum() >= 0.4 * before.sum()


def test_refining_keeps_what_was_there(qtbot: Any, bench: Workbench) -> None:
    before, after = refined(qtbot, bench, too_much=False)
    assert not (before & ~after).any()
    assert after.sum() <= 2 * before.sum()


def test_what_the_prompts_started_from_is_stored(qtbot: Any, bench: Workbench) -> None:
    before, _ = refined(qtbot, bench, too_much=False)
    (record,) = bench.document.objects.values()
    assert record.prompts.mask == masks.encode(before)
