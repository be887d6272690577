"""What the panel makes of a run's events: curves, log, silence, and the time that is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from infosam_studio.events import Event
from infosam_studio.ui.run_state import MOST_POINTS, QUIET_TICKS, SILENT_TICKS, RunState
from infosam_studio.ui.workers_adapt import AdaptWish


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(clock: Clock, tmp_path: Path) -> RunState:
    return RunState(AdaptWish(tmp_path, "starter"), now=clock)


def stage(name: str, step: int = 0, of: int = 0, **more: object) -> Event:
    return Event("progress", {"stage": name, "step": step, "of": of, **more})


def test_remaining_time_is_not_invented(run: RunState, clock: Clock) -> None:
    assert run.remaining() is None
    run.take(stage("load"))
    assert run.remaining() is None
    assert run.fraction() is None
    run.take(stage("before", 1, 10))
    clock.time += 1
    assert run.remaining() is None  # nobody knows how long training will be


def test_remaining_time_from_pace_promise_and_the_last_run(tmp_path: Path, clock: Clock) -> None:
    last = {"before": 5.0, "encode": 4.0, "train": 99.0, "after": 7.0}
    run = RunState(AdaptWish(tmp_path, "starter"), last, clock)
    run.take(stage("load"))
    run.take(Event("started", {"training": 10.0}))
    run.take(stage("before", 0, 10))
    clock.time += 2
    run.take(stage("before", 4, 10))  # half a second each: three more seconds
    assert run.remaining() == pytest.approx(3 + 4 + 10 + 7 + 1)
    run.take(stage("train", 2, 20, left=12.0))
    clock.time += 5
    assert run.remaining() == pytest.approx(7.0)  # counts down between events
    run.take(stage("after", 0, 10))
    clock.time += 4
    run.take(stage("after", 5, 10))
    assert run.remaining() == pytest.approx(4 + 1)
    run.take(stage("write"))
    assert run.remaining() is not None


def test_progress_never_goes_back(run: RunState, clock: Clock) -> None:
    run.take(stage("train", 2, 20, left=10.0))
    clock.time += 10
    run.take(stage("train", 10, 20, left=10.0))
    half = run.fraction()
    assert half == pytest.approx(0.5)
    run.take(stage("train", 11, 40, left=60.0))
    assert run.fraction() == half


def test_one_step_is_no_pace(run: RunState, clock: Clock) -> None:
    clock.time += 20
    run.take(stage("train", 1, 80, left=2.0))
    assert run.remaining() is None  # or the bar would be nearly full, and stay there
    assert run.fraction() is None
    run.take(stage("train", 2, 80, left=60.0))
    assert run.fraction() == pytest.approx(0.25)


def test_curves_by_part(run: RunState) -> None:
    run.take(stage("train", 1, 9, losses={"total": 2.0, "mask": 1.5, "iou": 0.5}))
    run.take(stage("train", 2, 9, losses={"total": 1.0, "mask": 0.7, "compression": -3.0}))
    assert run.steps == [1, 2]
    assert run.losses["mask"] == [1.5, 0.7]
    assert run.losses["iou"][1] != run.losses["iou"][1]  # not a number: a gap
    assert run.losses["compression"][1] == -3.0
    for step in range(3, 3 * MOST_POINTS):
        run.take(stage("train", step, 9, losses={"mask": 0.1}))
    assert len(run.steps) <= MOST_POINTS
    assert all(len(values) == len(run.steps) for values in run.losses.values())
    assert run.steps == sorted(run.steps)


def test_validation_and_the_share_at_the_end(run: RunState) -> None:
    run.take(Event("validation", {"step": 5, "iou": 0.7, "iou_first": 0.6, "clicks": 2.5}))
    run.take(Event("validation", {"step": 9, "iou": 0.8, "iou_first": 0.7, "share": 0.5}))
    assert [one.iou for one in run.validations] == [0.7]
    assert run.validations[0].clicks == 2.5
    assert "50% of the way: IoU 0.800" in run.log[-1]


def test_silence(run: RunState, clock: Clock) -> None:
    for _ in range(SILENT_TICKS):
        assert not run.tick(3.0)
    assert run.tick(3.0) or run.tick(3.0)
    run.take(stage("train", 1, 2))
    assert not run.tick(3.0)


def test_a_long_step_is_not_silence(run: RunState) -> None:
    cpu = 0.0
    for _ in range(QUIET_TICKS):
        cpu += 0.9
        assert not run.tick(cpu)
    assert run.tick(cpu + 0.9)


def test_a_paused_run_may_be_silent(run: RunState) -> None:
    run.take(Event("warning", {"code": "paused", "text": "Training is paused."}))
    assert run.title == "Paused"
    assert not any(run.tick(1.0) for _ in range(2 * QUIET_TICKS))
    assert run.remaining() is None
    run.take(Event("warning", {"code": "resumed", "text": "Training goes on."}))
    assert not run.paused
    assert run.warnings == []
