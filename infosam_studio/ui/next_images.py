"""What to label next: unlabelled images by how much labelling them should help, with reasons."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.ui.document import Document
from infosam_studio.ui.inference_messages import Background, Progress
from infosam_studio.ui.suggestions import is_fit, labelled_images
from infosam_studio.ui.workers_inference import Inference
from infosam_studio.ui.workers_suggest import RankJob

# Looking at more images takes minutes; of large projects a fixed random part is looked at.
MOST_IMAGES = 200
MOST_KNOWN = 24
# `bench_next_image` has not shown it to save clicks against random order.
ON_AT_FIRST = False
SHORT = {
    "disagreement": "Versions disagree",
    "doubt": "The model is unsure",
    "novelty": "Unlike the labelled",
}


@dataclass(frozen=True)
class Place:
    """An image's place in the order, from 0, and why it stands there; ``short`` fits a row."""

    place: int
    reason: str
    short: str


class NextImages(QObject):
    """Computed in the background when asked for; ``changed`` tells list and panel."""

    changed = Signal()
    ordered = Signal()
    told = Signal(str, str, str)

    def __init__(self, document: Document, inference: Inference, parent: QObject) -> None:
        super().__init__(parent)
        self._document, self._inference = document, inference
        self._job: RankJob | None = None
        self._go = False
        self.on = ON_AT_FIRST
        self.places: dict[int, Place] = {}
        self.progress = (0, 0)
        inference.background.connect(self._take)

    @property
    def running(self) -> bool:
        """Whether images are being looked at."""
        return self._job is not None

    def unlabelled(self) -> list[ImageRecord]:
        """The readable images nobody has labelled anything on."""
        counts = self._document.project.object_counts(suggestions=False)
        return [
            one
            for one in self._document.images()
            if one.state in ("untouched", "flagged")
            and is_fit(one)
            and not one.excluded
            and not counts.get(one.id)
        ]

    def start(self) -> bool:
        """Look at the unlabelled images anew; False where there is none, or a run is going on."""
        images = self.unlabelled()
        if self.running:
            return False
        if not images:
            self.told.emit("Every image has labels already.", "info", "")
            return False
        if len(images) > MOST_IMAGES:
            # The same ones every time, so that their embeddings are there the next time.
            images = random.Random(0).sample(images, MOST_IMAGES)
        known = labelled_images(self._document, MOST_KNOWN)
        self._job = RankJob(known, [self._document.job(one) for one in images])
        self.progress = (0, 0)
        self._inference.submit(Background(self._job))
        self.changed.emit()
        return True

    def cancel(self) -> None:
        """Stop; the order found before stays."""
        if self._job is not None:
            self._job.cancelled, self._job = True, None
            self._go = False
            self.changed.emit()

    @Slot(object)
    def _take(self, told: Progress) -> None:
        if self._job is None or told.job is not self._job:
            return
        if told.of:
            self.progress = (told.done, told.of)
        if told.finished:
            self._job = None
            if told.problem:
                self.told.emit(told.problem, "error", "")
            elif told.result is not None:
                self._set_order(told.result)
        self.changed.emit()

    def forget(self) -> None:
        """No order any more."""
        self.cancel()
        self.places = {}
        self.ordered.emit()

    def _set_order(self, order: Sequence[Any]) -> None:
        self.places = {
            one.image_id: Place(n, one.reason, SHORT[one.sign]) for n, one in enumerate(order)
        }
        self.ordered.emit()
        if self._go:
            self._go = False
            self.go()

    # using the order ---------------------------------------------------------------------

    def best(self) -> int | None:
        """The first image of the order that is still unlabelled, the current one left out."""
        left = {one.id for one in self.unlabelled()} - {self._document.current_id}
        ranked = [image_id for image_id in self.places if image_id in left]
        return min(ranked, key=lambda key: self.places[key].place) if ranked else None

    def go(self) -> None:
        """Open the best image; where there is no order yet, find it first."""
        image_id = self.best()
        if image_id is not None:
            self._document.open_image(image_id)
            self.told.emit(f"{self.places[image_id].reason}.", "info", "")
        elif self.start():
            self._go = True
            self.told.emit("Looking for the image to label next…", "info", "cancel_next_images")
        elif self.running:
            self._go = True
