"""Suggestions for the images of a project: like its accepted objects, or whatever there is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ImageRecord, ObjectRecord, Prompts
from infosam_studio.annotation.project import Project
from infosam_studio.segmentation.everything import EverythingOptions, everything
from infosam_studio.segmentation.knowledge import Accepted, Knowledge, learn
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import ImageIdentity
from infosam_studio.segmentation.suggesting import SuggestOptions, suggest

SOURCE = "suggestion"
# Learning from more images takes longer and hardly changes anything.
MOST_KNOWN, MOST_OBJECTS = 16, 200
SURE_ENOUGH = 0.5


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
        self.knowledge = None if grid else self._learn()

    def _learn(self) -> Knowledge | None:
        """What the accepted objects teach, None where there is none."""
        counts = self._project.object_counts(suggestions=False)
        able = [one for one in self._project.images() if counts.get(one.id) and not one.problem]
        able.sort(key=lambda one: (not one.fully_labelled, -counts[one.id], one.id))
        known = [self._accepted(record) for record in able[:MOST_KNOWN]]
        if not known:
            return None
        return learn(self._predictor, known, multimask=not self._single)

    def _accepted(self, record: ImageRecord) -> Accepted:
        own = [one for one in self._project.objects(record.id) if one.source != SOURCE]
        complete = record.fully_labelled and len(own) <= MOST_OBJECTS
        own = own[:MOST_OBJECTS]
        found = [masks.decode(one.mask) for one in own]
        return Accepted(self._embed(record), found, [one.class_id for one in own], complete)

    def _embed(self, record: ImageRecord) -> Embedding:
        identity = ImageIdentity(record.sha256, record.page, record.view)
        known = self._predictor.cached(identity)
        if known is not None:
            return known
        return self._predictor.encode(self._project.read_view(record), identity)

    def add(self, image: ImageRecord) -> int:
        """Put an image's suggestions in place of earlier ones; returns how many."""
        found = self._propose(self._embed(image))
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

    def _propose(self, embedding: Embedding) -> list[Proposed]:
        if self.knowledge is None:
            proposals = everything(
                self._predictor, embedding, options=self._options, single_mask=self._single
            )
            return [Proposed(p.mask, p.point, p.score, self._class_id) for p in proposals]
        options = SuggestOptions(min_confidence=self._sure)
        found = suggest(self._predictor, embedding, self.knowledge, options=options)
        return [Proposed(s.mask, s.point, s.confidence, s.class_id) for s in found]
