"""Evaluation: the paper's metrics, and the click protocol on the objects of a project."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from infosam_studio.adaptation.close_up import with_regions
from infosam_studio.adaptation.gate import ObjectScore, summary
from infosam_studio.adaptation.metrics import (
    PAPER_THRESHOLDS,
    Overlap,
    e_measure,
    overlap,
    s_measure,
    weighted_f_measure,
)
from infosam_studio.adaptation.samples import (
    LabelledImage,
    Sample,
    TrainingSet,
    check_files,
    collect,
    evaluation_objects,
)
from infosam_studio.annotation import masks
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.clicks import replay_many
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import Prediction, Prompt

__all__ = [
    "PAPER_THRESHOLDS",
    "EvaluateOptions",
    "ObjectScore",
    "Overlap",
    "e_measure",
    "evaluate_objects",
    "evaluate_project",
    "overlap",
    "s_measure",
    "summary",
    "weighted_f_measure",
]

DEFAULT_CLICKS: Final = 8

Tick = Callable[[int, int], None]
"""Called with (objects done, objects)."""


def evaluate_objects(
    predictor: Predictor,
    images: Sequence[LabelledImage],
    samples: Sequence[Sample],
    *,
    clicks: int = DEFAULT_CLICKS,
    single_mask: bool = False,
    batch: int = 4,
    tick: Tick = lambda _done, _of: None,
    check: Callable[[], None] = lambda: None,
) -> list[ObjectScore]:
    """Replay the protocol's clicks (design.md §6) on objects with the predictor as it is.

    Args:
        predictor: base model or version under test.
        images: the images and regions of the samples.
        samples: objects to test; use :func:`evaluation_objects` to choose them.
        clicks: K, the number of clicks per object.
        single_mask: one mask at the first click too (recipe ``paper``).
        batch: objects decoded together; ``check`` is asked before every decode and may raise.
    """
    by_image = {image.id: image for image in images}
    groups: dict[int, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.frame_id, []).append(sample)
    scores: list[ObjectScore] = []
    listening = _Listening(predictor, check)
    for frame_id, group in groups.items():
        check()
        image = by_image[frame_id]
        embedding = predictor.cached(image.identity)
        if embedding is None:
            embedding = predictor.encode(image.read(), image.identity, cancelled=listening.stop)
        for start in range(0, len(group), batch):
            part = group[start : start + batch]
            results = replay_many(
                listening,
                embedding,
                [masks.decode(sample.mask) for sample in part],
                clicks=clicks,
                multimask_first=not single_mask,
            )
            for sample, result in zip(part, results, strict=True):
                scores.append(
                    ObjectScore(
                        sample.object_id,
                        sample.image_id,
                        sample.class_id,
                        tuple(float(iou) for iou in result.ious),
                        result.box_iou,
                    )
                )
            tick(len(scores), len(samples))
    return scores


class _Listening:
    """A predictor that asks before every decode whether it should still answer."""

    def __init__(self, predictor: Predictor, check: Callable[[], None]) -> None:
        self._predictor, self._check = predictor, check

    def stop(self) -> bool:
        """For the encoder's own question; raises where the answer is yes."""
        self._check()
        return False

    def predict_batch(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool
    ) -> list[Prediction]:
        """See :class:`PromptPredictor`."""
        self._check()
        return self._predictor.predict_batch(embedding, prompts, multimask=multimask)


@dataclass(frozen=True)
class EvaluateOptions:
    """The choices of one ``evaluate`` run.

    ``adapter`` is the name of a version, a folder, "none" for the base model, or None for the
    version in use; ``split`` is "all", "train" or "val".
    """

    project: Path
    model: str | None = None
    adapter: str | None = None
    split: str = "all"
    clicks: int = DEFAULT_CLICKS
    max_objects: int | None = None
    seed: int = 0
    device: str = "auto"


def evaluate_project(
    options: EvaluateOptions,
    *,
    tick: Tick = lambda _done, _of: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """What ``evaluate --json`` prints; StudioError where nothing can be evaluated."""
    from infosam_studio.adaptation.versions import open_predictor, resolve_adapter
    from infosam_studio.annotation.project import Project

    start = time.monotonic()
    _check_options(options)

    def check() -> None:
        if cancelled():
            raise Cancelled

    with Project.for_path(options.project, read_only=True) as project:
        data = check_files(_chosen_split(project, options))
        folder = resolve_adapter(project, options.adapter)
        predictor = open_predictor(project, options.model, folder, device=options.device)
    data = with_regions(data, int(predictor.sam.image_encoder.img_size))
    samples, too_small, _ = evaluation_objects(_shuffled(data.validation, options.seed), None)
    samples = samples[: options.max_objects]
    if not samples:
        raise StudioError("No labelled object is large enough to be evaluated (20 pixels).")
    scores = evaluate_objects(
        predictor,
        list(data.images.values()),
        samples,
        clicks=options.clicks,
        single_mask=is_single_mask(folder),
        tick=tick,
        check=check,
    )
    return {
        "model": predictor.model.info.name,
        "adapter": predictor.adapter_name,
        "images": len({score.image_id for score in scores}),
        "objects": len(scores),
        **summary(scores),
        "seconds": round(time.monotonic() - start, 3),
        "skipped_small": too_small,
        "skipped": list(data.skipped),
    }


def is_single_mask(folder: AdapterFolder | None) -> bool:
    """Recipe ``paper`` never trains the IoU head, so its candidates cannot be ranked."""
    return folder is not None and folder.manifest.recipe == "paper"


def _check_options(options: EvaluateOptions) -> None:
    if options.clicks < 1:
        raise StudioError("--clicks must be at least 1.")
    if options.max_objects is not None and options.max_objects < 1:
        raise StudioError("--max-objects must be at least 1.")
    if options.split not in ("all", "train", "val"):
        raise StudioError(f"--split {options.split} is unknown: choose all, train or val.")


def _chosen_split(project: Any, options: EvaluateOptions) -> TrainingSet:
    """All samples asked for, as the set's validation part."""
    data = collect(project, split=options.split)
    if not data.validation:
        raise StudioError(f"There is no labelled object in the part {options.split}.")
    return data


def _shuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """Sorted by object, then shuffled by the seed, so that a limit draws from all images."""
    order = np.random.default_rng(seed).permutation(len(samples))
    ranked = sorted(samples, key=lambda sample: sample.object_id)
    return [ranked[index] for index in order]
