"""What a finished run leaves: the result object, and the manifest of its adapter folder."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from infosam_studio import __version__
from infosam_studio.adaptation import gate
from infosam_studio.adaptation.adapters import Student
from infosam_studio.adaptation.fit import Fitted
from infosam_studio.adaptation.gate import Decision, ObjectScore
from infosam_studio.adaptation.holdout import Holdout
from infosam_studio.adaptation.plan import AdaptOptions, TrainingPlan
from infosam_studio.adaptation.samples import TrainingSet
from infosam_studio.segmentation.adapter_folder import AdapterFolder, AdapterManifest
from infosam_studio.segmentation.checkpoints import CheckpointInfo


@dataclass(frozen=True)
class AdaptResult:
    """What a finished run has to tell; ``to_json`` is the object of ``adapt --json``."""

    adapter: str
    path: Path
    options: AdaptOptions
    decision: Decision | None
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    steps: int
    seconds: float
    peak_memory_mb: float
    train_images: int
    train_objects: int
    val_objects: int
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        """Whether the gate let the new version through."""
        return self.decision is not None and self.decision.promoted

    def to_json(self) -> dict[str, Any]:
        """The result object of design.md §7; more keys may follow the promised ones."""
        return {
            "adapter": self.adapter,
            "method": self.options.method,
            "recipe": self.options.recipe,
            "promoted": self.promoted,
            "before": dict(self.before),
            "after": dict(self.after),
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "peak_memory_mb": self.peak_memory_mb,
            "train_images": self.train_images,
            "train_objects": self.train_objects,
            "val_objects": self.val_objects,
            "speed": self.options.speed,
            "path": str(self.path),
            "gate": None if self.decision is None else self.decision.to_json(),
            **self.notes,
        }


@dataclass(frozen=True)
class Verdict:
    """Both versions on the gate's objects, and the decision; None where no gate was asked.

    ``against`` names the version the candidate was judged against, None for the base model.
    """

    before: Sequence[ObjectScore]
    after: Sequence[ObjectScore]
    decision: Decision | None
    against: str | None = None


def candidate(
    path: Path,
    fitted: Fitted,
    student: Student,
    data: TrainingSet,
    *,
    base: CheckpointInfo,
    options: AdaptOptions,
) -> AdapterFolder:
    """The new version as a predictor takes it, before it has a folder."""
    manifest = AdapterManifest(
        name=path.name,
        checkpoint=base.name,
        checkpoint_sha256=base.sha256,
        method=options.method,
        recipe=options.recipe,
        speed=options.speed,
        seed=options.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        training_hash=data.digest(),
        split=_split_of(data),
        versions=_versions(),
        acts_on_encoder=student.acts_on_encoder,
    )
    folder = AdapterFolder(path, manifest)
    # Filled in as if read, so that the gate tests exactly what will be written.
    folder.__dict__.update(
        tensors=dict(fitted.tensors),
        relation=dict(fitted.relation),
        config=student.peft_config or {},
    )
    return folder


def finished_manifest(
    manifest: AdapterManifest,
    *,
    encoder_sha256: str,
    seconds: float,
    fitted: Fitted,
    verdict: Verdict,
    data: TrainingSet,
    plan: TrainingPlan,
    holdout: Holdout,
    classes: Mapping[int, str],
) -> AdapterManifest:
    """The candidate's manifest with everything that was found out about it."""
    decision = verdict.decision
    return replace(
        manifest,
        encoder_sha256=encoder_sha256,
        before=gate.summary(verdict.before),
        after=gate.summary(verdict.after),
        per_class={
            "before": gate.per_class(verdict.before, classes),
            "after": gate.per_class(verdict.after, classes),
        },
        duration_s=round(seconds, 2),
        notes={
            "steps": fitted.steps,
            "training_seconds": round(fitted.seconds, 2),
            "best_validation_iou": fitted.best,
            "share": fitted.share,
            "train_objects": len(data.train),
            "compared_with": verdict.against,
            "unproven": data.unproven,
            "holdout": _plain_holdout(holdout),
            "gate": None if decision is None else decision.to_json(),
            "skipped": list(data.skipped),
            "plan": _plain(plan),
        },
    )


def _split_of(data: TrainingSet) -> dict[str, Any]:
    return {
        "train": sorted({data.images[s.image_id].name for s in data.train}),
        "validation": sorted({data.images[s.image_id].name for s in data.validation}),
        "held_out_objects": data.unproven is not None and bool(data.validation),
    }


def _plain_holdout(holdout: Holdout) -> dict[str, Any]:
    return {
        "chose": len(holdout.choosing),
        "judged": len(holdout.judging),
        "apart": holdout.apart or None,
        "note": holdout.note,
    }


def _versions() -> dict[str, str]:
    found = {"infosam_studio": __version__, "python": platform.python_version()}
    for name in ("torch", "peft", "segment-anything"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _plain(plan: TrainingPlan) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in vars(plan).items()
    }
