"""Waiting for a signal in a script that drives the window; the event loop keeps running."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEventLoop, QObject, QTimer, SignalInstance, Slot

from infosam_studio.errors import StudioError


class Waiter(QObject):
    """Runs the event loop until a signal came for which ``wanted`` says yes."""

    def __init__(self, wanted: Callable[..., bool] | None = None) -> None:
        super().__init__()
        self._loop = QEventLoop()
        self._wanted = wanted
        self.arguments: tuple[Any, ...] | None = None

    @Slot()
    def _arrived(self, *arguments: Any) -> None:
        if self._wanted is None or self._wanted(*arguments):
            self.arguments = arguments
            self._loop.quit()

    def wait(self, signal: SignalInstance, seconds: float, what: str) -> tuple[Any, ...]:
        """The signal's arguments; raises `StudioError` naming ``what`` when it never comes."""
        timer = QTimer()
        timer.setSingleShot(True)
        timer.timeout.connect(self._loop.quit)
        timer.start(round(seconds * 1000))
        self._loop.exec()
        signal.disconnect(self._arrived)
        if self.arguments is None:
            raise StudioError(f"The window did not get to this within {seconds:.0f} s: {what}.")
        return self.arguments


def wait_for(
    signal: SignalInstance,
    action: Callable[[], object],
    what: str,
    *,
    wanted: Callable[..., bool] | None = None,
    seconds: float = 120.0,
) -> tuple[Any, ...]:
    """Do ``action`` and return the arguments of the ``signal`` that follows it."""
    waiter = Waiter(wanted)
    signal.connect(waiter._arrived)
    action()
    if waiter.arguments is not None:
        signal.disconnect(waiter._arrived)
        return waiter.arguments
    return waiter.wait(signal, seconds, what)
