"""The clock of a run: the user's minutes, pauses that do not count, and stopping at once."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Final

from infosam_studio.errors import Cancelled
from infosam_studio.events import Control, Emit, Event, WarningCode

BATTERY_INTERVAL: Final = 10.0


class Clock:
    """Time spent, without the time spent paused.

    ``seconds`` is the whole budget of the run, or None; ``started`` a ``time.monotonic()``
    value, so that starting the process can be counted in. Below ``pause_below`` percent of
    ``battery`` (psutil's answer by default) the run waits until it is plugged in or charged.
    """

    def __init__(
        self,
        seconds: float | None,
        control: Control,
        emit: Emit,
        *,
        started: float | None = None,
        pause_below: float | None = None,
        battery: Callable[[], object] | None = None,
    ) -> None:
        self.seconds = seconds
        self._control, self._emit = control, emit
        self._started = time.monotonic() if started is None else started
        self._paused = 0.0
        self._pause_below, self._battery = pause_below, battery
        self._battery_asked = -BATTERY_INTERVAL
        self._low = False

    def spent(self) -> float:
        """Seconds since the start that were not paused."""
        return time.monotonic() - self._started - self._paused

    def left(self) -> float | None:
        """Seconds of the budget that remain, or None without one."""
        return None if self.seconds is None else self.seconds - self.spent()

    def check(self) -> None:
        """Wait while paused; raises Cancelled when asked to stop. Cheap: call it often."""
        self._stop_if_asked()
        if self._control.paused or self._battery_low():
            self._wait()

    def asked_to_stop(self) -> bool:
        """:meth:`check` for those who want an answer; it never is True, but may raise."""
        self.check()
        return False

    def commit(self) -> None:
        """The last chance to be stopped: from here on the run finishes."""
        self.check()
        self._control.acknowledge()

    def _stop_if_asked(self) -> None:
        if self._control.cancelled():
            self._control.acknowledge()
            raise Cancelled

    def _wait(self) -> None:
        start = time.monotonic()
        text = "Training is paused."
        if self._low:
            text = (
                f"The battery is below {self._pause_below:g} %: training waits until the machine "
                "is plugged in."
            )
        self._emit(Event("warning", {"code": WarningCode.PAUSED, "text": text}))
        while self._control.paused or self._battery_low():
            self._control.wait_while_paused(0.5)
            if not self._control.paused and self._battery_low():
                self._control.sleep(0.5)
            if self._control.cancelled():
                break
        self._stop_if_asked()
        self._paused += time.monotonic() - start
        self._emit(Event("warning", {"code": WarningCode.RESUMED, "text": "Training goes on."}))

    def _battery_low(self) -> bool:
        if self._pause_below is None:
            return False
        now = time.monotonic()
        if now - self._battery_asked > BATTERY_INTERVAL:
            self._battery_asked = now
            self._low = is_battery_below(self._pause_below, self._battery)
        return self._low


def is_battery_below(percent: float, read: Callable[[], object] | None = None) -> bool:
    """Whether the machine runs on a battery with less than ``percent`` left.

    False where there is no battery, or nothing that can read it.
    """
    try:
        battery = (read or _battery)()
    except (ImportError, AttributeError, OSError, RuntimeError, NotImplementedError):
        return False
    if battery is None or getattr(battery, "power_plugged", True):
        return False
    return float(getattr(battery, "percent", 100.0)) < percent


def _battery() -> object:
    psutil = importlib.import_module("psutil")
    return psutil.sensors_battery()
