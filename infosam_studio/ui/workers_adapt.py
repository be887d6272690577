"""The thread that supervises one adaptation: a child process running ``adapt --events``."""

from __future__ import annotations

import collections
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PySide6.QtCore import QObject, QThread, Signal

from infosam_studio.events import CHILD_VARIABLE, Event, parse_line

log = logging.getLogger(__name__)

KEPT_LINES = 400
# From asking to terminating, and from terminating to killing, in seconds.
ASKED, TERMINATED = 12.0, 5.0


@dataclass(frozen=True)
class AdaptWish:
    """What to run: the options of ``adapt`` that the window offers."""

    project: Path
    model: str
    speed: str = "instant"
    method: str = "infosam"
    recipe: str = "studio"
    minutes: float | None = None
    automatic: bool = False

    def arguments(self) -> list[str]:
        """The command line after the program's name."""
        found = ["adapt", str(self.project), "--events", "--model", self.model]
        found += ["--recipe", self.recipe, "--method", self.method, "--speed", self.speed]
        if self.minutes is not None:
            found += ["--minutes", str(self.minutes)]
        return found


@dataclass(frozen=True)
class Ended:
    """How a run ended: ``result`` is adapt's result object, else ``problem`` says why not."""

    wish: AdaptWish
    result: dict[str, Any] | None
    problem: str
    cancelled: bool
    log: tuple[str, ...]


class Supervisor(QThread):
    """Starts the child, passes its events on, and always emits ``ended`` once."""

    event_read = Signal(object)
    ended = Signal(object)

    def __init__(self, wish: AdaptWish, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("adaptation")
        self._wish = wish
        self._child: subprocess.Popen[str] | None = None
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._cancelled = threading.Event()
        self._over = threading.Event()
        self.process_id: int | None = None

    def run(self) -> None:
        """Read the child's events until it ends (on the supervising thread)."""
        last: Event | None = None
        try:
            child = self._start()
        except OSError as error:
            self._tell(None, f"The adaptation could not be started: {error}.")
            return
        drain = threading.Thread(target=self._drain, args=(child.stderr,), daemon=True)
        drain.start()
        assert child.stdout is not None
        for line in child.stdout:
            event = parse_line(line)
            if event is None:
                self._lines.append(line.rstrip())
                continue
            if event.kind in ("finished", "failed"):
                last = event
            self.event_read.emit(event)
        status = child.wait()
        self._over.set()
        drain.join(2.0)
        if child.stdin is not None:
            child.stdin.close()
        self._report(last, status)

    def _start(self) -> subprocess.Popen[str]:
        environment = dict(os.environ, **{CHILD_VARIABLE: "1", "PYTHONUNBUFFERED": "1"})
        environment.pop("QT_QPA_PLATFORM", None)
        frozen = bool(getattr(sys, "frozen", False))
        if frozen:
            environment["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
        program = [sys.executable] if frozen else [sys.executable, "-m", "infosam_studio"]
        child = subprocess.Popen(
            [*program, *self._wish.arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            errors="replace",
            bufsize=1,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._child, self.process_id = child, child.pid
        return child

    def _drain(self, stream: IO[str] | None) -> None:
        """Keep the child's standard error from filling up, and remember its end."""
        if stream is not None:
            for line in stream:
                self._lines.append(line.rstrip())
                log.debug("adapt: %s", line.rstrip())

    def _report(self, last: Event | None, status: int) -> None:
        if last is not None and last.kind == "finished":
            self._tell(dict(last.data), "")
        elif last is not None:
            self._tell(None, str(last.data.get("text", "")), bool(last.data.get("cancelled")))
        elif self._cancelled.is_set():
            self._tell(None, "Stopped on request.", True)
        elif status == -9:
            self._tell(None, "The adaptation was killed, most likely for want of memory.")
        else:
            self._tell(None, f"The adaptation ended unexpectedly (status {status}).")

    def _tell(self, result: dict[str, Any] | None, problem: str, cancelled: bool = False) -> None:
        self._over.set()
        done = Ended(
            self._wish, result, problem, cancelled or self._cancelled.is_set(), tuple(self._lines)
        )
        self.ended.emit(done)

    def cancel(self) -> None:
        """Ask the child to stop; then terminate, then kill it. Returns at once."""
        if self._cancelled.is_set():
            return
        self._cancelled.set()
        threading.Thread(target=self._stop, name="adapt-stop", daemon=True).start()

    def _stop(self) -> None:
        child = self._child
        if child is None:
            return
        try:
            if child.stdin is not None:
                child.stdin.write("cancel\n")
                child.stdin.flush()
        except (OSError, ValueError):
            pass  # it has ended already
        if self._over.wait(ASKED):
            return
        child.terminate()
        if not self._over.wait(TERMINATED):
            child.kill()

    def close(self) -> None:
        """Stop the child and wait for the thread, as when the window closes."""
        if self.isRunning():
            self.cancel()
            child = self._child
            if not self.wait(3000) and child is not None:
                child.kill()
                self.wait()
