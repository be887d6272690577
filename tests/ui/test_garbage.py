"""Widgets in reference cycles are destroyed on the main thread, whoever makes garbage."""

from __future__ import annotations

import gc
import threading
from typing import Any

from PySide6.QtWidgets import QWidget

from infosam_studio.ui.garbage import collected_here


class Noted(QWidget):
    """Notes the thread that ends it."""

    def __init__(self, ended: list[threading.Thread]) -> None:
        super().__init__()
        self.me, self.ended = self, ended

    def __del__(self) -> None:
        self.ended.append(threading.current_thread())


def make_garbage() -> None:
    """Enough cycles for the collector to run, were it on."""
    kept = []
    for _ in range(200_000):
        cycle: list[Any] = []
        cycle.append(cycle)
        kept.append([cycle])


def test_a_worker_thread_never_destroys_a_widget(qapp: Any) -> None:
    ended: list[threading.Thread] = []
    was = gc.isenabled()
    gc.enable()
    try:
        with collected_here():
            Noted(ended)
            worker = threading.Thread(target=make_garbage)
            worker.start()
            worker.join()
            assert ended == []
        assert ended == [threading.main_thread()]
        assert gc.isenabled()
    finally:
        if not was:
            gc.disable()
