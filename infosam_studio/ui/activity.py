"""Active seconds: time between actions, pauses cut off."""

from __future__ import annotations

import time
from collections.abc import Callable

IDLE_AFTER = 20.0


class ActivityClock:
    """Adds up the time between touches; a pause of more than 20 s counts as nothing."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: float | None = None
        self.seconds = 0.0

    def touch(self) -> None:
        """The person did something."""
        now = self._now()
        if self._last is not None and now - self._last <= IDLE_AFTER:
            self.seconds += now - self._last
        self._last = now

    def take(self) -> float:
        """The seconds since the last take; counting starts anew."""
        self.touch()
        seconds, self.seconds = self.seconds, 0.0
        return seconds
