"""The thread that supervises one adaptation: a child process running ``adapt --events``."""

from __future__ import annotations

import collections
import contextlib
import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from PySide6.QtCore import QObject, QThread, Signal

from infosam_studio.events import CHILD_VARIABLE, LAST, Event, parse_line

log = logging.getLogger(__name__)

KEPT_LINES = 400
# From asking to terminating, and from terminating to killing, in seconds: together with the
# end of the process itself a run is gone within a second. Nothing is lost by a kill, since
# versions are written aside and renamed.
ASKED, TERMINATED = 0.75, 0.15
# After the process has ended, its output may still be held open by a process of its own.
DRAINED = 2.0

SIGNALS = {
    "SIGABRT": "It crashed",
    "SIGBUS": "It crashed",
    "SIGFPE": "It crashed",
    "SIGILL": "The processor lacks an instruction it needs",
    "SIGSEGV": "It crashed",
    "SIGXFSZ": "A file grew beyond what is allowed here",
}


@dataclass(frozen=True)
class AdaptWish:
    """What to run: the options of ``adapt`` that the window offers."""

    project: Path
    model: str
    speed: str = "instant"
    method: str = "auto"
    recipe: str = "studio"
    minutes: float | None = None
    automatic: bool = False
    device: str = "auto"
    threads: int | None = None
    pause_below: float | None = None
    resume: bool = False

    def arguments(self) -> list[str]:
        """The command line after the program's name."""
        found = ["adapt", str(self.project), "--events", "--model", self.model]
        found += ["--recipe", self.recipe, "--method", self.method, "--speed", self.speed]
        found += ["--device", self.device]
        if self.minutes is not None:
            found += ["--minutes", str(self.minutes)]
        if self.threads is not None:
            found += ["--threads", str(self.threads)]
        if self.pause_below is not None:
            found += ["--pause-below", str(self.pause_below)]
        if self.resume:
            found += ["--resume"]
        return found


@dataclass(frozen=True)
class Ended:
    """How a run ended: ``result`` is adapt's result object, else ``problem`` says why not.

    ``interrupted`` says that it did not end by itself, so that going on makes sense; ``offered``
    that its end was not seen: the app was not there, or the child died before it could tell.
    """

    wish: AdaptWish
    result: dict[str, Any] | None
    problem: str
    cancelled: bool
    log: tuple[str, ...]
    interrupted: bool = False
    offered: bool = False


def own_program() -> list[str]:
    """What starts this program again: the frozen executable itself, or Python with the package."""
    frozen = bool(getattr(sys, "frozen", False))
    return [sys.executable] if frozen else [sys.executable, "-m", "infosam_studio"]


class Supervisor(QThread):
    """Starts the child, passes its events on, and always emits ``ended`` once."""

    event_read = Signal(object)
    ended = Signal(object)

    def __init__(
        self,
        wish: AdaptWish,
        parent: QObject | None = None,
        *,
        program: Sequence[str] | None = None,
    ) -> None:
        super().__init__(parent)
        self.setObjectName("adaptation")
        self._wish = wish
        self._program = list(program or own_program())
        self._child: subprocess.Popen[str] | None = None
        self._lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._fresh: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._lock = threading.Lock()
        self._stopping = False
        self._reason = ""
        self._over = threading.Event()
        self._last: Event | None = None
        self._closed = False
        self.process_id: int | None = None

    # on the supervising thread -----------------------------------------------------------

    def run(self) -> None:
        """Follow the child until it ends.

        Its two streams have threads of their own: a process the child has left behind may hold
        them open, and the end of the child itself is what counts.
        """
        try:
            child = self._start()
        except OSError as error:
            self._tell(None, f"The adaptation could not be started: {error}.")
            return
        readers = [
            threading.Thread(target=self._read, args=(child.stdout,), daemon=True),
            threading.Thread(target=self._drain, args=(child.stderr,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        status = child.wait()
        self._over.set()
        for reader in readers:
            reader.join(DRAINED)
        with contextlib.suppress(OSError):
            if child.stdin is not None:
                child.stdin.close()
        self._closed = True
        self._report(self._last, status)

    def _read(self, stream: IO[str] | None) -> None:
        if stream is None:
            return
        with stream, contextlib.suppress(OSError, ValueError):
            for line in stream:
                if self._closed:
                    return
                event = parse_line(line)
                if event is None:
                    self._keep(line)
                    continue
                if event.kind in LAST:
                    self._last = event
                self.event_read.emit(event)

    def _start(self) -> subprocess.Popen[str]:
        environment = dict(os.environ, **{CHILD_VARIABLE: "1", "PYTHONUNBUFFERED": "1"})
        environment.pop("QT_QPA_PLATFORM", None)
        if getattr(sys, "frozen", False):
            environment["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
        child = subprocess.Popen(
            [*self._program, *self._wish.arguments()],
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
        with self._lock:
            self._child, self.process_id = child, child.pid
            asked_already = self._stopping
        if asked_already:
            self._stop_in_background()
        return child

    def _drain(self, stream: IO[str] | None) -> None:
        """Keep the child's standard error from filling up, and remember its end."""
        if stream is not None:
            with stream, contextlib.suppress(OSError, ValueError):
                for line in stream:
                    self._keep(line)

    def _keep(self, line: str) -> None:
        text = line.rstrip()
        if text:
            self._lines.append(text)
            self._fresh.append(text)
            log.debug("adapt: %s", text)

    def take_lines(self) -> list[str]:
        """What the child has printed since the last call; never more than is worth showing."""
        found: list[str] = []
        with contextlib.suppress(IndexError):
            while len(found) < KEPT_LINES:
                found.append(self._fresh.popleft())
        return found

    def cpu_seconds(self) -> float | None:
        """Processor time the child has used, None where that cannot be read."""
        if self.process_id is None:
            return None
        try:
            times = importlib.import_module("psutil").Process(self.process_id).cpu_times()
        except Exception:  # not installed, not allowed, or the child has just ended
            return None
        return float(times.user + times.system)

    def _report(self, last: Event | None, status: int) -> None:
        if last is not None and last.kind == "finished":
            self._tell(dict(last.data), "")
        elif self._stopping:
            self._tell(None, self._reason or "Stopped on request.")
        elif last is not None:
            self._tell(None, str(last.data.get("text", "")), failed=True)
        else:
            self._tell(None, _sentence(status, list(self._lines)))

    def _tell(self, result: dict[str, Any] | None, problem: str, *, failed: bool = False) -> None:
        self._over.set()
        cancelled = self._stopping and not self._reason
        self.ended.emit(
            Ended(
                self._wish,
                result,
                problem,
                cancelled,
                tuple(self._lines),
                interrupted=result is None and not failed,
            )
        )

    # from other threads ------------------------------------------------------------------

    def cancel(self, reason: str = "") -> None:
        """Ask the child to stop; then terminate, then kill it. Returns at once.

        With a ``reason`` the end is told as a problem, in that sentence.
        """
        with self._lock:
            if self._stopping:
                return
            self._stopping, self._reason = True, reason
            started = self._child is not None
        if started:
            self._stop_in_background()

    def _stop_in_background(self) -> None:
        threading.Thread(target=self._stop, name="adapt-stop", daemon=True).start()

    def _stop(self) -> None:
        child = self._child
        assert child is not None
        with contextlib.suppress(OSError, ValueError):  # it may have ended already
            if child.stdin is not None:
                child.stdin.write("cancel\n")
                child.stdin.flush()
        if self._over.wait(ASKED):
            return
        child.terminate()
        if not self._over.wait(TERMINATED):
            child.kill()

    def close(self) -> None:
        """Stop the child and wait for the thread, as when the window closes."""
        if self.isRunning():
            self.cancel()
            self.wait()


def _sentence(status: int, lines: Sequence[str]) -> str:
    """Why a child that told nothing has ended."""
    if status in (-9, 137):
        return (
            "The adaptation was killed, most likely for want of memory: close other programs or "
            "choose a smaller model."
        )
    if status < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
            return f"{SIGNALS.get(name, 'It was stopped from outside')} ({name}): try again."
    last = next((line for line in reversed(lines) if line.strip()), "")
    told = f": {last[:200]}" if last else "; try again"
    return f"The adaptation ended unexpectedly (status {status}){told}"
