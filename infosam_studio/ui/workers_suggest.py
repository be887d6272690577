"""Work on the inference thread when it has nothing else to do: suggestions, what to label next.

Each `step` looks at one image. Clicks are answered in between, and a step that is interrupted is
made again. What was learnt counts for one version of the model: after a swap it is learnt anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.ui.inference_messages import ImageJob, Progress

if TYPE_CHECKING:
    from infosam_studio.segmentation.knowledge import Accepted, Knowledge, Learner
    from infosam_studio.segmentation.next_image import Look
    from infosam_studio.segmentation.predictor import Embedding, Predictor
    from infosam_studio.segmentation.suggesting import Suggestion

MakeRoom = Callable[[], bool]
# Few clicks at once: a person's click waits for no more than these.
BATCH = 4


@dataclass(frozen=True)
class Labelled:
    """An image with accepted objects to learn from; ``complete``: nothing is left unlabelled."""

    job: ImageJob
    masks: tuple[Rle, ...]
    classes: tuple[int, ...]
    complete: bool = False


@dataclass(frozen=True)
class Target:
    """An image to suggest objects on, beside those it has already."""

    job: ImageJob
    taken: tuple[Rle, ...] = ()


@dataclass(frozen=True)
class Found:
    """The suggestions for one image, the most confident first, and the version they are from."""

    image_id: int
    suggestions: tuple[Suggestion, ...]
    adapter: str | None


def embed(predictor: Predictor, job: ImageJob, make_room: MakeRoom) -> Embedding:
    """An image's embedding for the version in place, from the cache where it is there."""
    from infosam_studio.annotation.images import read_image
    from infosam_studio.segmentation.prompts import ImageIdentity

    identity = ImageIdentity(job.sha256, job.view.page, job.view.key())
    known = predictor.cached(identity)
    if known is not None:
        return known
    pixels = job.pixels if job.pixels is not None else read_image(job.path, job.view)
    return predictor.encode(pixels, identity, cancelled=make_room)


class Learning:
    """Learns from labelled images step by step, for one version of the model."""

    def __init__(self, known: Sequence[Labelled], *, places_only: bool = False) -> None:
        self._known, self._places_only = known, places_only
        self._version: tuple[str, str | None] | None = None
        self._learner: Learner | None = None
        self._looked = self._tried = 0
        self.knowledge: Knowledge | None = None

    @property
    def steps(self) -> int:
        """How many steps it takes in all."""
        return len(self._known) * (1 if self._places_only else 2)

    @property
    def done(self) -> int:
        """How many are made."""
        return self._looked + self._tried

    def cells(self) -> Any:
        """The map of places; None where there is nothing to learn from."""
        return self._learner.cells() if self._learner is not None and self._known else None

    def step(self, predictor: Predictor, make_room: MakeRoom) -> bool:
        """Learn a little; False where all is learnt for the version in place."""
        self._begin(predictor)
        assert self._learner is not None
        if self._looked < len(self._known):
            self._learner.look_at(self._accepted(predictor, self._looked, make_room))
            self._looked += 1
            return True
        if self._tried < len(self._known) and not self._places_only:
            self._learner.try_on(self._tried, self._accepted(predictor, self._tried, make_room))
            self._tried += 1
            return True
        if self.knowledge is None and not self._places_only:
            self.knowledge = self._learner.finish()
        return False

    def _begin(self, predictor: Predictor) -> None:
        from infosam_studio.segmentation.knowledge import Learner

        version = (predictor.model.info.sha256, predictor.adapter_name)
        if version != self._version:
            folder = predictor.adapter_folder
            several = folder is None or folder.manifest.recipe != "paper"
            self._version, self.knowledge = version, None
            self._learner = Learner(predictor, multimask=several)
            self._looked = self._tried = 0

    def _accepted(self, predictor: Predictor, place: int, make_room: MakeRoom) -> Accepted:
        from infosam_studio.segmentation.knowledge import Accepted

        one = self._known[place]
        embedding = embed(predictor, one.job, make_room)
        found = [masks.decode(rle) for rle in one.masks]
        return Accepted(embedding, found, one.classes, one.complete)


class SuggestJob:
    """Suggests objects on images, learning from the accepted ones first."""

    def __init__(self, known: Sequence[Labelled], targets: Sequence[Target]) -> None:
        self.targets = targets
        self.cancelled = False
        self._learning = Learning(known)
        self._next = 0

    def step(self, predictor: Predictor, make_room: MakeRoom) -> Progress:
        """Learn from one image, or suggest on one: ``result`` is then what was `Found`."""
        from infosam_studio.segmentation.suggesting import SuggestOptions, suggest

        if self._learning.step(predictor, make_room):
            return self._told()
        knowledge = self._learning.knowledge
        assert knowledge is not None
        target = self.targets[self._next]
        embedding = embed(predictor, target.job, make_room)
        found = suggest(
            predictor,
            embedding,
            knowledge,
            options=SuggestOptions(batch=BATCH),
            taken=_union(target.taken),
            cancelled=make_room,
        )
        self._next += 1
        return self._told(Found(target.job.image_id, tuple(found), predictor.adapter_name))

    def _told(self, result: Found | None = None) -> Progress:
        done = self._learning.done + self._next
        finished = self._next >= len(self.targets)
        of = self._learning.steps + len(self.targets)
        return Progress(self, done, of, finished=finished, result=result)


class RankJob:
    """Looks at unlabelled images and orders them by how much labelling each should help."""

    def __init__(self, known: Sequence[Labelled], images: Sequence[ImageJob]) -> None:
        self.cancelled = False
        self._known, self._images = known, images
        self._learning = Learning(known, places_only=True)
        self._contents: list[np.ndarray] = []
        self._looks: dict[int, Look] = {}
        self._version: str | None = None

    def step(self, predictor: Predictor, make_room: MakeRoom) -> Progress:
        """Look at one image; with the last one ``result`` is the order, the best first."""
        from infosam_studio.segmentation.next_image import content_of, rank

        if self._version != predictor.adapter_name:
            self._version = predictor.adapter_name
            self._looks.clear()
            self._contents.clear()
        if self._known and self._learning.step(predictor, make_room):
            return self._told()
        if len(self._contents) < len(self._known):
            job = self._known[len(self._contents)].job
            self._contents.append(content_of(embed(predictor, job, make_room)))
            return self._told()
        job = self._images[len(self._looks)]
        self._looks[job.image_id] = self._look(predictor, job, make_room)
        if len(self._looks) < len(self._images):
            return self._told()
        order = rank(self._looks, self._contents)
        return Progress(self, 1, 1, finished=True, result=order)

    def _look(self, predictor: Predictor, job: ImageJob, make_room: MakeRoom) -> Look:
        from infosam_studio.segmentation.next_image import look

        folder = predictor.adapter_folder
        embedding = embed(predictor, job, make_room)
        # Nobody's click may be answered while the base is in place.
        base = partial(embed, predictor, job, _never) if folder is not None else None
        single = folder is not None and folder.manifest.recipe == "paper"
        cells = self._learning.cells() if self._known else None
        return look(predictor, embedding, base, cells, single_mask=single)

    def _told(self) -> Progress:
        done = self._learning.done + len(self._contents) + len(self._looks)
        of = self._learning.steps + len(self._known) + len(self._images)
        return Progress(self, done, of)


def _never() -> bool:
    return False


def _union(taken: Sequence[Rle]) -> np.ndarray | None:
    if not taken:
        return None
    return np.asarray(np.any([masks.decode(rle) for rle in taken], axis=0))
