"""Work on the inference thread when it has nothing else to do: suggestions, what to label next.

Each `step` looks at one image, or at one part of it from near. Clicks are answered in between,
and a step that is interrupted is made again. What was learnt counts for one version of the model:
after a swap it is learnt anew.
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
    from infosam_studio.segmentation.close_ups import View
    from infosam_studio.segmentation.knowledge import Accepted, Learner
    from infosam_studio.segmentation.next_image import Look
    from infosam_studio.segmentation.predictor import Embedding, Predictor
    from infosam_studio.segmentation.suggesting import Suggestion
    from infosam_studio.segmentation.survey import Search, Study

MakeRoom = Callable[[], bool]
Version = tuple[str, str | None]
# Few clicks at once: a person's click waits for no more than these.
BATCH = 4
# Learning takes about as long as so many images.
LEARNING = 4


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
    """Learns where objects lie from labelled images, one a step, for one version of the model."""

    def __init__(self, known: Sequence[Labelled]) -> None:
        self._known = known
        self._version: Version | None = None
        self._learner: Learner | None = None
        self.done, self.steps = 0, len(known)

    def cells(self) -> Any:
        """The map of places; None where there is nothing to learn from."""
        return self._learner.cells() if self._learner is not None and self._known else None

    def step(self, predictor: Predictor, make_room: MakeRoom) -> bool:
        """Learn a little; False where all is learnt for the version in place."""
        from infosam_studio.segmentation.knowledge import Learner

        version = _version(predictor)
        if version != self._version:
            self._version, self.done = version, 0
            self._learner = Learner(predictor, multimask=_several(predictor))
        assert self._learner is not None
        if self.done >= self.steps:
            return False
        self._learner.look_at(self._accepted(predictor, make_room))
        self.done += 1
        return True

    def _accepted(self, predictor: Predictor, make_room: MakeRoom) -> Accepted:
        from infosam_studio.segmentation.knowledge import Accepted

        one = self._known[self.done]
        embedding = embed(predictor, one.job, make_room)
        found = [masks.decode(rle) for rle in one.masks]
        return Accepted(embedding, found, one.classes, one.complete)


class SuggestJob:
    """Suggests objects on images, learning from the accepted ones first; a view of one a step."""

    def __init__(self, known: Sequence[Labelled], targets: Sequence[Target]) -> None:
        self.targets = targets
        self.cancelled = False
        self._known = known
        self._version: Version | None = None
        self._study: Study | None = None
        self._search: Search | None = None
        self._next = 0
        self._pixels: tuple[ImageJob, Any] | None = None

    def step(self, predictor: Predictor, make_room: MakeRoom) -> Progress:
        """Learn from a view, or suggest in one: ``result`` is what was `Found` with an image."""
        from infosam_studio.segmentation.suggesting import SuggestOptions
        from infosam_studio.segmentation.survey import Search

        def stop() -> bool:
            return self.cancelled or make_room()

        study = self._studying(predictor)
        known = self._known
        if study.step(predictor, lambda n, v: self._look(predictor, known[n].job, v, stop), stop):
            return self._told(study)
        target = self.targets[self._next]
        if self._search is None:
            options = SuggestOptions(batch=BATCH)
            self._search = Search(study.knowledge, _size(target.job), target.taken, options)
        search = self._search
        if search.step(predictor, lambda view: self._look(predictor, target.job, view, stop), stop):
            return self._told(study)
        found = tuple(search.suggestions())
        self._next, self._search = self._next + 1, None
        return self._told(study, Found(target.job.image_id, found, predictor.adapter_name))

    def _studying(self, predictor: Predictor) -> Study:
        """What is learnt so far of the version in place; another one is learnt anew."""
        from infosam_studio.segmentation.survey import Known, Study

        version = _version(predictor)
        if self._study is None or version != self._version:
            known = [
                Known(_size(one.job), one.masks, one.classes, one.complete) for one in self._known
            ]
            self._study = Study(known, multimask=_several(predictor))
            self._version, self._search = version, None
        return self._study

    def _look(self, predictor: Predictor, job: ImageJob, view: View, stop: MakeRoom) -> Embedding:
        """A view's embedding; the pixels of the image are kept for the next view."""
        from infosam_studio.annotation.images import read_image
        from infosam_studio.segmentation.prompts import ImageIdentity

        identity = ImageIdentity(job.sha256, job.view.page, job.view.key())
        known = predictor.cached(identity, view.region)
        if known is not None:
            return known
        if self._pixels is None or self._pixels[0] != job:
            self._pixels = None
            pixels = job.pixels if job.pixels is not None else read_image(job.path, job.view)
            self._pixels = (job, pixels)
        return predictor.encode(self._pixels[1], identity, region=view.region, cancelled=stop)

    def _told(self, study: Study, result: Found | None = None) -> Progress:
        """How far it is, in hundredths of an image."""
        learnt = study.done / max(1, study.steps)
        within = self._search.share if self._search is not None else 0.0
        done = round(100 * (LEARNING * learnt + self._next + within))
        of = 100 * (LEARNING + len(self.targets))
        finished = self._next >= len(self.targets)
        return Progress(self, done, of, finished=finished, result=result)


class RankJob:
    """Looks at unlabelled images and orders them by how much labelling each should help."""

    def __init__(self, known: Sequence[Labelled], images: Sequence[ImageJob]) -> None:
        self.cancelled = False
        self._known, self._images = known, images
        self._learning = Learning(known)
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


def _size(job: ImageJob) -> tuple[int, int]:
    return job.height, job.width


def _version(predictor: Predictor) -> Version:
    return predictor.model.info.sha256, predictor.adapter_name


def _several(predictor: Predictor) -> bool:
    """Whether a click is answered with three candidates; recipe ``paper`` gives them no scores."""
    folder = predictor.adapter_folder
    return folder is None or folder.manifest.recipe != "paper"
