"""The models of this machine: what the manager shows and does, and the advice at first start."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QSettings, QTimer, Signal, Slot

from infosam_studio.errors import StudioError
from infosam_studio.ui.workers_images import Done, TaskThread
from infosam_studio.ui.workers_models import (
    AddFile,
    Download,
    LibraryTask,
    Listing,
    Measuring,
    ModelRow,
    Proposal,
    list_models,
)

log = logging.getLogger(__name__)

PROXY, MIRROR, TOLD = "models/proxy", "models/mirror", "models/advice_told"
# A busy machine is measured again later, this often at most.
AGAIN_MS, MOST_TRIES = 60_000, 5


@dataclass(frozen=True)
class Fetching:
    """A download: ``phase`` is waiting, running, paused or failed (then ``problem`` says why)."""

    phase: str
    done: int = 0
    total: int | None = None
    bytes_per_s: float = 0.0
    seconds_left: float | None = None
    problem: str = ""


class Models(QObject):
    """Returns at once from everything; ``changed`` tells that there is something new to show.

    ``note`` and ``problem`` of a model say how the last thing done to it ended.
    """

    changed = Signal()
    advised = Signal(object)
    added = Signal(str)
    _progressed = Signal(str, object)

    def __init__(self, settings: QSettings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self.listing: Listing | None = None
        self.fetching: dict[str, Fetching] = {}
        self.notes: dict[str, tuple[str, str]] = {}
        self.busy: dict[str, str] = {}
        self.measuring = False
        self.measure_problem = ""
        self._downloads: dict[str, Download] = {}
        self._threads: dict[str, TaskThread] = {}
        self._child: Measuring | None = None
        self._tries = 0
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.setInterval(AGAIN_MS)
        self._again.timeout.connect(self.measure)
        self._progressed.connect(self._show_progress)

    def _submit(self, thread: str, key: Any, task: Callable[[], Any]) -> None:
        """Threads are made when they are first needed: most windows never open the manager."""
        if thread not in self._threads:
            made = self._threads[thread] = TaskThread(thread, self)
            made.done.connect(self._take)
        self._threads[thread].submit(key, task)

    def row(self, name: str) -> ModelRow | None:
        """What is known about a model."""
        return self.listing.row(name) if self.listing else None

    def refresh(self) -> None:
        """Read the list again."""
        self._submit("models", ("list", ""), list_models)

    # network -----------------------------------------------------------------------------

    @property
    def proxy(self) -> str:
        """The proxy's address; empty for the system's."""
        return str(self._settings.value(PROXY, "") or "")

    @property
    def mirror(self) -> str:
        """Where the same files lie; empty for their publishers."""
        return str(self._settings.value(MIRROR, "") or "")

    def set_network(self, proxy: str, mirror: str) -> None:
        """For the downloads that begin from now on."""
        self._settings.setValue(PROXY, proxy.strip())
        self._settings.setValue(MIRROR, mirror.strip())

    # downloads ---------------------------------------------------------------------------

    def get(self, name: str) -> None:
        """Download a model, go on with a stopped download, or try again."""
        known = self.fetching.get(name)
        if known is not None and known.phase in ("waiting", "running"):
            return
        row = self.row(name)
        done = row.partial_bytes if row else 0
        total = row.size_bytes if row else None
        self.fetching[name] = Fetching("waiting", done, total)
        self.notes.pop(name, None)
        download = Download(name, self.proxy or None, self.mirror or None, self._progressed.emit)
        self._downloads[name] = download
        self._submit("downloads", ("get", name), download)
        self.changed.emit()

    def pause(self, name: str) -> None:
        """Stop a download and keep what has arrived."""
        if name in self._downloads:
            self._downloads[name].stop(discard=False)

    def cancel(self, name: str) -> None:
        """Stop a download, paused or not, and forget what has arrived."""
        if name in self._downloads:
            self._downloads[name].stop(discard=True)
        else:
            self.fetching.pop(name, None)
            self._change("discard", name, "Cancelling…")

    @Slot(str, object)
    def _show_progress(self, name: str, progress: Any) -> None:
        if name in self._downloads:
            self.fetching[name] = Fetching(
                "running",
                progress.done,
                progress.total,
                progress.bytes_per_s,
                progress.seconds_left,
            )
            self.changed.emit()

    # files -------------------------------------------------------------------------------

    def add(self, file: Path) -> None:
        """Use a file of the user's where it lies; its name and kind are found out."""
        self.busy[""] = f"Looking at {file.name}…"
        self.notes.pop("", None)
        self._submit("models", ("add", ""), AddFile(file))
        self.changed.emit()

    def verify(self, name: str) -> None:
        """Read a model's file again and compare its hash."""
        self._change("verify", name, "Reading the file…")

    def remove(self, name: str) -> None:
        """Forget a model; a file of the user's own stays where it is."""
        self._change("remove", name, "Removing…")

    def _change(self, action: str, name: str, doing: str) -> None:
        self.busy[name] = doing
        self.notes.pop(name, None)
        self._submit("models", (action, name), LibraryTask(action, name))
        self.changed.emit()

    # measuring ---------------------------------------------------------------------------

    def measure_once(self) -> None:
        """At the start of the app: measure where that was never done, then give advice."""
        self._tries = 0
        self.refresh()

    @Slot()
    def measure(self) -> None:
        """Measure the machine, in a child process."""
        if self.measuring:
            return
        self.measuring, self.measure_problem = True, ""
        self._tries += 1
        self._child = Measuring()
        self._submit("measuring", ("measure", ""), self._child)
        self.changed.emit()

    def _measured(self, done: Done) -> None:
        self.measuring, self._child = False, None
        if done.error is not None:
            self.measure_problem = str(done.error)
        elif done.result.get("busy"):
            self.measure_problem = "This machine was too busy to be measured."
            if self._tries < MOST_TRIES:
                self._again.start()
        self.refresh()

    def advice_was_told(self) -> None:
        """The user has seen the proposal; it is not pressed on them again."""
        self._settings.setValue(TOLD, "true")

    @property
    def _advice_is_news(self) -> bool:
        return self._settings.value(TOLD, "false") != "true"

    # outcomes ----------------------------------------------------------------------------

    @Slot(object)
    def _take(self, done: Done) -> None:
        action, name = done.key
        if action == "list":
            self._listed(done)
        elif action == "measure":
            self._measured(done)
        elif action == "get":
            self._fetched(name, done)
        else:
            self._changed_library(action, name, done)
        self.changed.emit()

    def _listed(self, done: Done) -> None:
        if done.error is not None:
            log.error("models", exc_info=done.error)
            self.notes[""] = (str(done.error), "bad")
            return
        first = self.listing is None
        self.listing = done.result
        proposal: Proposal | None = done.result.proposal
        if proposal is not None and self._advice_is_news:
            self.advised.emit(proposal)
        elif proposal is None and first:
            self.measure()

    def _fetched(self, name: str, done: Done) -> None:
        self._downloads.pop(name, None)
        state = self.fetching.pop(name, Fetching("waiting"))
        if done.error is not None:
            problem = self._sentence(done.error)
            self.fetching[name] = replace(state, phase="failed", problem=problem)
        elif done.result == "paused":
            self.fetching[name] = replace(state, phase="paused")
        elif done.result == "done":
            self.notes[name] = ("Downloaded, and its SHA-256 is right.", "good")
            self.added.emit(name)
        self.refresh()

    def _changed_library(self, action: str, name: str, done: Done) -> None:
        self.busy.pop(name, None)
        if done.error is not None:
            self.notes[name] = (self._sentence(done.error), "bad")
        elif action == "add":
            new, text = done.result
            self.notes[new] = (text, "good")
            self.added.emit(new)
        elif action != "discard":
            self.notes[name] = (str(done.result), "good")
        self.refresh()

    def _sentence(self, error: Exception) -> str:
        if not isinstance(error, StudioError | OSError):
            log.error("models", exc_info=error)
        return str(error) or type(error).__name__

    def close(self) -> None:
        """Stop downloads (what has arrived is kept) and end the threads."""
        self._again.stop()
        for download in self._downloads.values():
            download.stop(discard=False)
        if self._child is not None:
            self._child.end()
        for thread in self._threads.values():
            thread.close()
