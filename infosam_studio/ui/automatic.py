"""Auto mode: the model is adapted by itself while somebody labels. Off unless switched on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from infosam_studio.ui.workers_adapt import AdaptWish, Ended

if TYPE_CHECKING:
    from infosam_studio.ui.adapting import Adapting

EVERY = 10
IDLE_SECONDS = 180.0
LOOK_MS = 15_000


class Automatic(QObject):
    """Starts instant runs after every few accepted objects, and a full one when nobody works.

    Every run goes through the gate, and only what is proven is put in use. A run that was
    cancelled by hand or failed ends the mode, so that it never starts over and over.
    """

    changed = Signal()

    def __init__(self, adapting: Adapting) -> None:
        super().__init__(adapting)
        self._adapting = adapting
        self.on = False
        self.every = EVERY
        self._accepted = 0
        self._full_at = 0
        self._touched = time.monotonic()
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)

    def switch(self, on: bool, every: int = EVERY) -> None:
        """On or off; ``every`` is the number of accepted objects between two instant runs."""
        self.every = max(1, every)
        if on == self.on:
            return
        self.on, self._accepted = on, 0
        if on:
            self._full_at, self._touched = self._adapting.objects, time.monotonic()
            self._timer.start()
        else:
            self._timer.stop()
        self.changed.emit()

    @Slot()
    def object_accepted(self) -> None:
        """Count accepted objects; enough of them start an instant run."""
        self._accepted += 1
        if self.on and self._accepted >= self.every:
            self._start("instant")
        self.changed.emit()

    @Slot()
    def look(self) -> None:
        """When nobody has touched anything for a while and there are new labels: a full run."""
        idle = time.monotonic() - self._touched > IDLE_SECONDS
        if self.on and idle and self._adapting.objects != self._full_at:
            self._start("full")

    def _start(self, speed: str) -> None:
        if self._adapting.start(speed=speed, automatic=True) and speed == "full":
            self._full_at = self._adapting.objects

    def run_started(self, wish: AdaptWish) -> None:
        """A run has begun, by hand or by itself: counting starts anew."""
        self._accepted = 0

    def run_ended(self, ended: Ended) -> None:
        """A run by itself that did not succeed is the last one."""
        if self.on and ended.wish.automatic and ended.result is None:
            self.switch(False)

    @property
    def text(self) -> str:
        """What the mode is about to do."""
        left = max(0, self.every - self._accepted)
        noun = "object" if left == 1 else "objects"
        return f"By itself: next after {left} {noun}" if self.on else ""

    @Slot()
    def touch(self) -> None:
        """Somebody works: clicks, hovers, changes images or labels."""
        self._touched = time.monotonic()
