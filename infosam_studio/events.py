"""The event lines of ``adapt --events``: what a running adaptation tells its supervisor.

One JSON object per line on standard output, UTF-8, flushed at once. Its first key is ``event``;
a reader ignores lines that are not such objects, because libraries print too. Every event also
carries ``seconds``, the time since the start.

==============  ============================================================================
``started``     ``name``, ``model``, ``recipe``, ``method``, ``speed``, ``device``, ``seed``,
                ``threads``, ``train_images``, ``train_objects``, ``val_images``,
                ``val_objects``, ``budget`` (seconds or null), ``unproven`` (bool), ``pid``
``progress``    ``stage`` ("load", "encode", "before", "train", "after", "write"), ``step``,
                ``of``, ``losses`` (name to number; only in "train"), ``left`` (seconds or
                null). At least one every few seconds: it is the heartbeat too.
``validation``  ``step``, ``iou`` (mean over the simulated clicks), ``iou_first``, ``best``
                (bool: the best so far, which is what will be kept); ``share`` where weights
                between the base's and the trained ones were tried at the end
``warning``     ``text``, one sentence for the user, and ``code`` (see :class:`WarningCode`)
``finished``    the result object of ``adapt --json``, the last line
``failed``      ``text``, one sentence, and ``cancelled`` (bool), the last line
==============  ============================================================================

Child mode: with the environment variable ``INFOSAM_STUDIO_CHILD=1`` the process ends when its
standard input closes, so it cannot outlive its parent, and it obeys the lines ``cancel``,
``pause`` and ``resume`` there. A run that does not react to ``cancel`` at once, because it is
importing torch or inside one long operation, says ``failed`` and ends by force: adapter folders
are written aside and renamed, so nothing half-written is ever in place. Neither torch nor Qt is
imported here.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

KINDS: Final = ("started", "progress", "validation", "warning", "finished", "failed")
LAST: Final = ("finished", "failed")
CHILD_VARIABLE: Final = "INFOSAM_STUDIO_CHILD"

# Progress lines closer together than this are dropped; ten a second are enough for any curve.
PROGRESS_INTERVAL: Final = 0.1


class WarningCode:
    """The codes of ``warning`` events."""

    ONE_PAIR: Final = "information-off"
    UNPROVEN: Final = "unproven"
    MEMORY: Final = "memory"
    NOT_FINITE: Final = "not-finite"
    SKIPPED: Final = "skipped"
    RELATION: Final = "relation"
    BUDGET: Final = "budget"
    PAUSED: Final = "paused"
    RESUMED: Final = "resumed"


@dataclass(frozen=True)
class Event:
    """One event; ``data`` holds the fields of its kind."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_line(self) -> str:
        """One line of JSON without its line end; numbers that are not finite become null."""
        return json.dumps({"event": self.kind, **_finite(self.data)}, ensure_ascii=False)


Emit = Callable[[Event], None]


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def parse_line(line: str) -> Event | None:
    """The event on this line, or None where the line is something else."""
    text = line.strip()
    if not text.startswith("{"):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    kind = values.pop("event", None) if isinstance(values, dict) else None
    return Event(kind, values) if kind in KINDS else None


class EventWriter:
    """Writes events as lines; safe from several threads.

    ``stream`` defaults to the real standard output as it is now. Call :func:`claim_stdout`
    first so that libraries cannot print between the lines.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._last_progress = -math.inf

    def __call__(self, event: Event) -> None:
        """Write one event, its time added. A reader that has gone away is no error."""
        now = time.monotonic()
        with self._lock:
            if event.kind == "progress":
                done = event.data.get("step") == event.data.get("of")
                if now - self._last_progress < PROGRESS_INTERVAL and not done:
                    return
                self._last_progress = now
            data = {"seconds": round(now - self._start, 3), **event.data}
            self._write(Event(event.kind, data).to_line())

    def _write(self, line: str) -> None:
        if self._stream is None:  # a windowed build has no console
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            self._stream = None


def claim_stdout() -> IO[str] | None:
    """Keep the real standard output for event lines; what others print goes to stderr.

    The file descriptor itself is swapped, so prints of C libraries are caught as well. Returns
    None where there is no standard output.
    """
    if sys.stdout is None:
        return None
    try:
        kept = os.dup(sys.stdout.fileno())
        error = sys.stderr.fileno() if sys.stderr is not None else None
    except (OSError, ValueError, AttributeError):  # stdout is a test's or an IDE's object
        return sys.stdout
    if error is not None:
        os.dup2(error, sys.stdout.fileno())
    return os.fdopen(kept, "w", encoding="utf-8", buffering=1)


class Control:
    """What the outside may ask of a run: stop or pause. Poll :meth:`cancelled` often."""

    def __init__(self) -> None:
        self._cancel = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._seen = threading.Event()
        self._ending = threading.Lock()

    def cancel(self) -> None:
        """Ask the run to stop; a paused run wakes up for it."""
        self._cancel.set()
        self._go.set()

    def pause(self) -> None:
        """Ask the run to wait."""
        self._go.clear()

    def resume(self) -> None:
        """Let a paused run go on."""
        self._go.set()

    @property
    def paused(self) -> bool:
        """Whether the run should be waiting."""
        return not self._go.is_set()

    def cancelled(self) -> bool:
        """Whether the run should stop."""
        return self._cancel.is_set()

    def wait_while_paused(self, timeout: float) -> bool:
        """Wait until resumed or cancelled, at most ``timeout`` seconds; True when free to go."""
        return self._go.wait(timeout)

    def sleep(self, timeout: float) -> None:
        """Wait ``timeout`` seconds, or until cancelled."""
        self._cancel.wait(timeout)

    def acknowledge(self) -> None:
        """The run is stopping by itself, or so near its end that it will finish."""
        with self._ending:
            self._seen.set()

    def insist(self, reaction: float, grace: float, end: Callable[[], None]) -> None:
        """Call ``end`` where a cancelled run has not reacted after ``reaction`` seconds, or is
        still there ``grace`` seconds after it has."""
        if self._seen.wait(reaction):
            time.sleep(grace)
            end()
        else:
            with self._ending:
                if not self._seen.is_set():
                    end()


# A run is ended by force when it has not reacted for so long, in seconds; and when it has, but
# is still there so much later.
REACTION: Final = 0.4
GRACE: Final = 10.0


def leave() -> None:
    """End a child that has said its last word at once: taking torch apart takes a while."""
    if os.environ.get(CHILD_VARIABLE) == "1":
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError, OSError, ValueError):
                stream.flush()
        os._exit(1)


def watch_parent(
    control: Control, last_words: Callable[[], None] = lambda: None
) -> threading.Thread | None:
    """In child mode, obey standard input and end with it; None outside child mode.

    A daemon thread reads lines. After ``cancel``, and at the end of input, the run is asked to
    stop; where it cannot listen, ``last_words`` is called and the process exits whatever it is
    doing: a half-written adapter folder is impossible, since folders are written aside.
    """
    if os.environ.get(CHILD_VARIABLE) != "1" or sys.stdin is None:
        return None

    def end() -> None:
        last_words()
        os._exit(1)

    thread = threading.Thread(
        target=_obey, args=(sys.stdin, control, end), name="parent-watch", daemon=True
    )
    thread.start()
    return thread


def _obey(stream: IO[str], control: Control, end: Callable[[], None]) -> None:
    words = {"pause": control.pause, "resume": control.resume}
    try:
        for line in stream:
            word = line.strip()
            if word == "cancel":
                break
            if word in words:
                words[word]()
    except (OSError, ValueError):
        pass  # a closed or broken pipe is the end of input
    control.cancel()
    control.insist(REACTION, GRACE, end)
