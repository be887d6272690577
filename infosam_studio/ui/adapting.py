"""Adapt model: starts runs, follows them, and puts what the gate lets through in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal, Slot

from infosam_studio.annotation.split import Labelled, assign_split
from infosam_studio.errors import StudioError
from infosam_studio.events import Event
from infosam_studio.ui.automatic import Automatic
from infosam_studio.ui.document import Document
from infosam_studio.ui.run_state import RunState, kind_of
from infosam_studio.ui.versions import Versions
from infosam_studio.ui.workers_adapt import AdaptWish, Ended, Supervisor
from infosam_studio.ui.workers_inference import Inference
from infosam_studio.ui.workers_versions import VersionRow, result_of

RUN = "adapt_run"
TIMES = "adapt_seconds"
TICK_MS = 1000
# What the gate asks for; a test compares with `adaptation.gate`.
PROOF_IMAGES = 3
PROOF_OBJECTS = 10


class Adapting(QObject):
    """One run at a time.

    ``changed`` tells the panel that something about the run or what could be learnt from is
    new, ``ticked`` comes every second of a run, ``finished`` carries how a run ended.
    """

    changed = Signal()
    ticked = Signal()
    versions_changed = Signal()
    finished = Signal(object)
    told = Signal(str, str)

    def __init__(
        self, document: Document, inference: Inference, model: str, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document = document
        self._supervisor: Supervisor | None = None
        self.run: RunState | None = None
        self.last: Ended | None = None
        self._closed = False
        self.store = Versions(document, inference, model, self)
        self.store.changed.connect(self.versions_changed)
        self.store.listed.connect(self._look_for_unseen)
        self.store.told.connect(self.told)
        self.automatic = Automatic(self)
        self._watch = QTimer(self)
        self._watch.setInterval(TICK_MS)
        self._watch.timeout.connect(self._tick)
        # Undo, deletion and import change what can be learnt from, not only accepting.
        document.objects_changed.connect(self.changed)
        document.images_changed.connect(self.changed)
        for sign_of_life in (
            document.history_changed,
            document.current_changed,
            document.selection_changed,
            inference.answered,
            inference.hovered,
        ):
            sign_of_life.connect(self.automatic.touch)

    # what there is -----------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The base model in use."""
        return self.store.model

    @property
    def in_use(self) -> str | None:
        """The version in use, None for the base model."""
        return self.store.in_use

    @property
    def versions(self) -> list[VersionRow]:
        """All versions, the oldest first, without the base model."""
        return self.store.rows

    def folder_of(self, name: str | None) -> Path | None:
        """The folder of a version."""
        return self.store.folder_of(name)

    def use(self, name: str | None) -> None:
        """Swap to a version (None: the base model) between two predictions."""
        self.store.use(name)

    def load_model(self, name: str) -> None:
        """Load another base model, without any version on it."""
        self.store.load_model(name)

    def roll_back(self) -> str | None:
        """Use the version that was in use before; returns what is in use now."""
        return self.store.roll_back()

    def _counts(self) -> dict[int, int]:
        """Objects per image of the images that can be learnt from."""
        document = self._document
        images = [one for one in document.images() if not one.excluded and not one.problem]
        return {one.id: document.count(one.id) for one in images if document.count(one.id)}

    @property
    def objects(self) -> int:
        """How many objects there are to learn from."""
        return sum(self._counts().values())

    def needs(self) -> str:
        """What a run would have to work with and what a proof lacks, in a sentence or two."""
        if self._document.project.read_only:
            return "This project can only be read here, so nothing can be learnt from it."
        counts = self._counts()
        if not counts:
            return "Accept a few objects first; the model then learns from them."
        what = f"{_count(sum(counts.values()), 'object')} on {_count(len(counts), 'image')}."
        records = [self._document.image(key) for key in counts]
        labelled = [Labelled(r.id, r.sha256, r.page, r.split) for r in records if r is not None]
        parts = {one.id: one.split or "" for one in labelled} | assign_split(labelled)
        tests = [key for key, part in parts.items() if part == "val"]
        held = sum(counts[key] for key in tests)
        missing = _images_missing(len(tests), len(counts))
        usable = sum(1 for one in self._document.images() if not one.excluded and not one.problem)
        if missing > usable - len(counts):
            more = f"A proof would take {len(counts) + missing} labelled images"
        elif missing:
            more = f"{_count(missing, 'more labelled image')} for a proof"
        elif held < PROOF_OBJECTS:
            more = f"{PROOF_OBJECTS - held} more objects on the test images for a proof"
        else:
            kept = f"{_count(held, 'object')} on {_count(len(tests), 'image')}"
            return f"{what} {kept} are kept aside to prove the result."
        return f"{what} {more}; you can start now, the result will be marked unproven."

    @property
    def possible(self) -> bool:
        """Whether a run can be started now."""
        project = self._document.project
        return self.run is None and not project.read_only and bool(self._counts())

    # running -----------------------------------------------------------------------------

    def start(self, wish: AdaptWish | None = None, **choices: Any) -> bool:
        """Start a run as wished, or with these fields of `AdaptWish`; False where impossible."""
        if not self.possible:
            return False
        project = self._document.project
        if wish is None:
            given: dict[str, Any] = {"project": project.folder, "model": self.model} | choices
            wish = AdaptWish(**given)
        marker = {"known": self.store.names(), "automatic": wish.automatic}
        try:
            project.ensure_split()
            project.set_setting(RUN, marker)
        except StudioError as problem:
            self.told.emit(str(problem), "error")
            return False
        times = project.setting(TIMES) or {}
        self.run, self.last = RunState(wish, times.get(kind_of(wish), {})), None
        self.automatic.run_started(wish)
        supervisor = self._supervisor = Supervisor(wish, self)
        supervisor.event_read.connect(self._take_event)
        supervisor.ended.connect(self._take_end)
        supervisor.finished.connect(supervisor.deleteLater)
        supervisor.start()
        self._watch.start()
        self.changed.emit()
        return True

    def retry(self) -> bool:
        """Run again what ended last; a run that was cut off goes on where it was."""
        last = self.last
        if last is None:
            return self.start()
        return self.start(replace(last.wish, resume=last.interrupted, automatic=False))

    def cancel(self) -> None:
        """Ask the run to stop; the version in use stays in use."""
        self._stop("")

    def _stop(self, reason: str) -> None:
        if self._supervisor is not None and self.run is not None:
            self.run.stopping = True
            self._supervisor.cancel(reason)
            self.changed.emit()

    @property
    def process_id(self) -> int | None:
        """The child's process id while a run is in progress."""
        return self._supervisor.process_id if self._supervisor is not None else None

    @Slot(object)
    def _take_event(self, event: Event) -> None:
        if self.run is not None and not self._closed:
            self.run.take(event)
            self.changed.emit()

    @Slot()
    def _tick(self) -> None:
        """Every second of a run: its log, and whether it still lives."""
        run, supervisor = self.run, self._supervisor
        if run is None or supervisor is None:
            return
        for line in supervisor.take_lines():
            run.write(line)
        if run.tick(supervisor.cpu_seconds()):
            self._stop("The adaptation fell silent and was stopped: try again.")
        self.ticked.emit()

    @Slot(object)
    def _take_end(self, ended: Ended) -> None:
        self._watch.stop()
        run = self.run
        if self._closed or run is None:
            return
        for line in ended.log[-20:] if ended.result is None else ():
            run.write(line)
        ended = replace(ended, log=tuple(run.log))
        if ended.result is not None:
            self._remember_times(run)
        self._supervisor, self.run, self.last = None, None, ended
        if ended.result is not None or not ended.interrupted:
            self._clear_marker()  # else the list may show a version nobody has heard of
        self._promote(ended)
        self.store.refresh()
        self.changed.emit()
        self.finished.emit(ended)
        self.automatic.run_ended(ended)

    def _promote(self, ended: Ended) -> None:
        """Put in use what the gate let through; by itself only what is proven."""
        result = ended.result
        if result is None or not result.get("promoted") or ended.cancelled:
            return
        if ended.wish.model != self.model:
            return  # it was compared on another base: swapping that is the user's decision
        proven = bool((result.get("gate") or {}).get("proven"))
        if proven or not ended.wish.automatic:
            self.use(str(result["adapter"]))

    def _remember_times(self, run: RunState) -> None:
        times = self._document.project.setting(TIMES) or {}
        self._keep(TIMES, times | {kind_of(run.wish): run.durations()})

    # what was not seen to end ------------------------------------------------------------

    def _clear_marker(self) -> None:
        self._keep(RUN, None)

    def _keep(self, key: str, value: Any) -> None:
        try:
            self._document.project.set_setting(key, value)
        except StudioError as problem:
            self.told.emit(str(problem), "error")

    @Slot()
    def _look_for_unseen(self) -> None:
        """Offer a version whose run ended without the window, or was killed while telling."""
        project = self._document.project
        marker = project.setting(RUN)
        if self.run is not None or not isinstance(marker, dict) or project.read_only:
            return
        self._clear_marker()
        known = set(marker.get("known") or ())
        fresh = [row for row in self.versions if row.name not in known and not row.problem]
        wish = AdaptWish(project.folder, self.model)
        if fresh:
            result = result_of(fresh[-1])
            ended = Ended(wish, result, "", False, (), offered=True)
        elif self.last is None and not marker.get("closed"):
            text = "The app ended while the model was being adapted. Your labels are all there."
            ended = Ended(wish, None, text, False, (), interrupted=True, offered=True)
        else:
            return
        self.last = ended
        self.changed.emit()
        self.finished.emit(ended)

    def close(self) -> None:
        """End a run in progress and the threads."""
        self._closed = True
        self._watch.stop()
        if self._supervisor is not None:
            marker = self._document.project.setting(RUN)
            if isinstance(marker, dict):  # nobody needs to be told that this run was cut off
                self._keep(RUN, marker | {"closed": True})
            self._supervisor.close()
        self.automatic.switch(False)
        self.store.close()


def _images_missing(tests: int, labelled: int) -> int:
    """How many labelled images the sticky split needs until enough of them are for testing."""
    if tests >= PROOF_IMAGES:
        return 0
    more = 0
    while tests < PROOF_IMAGES:
        more += 1
        tests += tests < (labelled + more) // 4
    return more


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
