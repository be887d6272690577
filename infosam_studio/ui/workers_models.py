"""What the model manager does on threads: listing, downloading, adding, checking, measuring."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.ui.workers_adapt import own_program

if TYPE_CHECKING:
    from infosam_studio.segmentation.library import Entry
    from infosam_studio.segmentation.network import Progress
    from infosam_studio.segmentation.speeds import Measured

MEASURE_TIMEOUT_S = 180
# A closing window waits for a connection at most that long.
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ModelRow:
    """One model of the list; fields as in `library.Entry` and `advice.Speed`."""

    name: str
    state: str
    origin: str
    architecture: str
    size_bytes: int
    partial_bytes: int
    licence: str
    description: str
    path: Path | None
    sha256: str
    encode_s: float | None = None
    click_s: float | None = None


@dataclass(frozen=True)
class Proposal:
    """The model that suits this machine, the speed of adaptation with it, seconds it takes."""

    model: str
    adaptation: str
    encode_s: float
    click_s: float

    @property
    def text(self) -> str:
        """How quick it is, for the user."""
        return (
            f"{seconds_text(self.encode_s)} for an image, {seconds_text(self.click_s)} for a click"
        )


@dataclass(frozen=True)
class Listing:
    """Everything the manager shows; ``measured`` is a date, empty where nothing was measured."""

    rows: tuple[ModelRow, ...]
    folder: Path
    free_bytes: int
    measured: str = ""
    proposal: Proposal | None = None

    def row(self, name: str) -> ModelRow | None:
        """The model of that name."""
        return next((row for row in self.rows if row.name == name), None)


def list_models() -> Listing:
    """The list as it is now; needs no network."""
    from infosam_studio.segmentation import library, speeds
    from infosam_studio.segmentation.catalogue import models_folder

    measured, folder = speeds.known(), models_folder()
    rows = tuple(_row(entry, measured) for entry in library.entries())
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if measured is None:
        return Listing(rows, folder, free)
    return Listing(rows, folder, free, measured.date, _proposal(measured))


def _proposal(measured: Measured) -> Proposal | None:
    model = measured.advice().model
    speed = measured.speeds.get(model)
    if speed is None:
        return None
    return Proposal(model, measured.adaptation(model), speed.encode_s, speed.click_s)


def seconds_text(value: float) -> str:
    """A duration for people."""
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def _row(entry: Entry, measured: Measured | None) -> ModelRow:
    info = entry.info
    speed = measured.of(info.architecture) if measured else None
    return ModelRow(
        info.name,
        entry.state,
        entry.origin,
        info.architecture,
        info.size_bytes,
        entry.partial_bytes,
        info.licence,
        info.description,
        info.path,
        info.sha256,
        speed.encode_s if speed else None,
        speed.click_s if speed else None,
    )


class Download:
    """Fetches one model; `stop` ends it soon and keeps what has arrived unless told otherwise."""

    def __init__(
        self, name: str, proxy: str | None, mirror: str | None, told: Callable[[str, Any], None]
    ) -> None:
        self.name, self._proxy, self._mirror, self._told = name, proxy, mirror, told
        self._stopped = threading.Event()
        self._discard = False

    def stop(self, *, discard: bool) -> None:
        """Pause, or cancel for good."""
        self._discard = discard
        self._stopped.set()

    def __call__(self) -> str:
        """How it ended: "done", "paused" or "cancelled"."""
        from infosam_studio.segmentation import library
        from infosam_studio.segmentation.network import Network

        network = Network(proxy=self._proxy, mirror=self._mirror, timeout_s=TIMEOUT_S)
        try:
            if self._stopped.is_set():
                raise Cancelled
            library.get(
                self.name, network=network, progress=self._tell, cancelled=self._stopped.is_set
            )
        except Cancelled:
            if self._discard:
                library.discard_part(self.name)
            return "cancelled" if self._discard else "paused"
        return "done"

    def _tell(self, progress: Progress) -> None:
        self._told(self.name, progress)


class AddFile:
    """Makes a file known under a name of its own; gives that name and a sentence."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self) -> tuple[str, str]:
        from infosam_studio.segmentation import library

        info = library.add(library.name_for(self._file), self._file)
        return info.name, f"Recognised as {info.architecture}; it is used where it lies."


class LibraryTask:
    """One change of the library; gives a sentence for the user."""

    def __init__(self, action: str, name: str) -> None:
        self._action, self._name = action, name

    def __call__(self) -> str:
        from infosam_studio.segmentation import library

        if self._action == "verify":
            verdict = library.verify(self._name)
            if not verdict.ok:
                raise StudioError(verdict.problem)
            return "Read again from the disk: the file is intact."
        if self._action == "discard":
            library.discard_part(self._name)
            return "What had arrived was thrown away."
        library.remove(self._name)
        return "Removed."


class Measuring:
    """Measures this machine in a child process, where it disturbs nothing here."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._ended = False

    def __call__(self) -> dict[str, Any]:
        """The answer of ``models measure``."""
        command = [*own_program(), "models", "measure", "--json"]
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        if self._ended:
            self.end()
        try:
            out, _ = self._child.communicate(timeout=MEASURE_TIMEOUT_S)
            answer = json.loads(out)
        except (subprocess.TimeoutExpired, ValueError) as error:
            self.end()
            raise StudioError(
                "This machine could not be measured: infosam-studio models measure says why."
            ) from error
        return dict(answer)

    def end(self) -> None:
        """Stop measuring, as when the window closes."""
        self._ended = True
        if self._child is not None:
            with contextlib.suppress(OSError):
                self._child.kill()
