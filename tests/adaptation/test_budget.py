"""The clock of a run: budgets, pauses, stopping, batteries."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from infosam_studio.adaptation import budget
from infosam_studio.adaptation.budget import Clock, is_battery_below
from infosam_studio.errors import Cancelled
from infosam_studio.events import Control, Event


def test_paused_time_does_not_count() -> None:
    events: list[Event] = []
    paused = threading.Event()
    control = Control()

    def emit(event: Event) -> None:
        events.append(event)
        paused.set()

    clock = Clock(60.0, control, emit)
    control.pause()

    def resume_later() -> None:
        paused.wait(20)
        threading.Event().wait(0.3)
        control.resume()

    helper = threading.Thread(target=resume_later)
    helper.start()
    before = clock.spent()
    clock.check()
    helper.join()
    assert [event.data["code"] for event in events] == ["paused", "resumed"]
    assert clock.spent() - before < 0.25
    left = clock.left()
    assert left is not None
    assert 59 < left <= 60


def test_cancelling_wakes_a_paused_run() -> None:
    control = Control()
    control.pause()
    clock = Clock(None, control, lambda _event: control.cancel())
    with pytest.raises(Cancelled):
        clock.check()
    assert clock.left() is None


@pytest.mark.parametrize(
    ("battery", "below"),
    [
        (None, False),
        (SimpleNamespace(power_plugged=True, percent=5.0), False),
        (SimpleNamespace(power_plugged=False, percent=25.0), True),
        (SimpleNamespace(power_plugged=False, percent=80.0), False),
    ],
)
def test_battery(battery: object, below: bool) -> None:
    assert is_battery_below(30.0, lambda: battery) is below


def test_no_way_to_read_a_battery_is_no_reason_to_wait() -> None:
    def broken() -> object:
        raise OSError("no such sensor")

    assert not is_battery_below(30.0, broken)


def test_a_low_battery_pauses_the_run_until_it_is_plugged_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(budget, "BATTERY_INTERVAL", 0.05)
    events: list[Event] = []
    asked: list[float] = []

    def battery() -> object:
        asked.append(1.0)
        return SimpleNamespace(power_plugged=len(asked) > 3, percent=12.0)

    clock = Clock(60.0, Control(), events.append, pause_below=20.0, battery=battery)
    before = clock.spent()
    clock.check()
    assert len(asked) == 4
    assert [event.data["code"] for event in events] == ["paused", "resumed"]
    assert "battery is below 20 %" in events[0].data["text"]
    assert clock.spent() - before < 0.2
    # Nobody is asked where the option was not given.
    Clock(None, Control(), events.append, battery=battery).check()
    assert len(asked) == 4
