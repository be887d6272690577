"""A simulated person who reviews suggestions instead of clicking from nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.segmentation.clicks import Replay, mask_iou, next_click
from infosam_studio.segmentation.close_ups import View
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import Prompt
from infosam_studio.segmentation.suggesting import Suggestion
from infosam_studio.segmentation.survey import Known, Search, Study
from tests.benchmarks.bench_suggest import SHOWN
from tests.benchmarks.domain_project import DomainProject, Item, Mask, near

# What counts as a suggestion of an object.
SAME = 0.5


class Reviewer:
    """Learns from what was accepted, suggests on new images, and says what review costs."""

    def __init__(self, work: DomainProject, predictor: Predictor) -> None:
        self.work, self.predictor = work, predictor
        self.study: Study | None = None
        self.dismissals = 0

    def learn(self, *, multimask: bool) -> None:
        """From all images with labels, as Suggest masks does, for the version in place."""
        items = [item for item in self.work.items if self._accepted(item)]
        known = []
        for item in items:
            own = self._accepted(item)
            size = (item.record.height, item.record.width)
            # Whoever labels everything on an image says so.
            done = len(own) == len(item.truth())
            known.append(Known(size, own, [1] * len(own), complete=done))
        study = Study(known, multimask=multimask)
        while study.step(self.predictor, lambda n, view: self._embed(items[n], view)):
            pass
        self.study = study

    def _accepted(self, item: Item) -> list[masks.Rle]:
        return [one.mask for one in self.work.project.objects(item.record.id)]

    def _embed(self, item: Item, view: View) -> Embedding:
        return self.work.embedding(self.predictor, item.record, view.region)

    def review(
        self, item: Item, truth: Sequence[Mask], *, clicks: int, good: float
    ) -> dict[int, Replay]:
        """The objects of ``truth`` that a suggestion shows, by number: accepted with one key where
        it is good, else corrected. One more action dismisses what is left over, if anything is."""
        if self.study is None:
            return {}
        search = Search(self.study.knowledge, (item.record.height, item.record.width))
        while search.step(self.predictor, lambda view: self._embed(item, view)):
            pass
        shown = [one for one in search.suggestions() if one.confidence >= SHOWN]
        found: dict[int, Replay] = {}
        for number, mask in enumerate(truth):
            ious = [mask_iou(masks.decode(one.mask), mask) for one in shown]
            if ious and max(ious) >= SAME:
                best = shown.pop(int(np.argmax(ious)))
                found[number] = self._corrected(item, mask, best, clicks=clicks, good=good)
        self.dismissals += bool(shown)
        return found

    def _corrected(
        self, item: Item, target: Mask, one: Suggestion, *, clicks: int, good: float
    ) -> Replay:
        """Clicks on a suggestion until it is good; taking it up is the first of ``clicks``."""
        mask = masks.decode(one.mask)
        first = mask_iou(mask, target)
        made, ious = [(round(one.point[0]), round(one.point[1]), 1)], [first]
        if first < good:
            region = near(self.predictor, item.record, target)
            embedding = self.work.embedding(self.predictor, item.record, region)
            logits = self.predictor.logits_of_mask(embedding, mask)
            while ious[-1] < good and len(made) < clicks:
                click = next_click(target, mask)
                if click is None:
                    break
                made.append(click)
                prompt = Prompt.from_clicks(made, mask_logits=logits)
                answer = self.predictor.predict(embedding, prompt, multimask=False)
                mask, logits = answer.masks[0], answer.low_res[0]
                ious.append(mask_iou(mask, target))
        return Replay(ious, first, made, mask, None)
