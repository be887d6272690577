"""Reading images, thumbnails and folders, off the main thread. No torch here."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Qt, QThread, Signal, Slot

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """The outcome of a task: ``result`` or, where it failed, ``error``."""

    key: Any
    result: Any = None
    error: Exception | None = None


class _TaskWorker(QObject):
    """Runs tasks one by one, the lowest rank first and among equals the oldest."""

    done = Signal(object)
    more = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._heap: list[tuple[int, int, Any, Callable[[], Any]]] = []
        self._count = itertools.count()
        self.closed = False
        self.more.connect(self.work, Qt.ConnectionType.QueuedConnection)

    def put(self, key: Any, task: Callable[[], Any], rank: int) -> None:
        with self._lock:
            heapq.heappush(self._heap, (rank, next(self._count), key, task))

    def drop(self, wanted: Callable[[Any], bool]) -> None:
        """Forget waiting tasks whose key is not wanted."""
        with self._lock:
            self._heap = [entry for entry in self._heap if wanted(entry[2])]
            heapq.heapify(self._heap)

    @Slot()
    def work(self) -> None:
        with self._lock:
            if self.closed or not self._heap:
                return
            _, _, key, task = heapq.heappop(self._heap)
            left = bool(self._heap)
        try:
            outcome = Done(key, result=task())
        except Exception as error:  # told to the caller, whatever it is
            log.info("task %s: %s", key, error)
            outcome = Done(key, error=error)
        self.done.emit(outcome)
        if left:
            self.more.emit()


class TaskThread(QObject):
    """A thread for slow reading: `submit` from the main thread, ``done`` arrives there."""

    done = Signal(object)
    _wake = Signal()

    def __init__(self, name: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = QThread(self)
        self._thread.setObjectName(name)
        self._worker = _TaskWorker()
        self._worker.moveToThread(self._thread)
        self._worker.done.connect(self.done)
        self._wake.connect(self._worker.work, Qt.ConnectionType.QueuedConnection)
        self._thread.start(QThread.Priority.LowPriority)

    def submit(self, key: Any, task: Callable[[], Any], *, rank: int = 1) -> None:
        """Run ``task`` on the thread; `Done` comes with ``key``."""
        self._worker.put(key, task, rank)
        self._wake.emit()

    def drop(self, wanted: Callable[[Any], bool]) -> None:
        """Forget waiting tasks whose key ``wanted`` refuses."""
        self._worker.drop(wanted)

    def close(self) -> None:
        """End after the task in progress."""
        self.blockSignals(True)  # results still under way have nobody to go to
        self._worker.closed = True
        self._thread.quit()
        self._thread.wait()
