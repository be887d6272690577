"""Suggestions for the images of a project: like its accepted objects, or whatever there is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ImageRecord, ObjectRecord, Prompts
from infosam_studio.annotation.project import Project
from infosam_studio.annotation.pyramid_store import PyramidStore, is_large
from infosam_studio.annotation.tiled_view import TiledView
from infosam_studio.segmentation.close_ups import View
from infosam_studio.segmentation.everything import EverythingOptions, everything
from infosam_studio.segmentation.knowledge import Knowledge
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import ImageIdentity
from infosam_studio.segmentation.suggesting import SuggestOptions
from infosam_studio.segmentation.survey import Known, Study, search

Pixels = NDArray[np.uint8]
SOURCE = "suggestion"
# Learning from more images takes longer and hardly changes anything.
MOST_KNOWN, MOST_OBJECTS = 16, 200
SURE_ENOUGH = 0.5
# Less sure ones are left out only at the end: they may be the better of two that overlap.
LEAST_SURE = SuggestOptions().min_confidence


@dataclass(frozen=True)
class Proposed:
    """A mask to review, where it was clicked, how sure it is and its class."""

    mask: Rle
    point: tuple[float, float]
    score: float
    class_id: int


class ProjectSuggester:
    """Puts suggestions into a project, image by image, each as one edit.

    With ``grid`` every image is clicked all over; without, suggestions are like the objects that
    are accepted already, where there are any. ``min_score`` is how sure they have to be.
    """

    def __init__(
        self,
        project: Project,
        predictor: Predictor,
        *,
        single_mask: bool,
        class_id: int,
        options: EverythingOptions,
        grid: bool = False,
        min_score: float | None = None,
    ) -> None:
        self._project, self._predictor = project, predictor
        self._single, self._class_id = single_mask, class_id
        self._sure = SURE_ENOUGH if min_score is None else min_score
        self._options = options if min_score is None else replace(options, min_score=min_score)
        self._pixels: tuple[int, Pixels | TiledView] | None = None
        self.knowledge = None if grid else self._learn()

    def _learn(self) -> dict[int, Knowledge] | None:
        """What the accepted objects teach, None where there is none."""
        counts = self._project.object_counts(suggestions=False)
        able = [one for one in self._project.images() if counts.get(one.id) and not one.problem]
        able.sort(key=lambda one: (not one.fully_labelled, -counts[one.id], one.id))
        able = able[:MOST_KNOWN]
        if not able:
            return None
        study = Study([self._known(record) for record in able], multimask=not self._single)
        while study.step(self._predictor, lambda n, view: self._embed(able[n], view)):
            pass
        return study.knowledge

    def _known(self, record: ImageRecord) -> Known:
        own = [one for one in self._project.objects(record.id) if one.source != SOURCE]
        complete = record.fully_labelled and len(own) <= MOST_OBJECTS
        own = own[:MOST_OBJECTS]
        classes = [one.class_id for one in own]
        return Known((record.height, record.width), [one.mask for one in own], classes, complete)

    def _embed(self, record: ImageRecord, view: View | None = None) -> Embedding:
        identity = ImageIdentity(record.sha256, record.page, record.view)
        region = view.region if view is not None else None
        known = self._predictor.cached(identity, region)
        if known is not None:
            return known
        if self._pixels is None or self._pixels[0] != record.id:
            self._pixels = None  # two images at once may be too much
            self._pixels = (record.id, self._read(record))
        return self._predictor.encode(self._pixels[1], identity, region=region)

    def _read(self, record: ImageRecord) -> Pixels | TiledView:
        """The pixels of an image; of a huge one those that are asked for, from its tiles."""
        if not is_large(record.width, record.height):
            return self._project.read_view(record)
        view = self._project.view_settings(record)
        store = PyramidStore(self._project.cache_dir / "pyramids")
        path = self._project.image_path(record)
        size = (record.width, record.height)
        return TiledView(store.make(store.key(record.sha256, view), path, view, size))

    def add(self, image: ImageRecord) -> int:
        """Put an image's suggestions in place of earlier ones; returns how many."""
        found = self._propose(image)
        records = [
            ObjectRecord(
                id=0,
                image_id=image.id,
                class_id=one.class_id,
                mask=one.mask,
                prompts=Prompts(points=((*one.point, 1),)),
                adapter=self._predictor.adapter_name,
                source=SOURCE,
                extra={"score": round(one.score, 4)},
            )
            for one in found
        ]
        earlier = [o.id for o in self._project.objects(image.id) if o.source == SOURCE]
        name = f"Suggest masks on {image.path}"
        self._project.change_objects(name, add=records, delete=earlier)
        return len(records)

    def _propose(self, image: ImageRecord) -> list[Proposed]:
        if self.knowledge is None:
            proposals = everything(
                self._predictor,
                self._embed(image),
                options=self._options,
                single_mask=self._single,
            )
            return [Proposed(p.mask, p.point, p.score, self._class_id) for p in proposals]
        found = search(
            self._predictor,
            lambda view: self._embed(image, view),
            self.knowledge,
            (image.height, image.width),
            options=SuggestOptions(min_confidence=min(LEAST_SURE, self._sure)),
        )
        return [
            Proposed(s.mask, s.point, s.confidence, s.class_id)
            for s in found
            if s.confidence >= self._sure
        ]
