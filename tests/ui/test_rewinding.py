"""Long steps are taken off the main thread: the window goes on living, and nothing is edited."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from PySide6.QtCore import QTimer

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import SIZE, WAIT_MS

MANY = 12_000


def add_many(bench: Workbench, count: int) -> None:
    """As an import does: on all images, one step."""
    document = bench.document
    class_id = document.ensure_class()
    images = [record.id for record in document.images()]
    dot = np.ones((5, 5), bool)
    rles = [
        masks.encode_window(dot, 6 * x, 6 * y, SIZE, SIZE) for x in range(40) for y in range(40)
    ]
    records = [
        ObjectRecord(0, images[number % len(images)], class_id, rles[number % len(rles)])
        for number in range(count)
    ]
    document.project.add_objects(records, "Import many")


def test_undo_and_redo_of_a_huge_import_do_not_stop_the_window(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    add_many(bench, MANY)
    with qtbot.waitSignal(bench.rewinding.finished, timeout=WAIT_MS):
        bench.rewinding.reload()
    here = bench.document.current_id
    assert here is not None
    assert len(bench.document.objects) == MANY // 3
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(5)
    for action, left, text in (("undo", 0, "Undone"), ("redo", MANY // 3, "Done again")):
        ticks.clear()
        with qtbot.waitSignal(bench.rewinding.finished, timeout=WAIT_MS):
            window.actions_[action].trigger()
            assert bench.document.busy
            assert not bench.page.isEnabled()
            assert not window.actions_["undo"].isEnabled()
            assert "large step" in bench.toast.text
        # Taking the step took many times longer than a tick, and ticks went on meanwhile.
        assert len(ticks) >= 5
        assert len(bench.document.objects) == left
        assert not bench.document.busy
        assert bench.page.isEnabled()
        assert bench.toast.text == f"{text}: Import many"
    timer.stop()


def test_a_small_step_is_taken_at_once(window: MainWindow, bench: Workbench) -> None:
    add_many(bench, 3)
    bench.document.reload()
    assert bench.document.objects
    window.actions_["undo"].trigger()
    assert not bench.document.objects
    assert not bench.document.busy
    assert bench.toast.text == "Undone: Import many"


def test_going_through_the_history_takes_long_ways_off_the_thread(
    qtbot: Any, bench: Workbench
) -> None:
    start = bench.document.project.history()
    add_many(bench, MANY)
    bench.document.reload()
    with qtbot.waitSignal(bench.rewinding.finished, timeout=WAIT_MS):
        bench.rewinding.go_to(start[-1].id if start else 0)
        assert bench.document.busy
    assert not bench.document.objects


def test_an_edit_reads_only_what_it_changed(bench: Workbench) -> None:
    add_many(bench, 300)
    document = bench.document
    document.reload()
    before = dict(document.objects)
    first, second, third = list(before)[:3]
    document.change_objects("Change", update={first: {"clicks": 7}}, delete=[second])
    assert document.objects[first].clicks == 7
    assert second not in document.objects
    assert document.objects[third] is before[third], "the others are not read again"
    again = {one.id: one for one in document.project.objects(document.current_id)}
    assert document.objects == again
    assert list(document.objects) == list(again)
