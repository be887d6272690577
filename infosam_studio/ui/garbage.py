"""Garbage is collected on the main thread only: on another it would destroy Qt objects there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from PySide6.QtCore import QObject, QTimer, Slot

COLLECT_EVERY_MS = 2000


class Collector(QObject):
    """Collects what the interpreter would have collected by itself, on a main-thread timer."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._collect)
        self._timer.start(COLLECT_EVERY_MS)

    @Slot()
    def _collect(self) -> None:
        # The young generations take well under a millisecond; the old one now and then.
        counts, limits = gc.get_count(), gc.get_threshold()
        for generation in (2, 1, 0):
            if counts[generation] > limits[generation]:
                gc.collect(generation)
                return


@contextmanager
def collected_here() -> Iterator[None]:
    """No automatic collection inside: a timer of this thread collects, and so does the end.

    The end matters where more follows in the process: a closed window is a cycle, and the first
    worker thread whose allocation tripped the collector would delete its widgets.
    """
    before = gc.isenabled()
    gc.disable()
    collector = Collector()
    try:
        yield
    finally:
        collector.deleteLater()
        gc.collect()
        if before:
            gc.enable()
