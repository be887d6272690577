"""The gate at work: which objects, which versions, and within the time there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from infosam_studio.adaptation import gate
from infosam_studio.adaptation.budget import Clock
from infosam_studio.adaptation.evaluation import evaluate_objects, is_single_mask
from infosam_studio.adaptation.gate import Decision, ObjectScore
from infosam_studio.adaptation.samples import Sample, TrainingSet, evaluation_objects
from infosam_studio.events import WarningCode
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.predictor import Predictor

MOST_OBJECTS: Final = {"instant": 12, "full": 30}
CLICKS: Final = 8
# Before and after together may take this share of a budget in minutes.
BUDGET_SHARE: Final = 0.4


class Judge:
    """Replays clicks with the version in use, then with the candidate, on the same objects.

    ``judging`` are the validation objects to draw from, which should not have chosen weights;
    ``seconds`` is what the last replay took, the best guess for the next one.
    """

    def __init__(
        self,
        predictor: Predictor,
        data: TrainingSet,
        judging: Sequence[Sample],
        clock: Clock,
        *,
        speed: str,
        stage: Callable[[str, int, int], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self.predictor, self.data, self.clock = predictor, data, clock
        self._stage, self._warn = stage, warn
        self.seconds = 0.0
        self.objects, small, self.untouched = evaluation_objects(
            judging, MOST_OBJECTS[speed], trusted_first=gate.ENOUGH_TRUSTED
        )
        if small:
            self._warn(WarningCode.SKIPPED, f"{small} objects are too small to be tested on.")

    def before(self, folder: AdapterFolder | None) -> list[ObjectScore]:
        """The version in use, or the base model; leaves the base model in the predictor."""
        self.predictor.load_adapter(folder)
        self.objects = self._affordable(is_single_mask(folder))
        scores = self._scores("before", is_single_mask(folder))
        self.predictor.load_adapter(None)
        return scores

    def after(self, folder: AdapterFolder) -> list[ObjectScore]:
        """The candidate, which stays in the predictor."""
        self.predictor.load_adapter(folder)
        return self._scores("after", is_single_mask(folder))

    def decide(self, before: list[ObjectScore], after: list[ObjectScore], *, seed: int) -> Decision:
        """The verdict on the candidate."""
        held_out = self.data.unproven is not None
        return gate.decide(
            before, after, untouched_used=self.untouched, held_out=held_out, seed=seed
        )

    def _affordable(self, single: bool) -> list[Sample]:
        """As many objects as a budget in minutes allows; the first one is timed."""
        objects = self.objects
        if self.clock.seconds is None or len(objects) < 2:
            return objects
        image = self.data.images[objects[0].frame_id]
        if self.predictor.cached(image.identity) is None:
            self.predictor.encode(image.read(), image.identity, cancelled=self.clock.asked_to_stop)
        self.objects = objects[:1]
        self._scores("before", single)
        allowed = int(BUDGET_SHARE / 2 * self.clock.seconds / max(1e-3, self.seconds))
        if allowed >= len(objects):
            return objects
        kept = max(2, allowed)
        self._warn(WarningCode.BUDGET, f"The minutes given allow {kept} objects to test on.")
        return objects[:kept]

    def _scores(self, stage: str, single: bool) -> list[ObjectScore]:
        if not self.objects:
            return []
        start = self.clock.spent()
        scores = evaluate_objects(
            self.predictor,
            list(self.data.images.values()),
            self.objects,
            clicks=CLICKS,
            single_mask=single,
            tick=lambda done, of: self._stage(stage, done, of),
            check=self.clock.check,
        )
        self.seconds = self.clock.spent() - start
        return scores
