"""Suggest masks: objects the adapted model proposes, to accept, correct or dismiss.

Suggestions are objects of the project whose source says so: nothing counts them as labels until
they are accepted, every step is one edit that can be undone, and they survive a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.model import ImageRecord, ObjectRecord, Prompts
from infosam_studio.annotation.pyramid_store import is_large
from infosam_studio.errors import StudioError
from infosam_studio.ui.document import Document
from infosam_studio.ui.inference_messages import Background, Progress
from infosam_studio.ui.suggestion_rules import (
    SCORE,
    SOURCE,
    accepted_fields,
    confidence,
    is_suggestion,
)
from infosam_studio.ui.workers_inference import Inference
from infosam_studio.ui.workers_suggest import Found, Labelled, SuggestJob, Target

# What is learnt from and worked on, at most: more takes longer and hardly changes anything.
MOST_KNOWN, MOST_OBJECTS = 16, 200
FEW = 10
SHOWN_FROM = 0.5


def is_fit(record: ImageRecord) -> bool:
    """Whether work in the background can look at an image: huge ones need their tiles first."""
    return not record.problem and not is_large(record.width, record.height)


def labelled_images(document: Document, most: int = MOST_KNOWN) -> list[Labelled]:
    """Images to learn from: fully labelled ones first, then those with most objects."""
    counts = document.project.object_counts(suggestions=False)
    able = [one for one in document.images() if counts.get(one.id) and is_fit(one)]
    able.sort(key=lambda one: (not one.fully_labelled, -counts[one.id], one.id))
    found = []
    for record in able[:most]:
        own = [one for one in document.project.objects(record.id) if not is_suggestion(one)]
        own = own[:MOST_OBJECTS]
        complete = record.fully_labelled and len(own) == counts[record.id]
        masks, classes = tuple(one.mask for one in own), tuple(one.class_id for one in own)
        found.append(Labelled(document.job(record), masks, classes, complete))
    return found


class Suggestions(QObject):
    """Runs in the background, one at a time; ``changed`` tells the panel."""

    changed = Signal()
    accepted = Signal(int)
    told = Signal(str, str, str)

    def __init__(self, document: Document, inference: Inference, parent: QObject) -> None:
        super().__init__(parent)
        self._document, self._inference = document, inference
        self._job: SuggestJob | None = None
        self._found: list[Found] = []
        self.progress = (0, 0)
        self.shown_from = SHOWN_FROM
        inference.background.connect(self._take)
        document.objects_changed.connect(self.changed)

    # a run -------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether suggestions are being made."""
        return self._job is not None

    def needs(self) -> str:
        """What is missing before anything can be suggested; empty where nothing is."""
        if self._document.project.read_only:
            return "This project is read-only: nothing can be suggested here."
        counts = self._document.project.object_counts(suggestions=False)
        if not sum(counts.values()):
            return "Accept a few objects first; suggestions are made after their example."
        return ""

    def start(self, scope: str = "image") -> bool:
        """Suggest on this ``image``, on a ``few`` images to do from here on, or on ``all``."""
        missing = self.needs()
        targets = [] if missing else self._targets(scope)
        if self.running or not targets:
            self.told.emit(missing or "There is no image left to suggest on.", "info", "")
            return False
        self._job, self._found = SuggestJob(labelled_images(self._document), targets), []
        self.progress = (0, 0)
        self._inference.submit(Background(self._job))
        self.changed.emit()
        return True

    def _targets(self, scope: str) -> list[Target]:
        current = self._document.current
        if scope == "image":
            return [self._target(current)] if current is not None and is_fit(current) else []
        wanted = self._to_do_from(current)  # nothing is labelled there, so nothing is taken
        wanted = wanted[:FEW] if scope == "few" else wanted
        return [Target(self._document.job(record)) for record in wanted]

    def _to_do_from(self, current: ImageRecord | None) -> list[ImageRecord]:
        """Untouched images, those after the current one first."""
        counts = self._document.project.object_counts(suggestions=False)
        images = self._document.images()
        start = next((n for n, one in enumerate(images) if current and one.id == current.id), 0)
        ordered = [*images[start:], *images[:start]]
        return [
            one
            for one in ordered
            if one.state == "untouched" and is_fit(one) and not counts.get(one.id)
        ]

    def _target(self, record: ImageRecord) -> Target:
        own = self._document.project.objects(record.id)
        taken = tuple(one.mask for one in own if not is_suggestion(one))
        return Target(self._document.job(record), taken)

    def cancel(self) -> None:
        """Stop; what is found so far is kept to review."""
        if self._job is not None:
            self._job.cancelled, self._job = True, None
            if self._found:
                self._keep("")
            self.changed.emit()

    @Slot(object)
    def _take(self, told: Progress) -> None:
        if told.job is not self._job or self._job is None:
            return
        if told.of:
            self.progress = (told.done, told.of)
        if isinstance(told.result, Found):
            self._found.append(told.result)
        if told.finished:
            self._job = None
            self._keep(told.problem)
        self.changed.emit()

    def _keep(self, problem: str) -> None:
        """Store what was found, in place of earlier suggestions, as one edit."""
        found, self._found = self._found, []
        added, replaced = [], []
        for one in found:
            record = self._document.image(one.image_id)
            if record is not None:
                added += self._records(record, one)
                own = self._document.project.objects(one.image_id)
                replaced += [old.id for old in own if is_suggestion(old)]
        if problem:
            self.told.emit(problem, "error", "")
        if not added and not replaced:
            if not problem:
                self.told.emit("Nothing was found that looks like your objects.", "info", "")
            return
        name = "Suggest masks" if len(found) == 1 else f"Suggest masks on {len(found)} images"
        try:
            self._document.change_objects(name, add=added, delete=replaced)
        except StudioError as error:
            self.told.emit(str(error), "error", "")
            return
        shown = sum(1 for one in added if confidence(one) >= self.shown_from)
        where = "" if len(found) == 1 else f" on {len(found)} images"
        self.told.emit(f"{_count(shown, 'suggestion')} to review{where}.", "info", "undo")

    def _records(self, image: ImageRecord, found: Found) -> list[ObjectRecord]:
        known = {one.id for one in self._document.classes()}
        records = []
        for one in found.suggestions:
            if (one.mask.height, one.mask.width) != (image.height, image.width):
                continue
            class_id = one.class_id if one.class_id in known else self._document.class_id
            records.append(
                ObjectRecord(
                    id=0,
                    image_id=image.id,
                    class_id=class_id,
                    mask=one.mask,
                    prompts=Prompts(points=((*one.point, 1),)),
                    adapter=found.adapter,
                    source=SOURCE,
                    extra={SCORE: round(one.confidence, 4)},
                )
            )
        return records

    # review ------------------------------------------------------------------------------

    def objects(self) -> list[ObjectRecord]:
        """All objects of this image, labels and suggestions."""
        return list(self._document.objects.values())

    def here(self) -> list[ObjectRecord]:
        """The suggestions of this image that the slider shows, the most confident first."""
        found = [one for one in self.objects() if self.is_shown(one)]
        return sorted(found, key=lambda one: (-confidence(one), one.id))

    def is_shown(self, record: ObjectRecord) -> bool:
        """Whether this is a suggestion above the slider."""
        return is_suggestion(record) and confidence(record) >= self.shown_from

    def show_from(self, least: float) -> None:
        """Move the slider: suggestions below it are neither shown nor accepted."""
        if least != self.shown_from:
            self.shown_from = least
            hidden = {
                key
                for key, one in self._document.objects.items()
                if is_suggestion(one) and not self.is_shown(one)
            }
            self._document.select([key for key in self._document.selected if key not in hidden])
            self.changed.emit()

    def selected(self) -> list[ObjectRecord]:
        """The suggestions that are selected."""
        objects = self._document.objects
        return [objects[key] for key in self._document.selected if self.is_shown(objects[key])]

    def accept_selected(self) -> bool:
        """Make labels of the selected suggestions, then go to the next; False where none is."""
        chosen = self.selected()
        if chosen:
            self._accept(chosen)
            self.select_next()
        return bool(chosen)

    def accept_shown(self) -> int:
        """Make labels of all suggestions above the slider on this image; how many."""
        chosen = self.here()
        if chosen:
            self._accept(chosen)
        return len(chosen)

    def _accept(self, chosen: Sequence[ObjectRecord]) -> None:
        update: dict[int, dict[str, Any]] = {one.id: accepted_fields(one) for one in chosen}
        name = f"Accept {_count(len(chosen), 'suggestion')}"
        done = self._document.guarded(self._document.change_objects, name, update=update)
        if done is not None:
            self.accepted.emit(len(chosen))

    def dismiss_here(self) -> int:
        """Delete every suggestion of this image, also those below the slider; how many."""
        chosen = [one.id for one in self.objects() if is_suggestion(one)]
        if chosen:
            name = f"Dismiss {_count(len(chosen), 'suggestion')}"
            self._document.guarded(self._document.change_objects, name, delete=chosen)
        return len(chosen)

    def dismiss_selected(self) -> bool:
        """Delete the selected suggestions, then go to the next; False where none is selected."""
        chosen = [one.id for one in self.selected()]
        if not chosen or len(chosen) != len(self._document.selected):
            return False
        name = f"Dismiss {_count(len(chosen), 'suggestion')}"
        self._document.guarded(self._document.change_objects, name, delete=chosen)
        self.select_next()
        return True

    def select_next(self) -> bool:
        """Select the next suggestion of this image, the most confident first."""
        shown = [one.id for one in self.here()]
        if not shown:
            return False
        now = self._document.selected
        place = shown.index(now[0]) + 1 if len(now) == 1 and now[0] in shown else 0
        self._document.select([shown[place % len(shown)]])
        return True

    def next_image(self) -> int | None:
        """The next image after this one that has suggestions to review, None where none has."""
        everything = self._document.project.object_counts()
        labels = self._document.project.object_counts(suggestions=False)
        images = [one.id for one in self._document.images()]
        current = self._document.current_id
        start = images.index(current) + 1 if current in images else 0
        for image_id in [*images[start:], *images[:start]]:
            if everything.get(image_id, 0) > labels.get(image_id, 0) and image_id != current:
                return image_id
        return None


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
