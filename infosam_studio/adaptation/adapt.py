"""One adaptation from a project's labels to a gated adapter folder.

The run reads a consistent view of the project and never writes its database: it writes one
adapter folder, at the very end, and reports. Whoever started it decides what to put in use.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from infosam_studio import __version__
from infosam_studio.adaptation import gate
from infosam_studio.adaptation.adapters import Student, make_student
from infosam_studio.adaptation.budget import Clock
from infosam_studio.adaptation.encoders import depth_of
from infosam_studio.adaptation.evaluation import evaluate_objects, is_single_mask
from infosam_studio.adaptation.features import FeatureStore
from infosam_studio.adaptation.fit import Fitted, Loop, ResumeFile, Validator, fingerprint
from infosam_studio.adaptation.gate import Decision, ObjectScore
from infosam_studio.adaptation.machine import limit_threads, lower_priority, peak_memory_mb
from infosam_studio.adaptation.plan import (
    AdaptOptions,
    TrainingPlan,
    choose_device,
    paper_plan,
    studio_plan,
)
from infosam_studio.adaptation.relation import RelationModule, load_relation
from infosam_studio.adaptation.rollout import Roller
from infosam_studio.adaptation.sampler import Sampler
from infosam_studio.adaptation.samples import (
    Sample,
    TrainingSet,
    check_files,
    collect,
    evaluation_objects,
)
from infosam_studio.adaptation.targets import TargetStore, union_sample
from infosam_studio.adaptation.training import Trainer
from infosam_studio.adaptation.versions import find, in_use, model_name, next_name
from infosam_studio.annotation.project import (
    Project,
    ProjectLocked,
    ProjectReadOnly,
)
from infosam_studio.errors import StudioError
from infosam_studio.events import CHILD_VARIABLE, Control, Emit, Event, WarningCode
from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation.adapter_folder import (
    AdapterFolder,
    AdapterManifest,
    write_adapter,
)
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.predictor import Predictor

GATE_OBJECTS: Final = {"instant": 20, "full": 30}
GATE_CLICKS: Final = 8
# The gate may take this share of a budget in minutes, before and after together.
GATE_SHARE: Final = 0.4
VALIDATION_OBJECTS: Final = 12
# Seconds of training without --minutes, for an encoder of 512 px; larger ones get more.
TRAIN_SECONDS: Final = {"instant": 12.0, "full": 110.0}


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


def run_adapt(
    options: AdaptOptions,
    emit: Emit = lambda _event: None,
    control: Control | None = None,
    *,
    started: float | None = None,
) -> AdaptResult:
    """Adapt the model of a project to its labels.

    ``started`` is the ``time.monotonic()`` from which minutes count. Raises Cancelled, or
    StudioError with one sentence; nothing is left behind then, except the state that
    ``resume`` goes on from. Emits every event but ``finished`` and ``failed``.
    """
    seconds = None if options.minutes is None else 60 * options.minutes
    clock = Clock(
        seconds, control or Control(), emit, started=started, pause_below=options.pause_below
    )
    child = os.environ.get(CHILD_VARIABLE) == "1"
    threads = limit_threads(options.threads, leave_one=child)
    if child:
        lower_priority()
    else:
        ensure_split(options.project)
    with Project.for_path(options.project, read_only=True) as project, project.snapshot() as view:
        return _Run(view, options, clock, emit, threads).run()


def ensure_split(path: Path) -> None:
    """Bring the sticky split up to date, unless somebody else is writing (the app does it)."""
    with (
        contextlib.suppress(ProjectLocked, ProjectReadOnly),
        Project.for_path(path) as project,
    ):
        project.ensure_split()


class _Run:
    """The stages of one run and what they hand on."""

    def __init__(
        self, project: Project, options: AdaptOptions, clock: Clock, emit: Emit, threads: int
    ) -> None:
        self.project, self.options, self.clock = project, options, clock
        self.emit, self.threads = emit, threads
        self.device = choose_device(options.device)
        self.name = options.name or next_name(project.adapters_dir)
        self.path = project.adapters_dir / self.name
        if self.path.exists():
            raise StudioError(f"There is already a version {self.name}: choose another --name.")
        self.gate_seconds = 0.0
        self.encode_seconds = 0.0

    def run(self) -> AdaptResult:
        """All stages in order."""
        self._stage("load")
        data = check_files(
            collect(self.project, seed=self.options.seed, train_images=self.options.train_images)
        )
        self.clock.check()
        name = model_name(self.project, self.options.model)
        model = load_checkpoint(name, self.device)
        disk = DiskCache(self.project.cache_dir / "embeddings")
        self.predictor = Predictor(model, device=self.device, disk=disk)
        self.plan = self._make_plan(data)
        self._announce(data)
        judged = self._gate_objects(data)
        before = self._before(data, judged)
        judged = judged[: len(before)] if before else judged
        fitted, student = self._train(data)
        candidate = self._candidate(fitted, student, data)
        self.predictor.load_adapter(candidate)
        after = self._scores(data, judged, "after", single=self.options.recipe == "paper")
        decision = self._decide(before, after, data)
        folder = self._write(candidate, data, fitted, before, after, decision)
        return self._result(folder, data, fitted, before, after, decision)

    # Stages

    def _stage(self, stage: str, done: int = 0, of: int = 0) -> None:
        left = self.clock.left()
        data = {"stage": stage, "step": done, "of": of, "left": left and round(left, 1)}
        self.emit(Event("progress", data))

    def _warn(self, code: str, text: str) -> None:
        self.emit(Event("warning", {"code": code, "text": text}))

    def _make_plan(self, data: TrainingSet) -> TrainingPlan:
        options, sam = self.options, self.predictor.sam
        size = int(sam.image_encoder.img_size)
        images = len(data.images_of(data.train))
        if options.recipe == "paper":
            plan = paper_plan(
                method=options.method, images=images, epochs=options.epochs, image_size=size
            )
            plan = replace(plan, seed=options.seed)
            if images < 4:
                self._warn(
                    WarningCode.SKIPPED,
                    f"Recipe paper trains batches of 4 images; with {images} the batch is "
                    f"{plan.batch}.",
                )
            return plan
        plan = studio_plan(
            method=options.method,
            speed=options.speed,
            depth=depth_of(sam),
            image_size=size,
            device=self.device,
            seed=options.seed,
        )
        if options.epochs is not None:
            plan = replace(plan, steps=options.epochs * max(1, -(-len(data.train) // plan.batch)))
        elif options.minutes is not None:
            plan = replace(plan, steps=10**6)
        return plan

    def _announce(self, data: TrainingSet) -> None:
        options = self.options
        self.emit(
            Event(
                "started",
                {
                    "name": self.name,
                    "model": self.predictor.model.info.name,
                    "recipe": options.recipe,
                    "method": options.method,
                    "speed": options.speed,
                    "device": str(self.device),
                    "seed": options.seed,
                    "threads": self.threads,
                    "train_images": len(data.images_of(data.train)),
                    "train_objects": len(data.train),
                    "val_images": len(data.images_of(data.validation)),
                    "val_objects": len(data.validation),
                    "budget": self.clock.seconds,
                    "unproven": data.unproven is not None,
                    "pid": os.getpid(),
                },
            )
        )
        for text in data.skipped:
            self._warn(WarningCode.SKIPPED, text)
        if data.unproven:
            self._warn(WarningCode.UNPROVEN, data.unproven)

    def _gate_objects(self, data: TrainingSet) -> list[Sample]:
        if not self.options.gate:
            return []
        chosen, small, untouched = evaluation_objects(
            data.validation,
            GATE_OBJECTS[self.options.speed],
            trusted_first=gate.ENOUGH_TRUSTED,
        )
        self.untouched = untouched
        if small:
            self._warn(WarningCode.SKIPPED, f"{small} objects are too small to be tested on.")
        return chosen

    def _before(self, data: TrainingSet, judged: list[Sample]) -> list[ObjectScore]:
        """The version in use (or the base) on the gate's objects."""
        used = in_use(self.project)
        folder = find(self.project, used) if used else None
        if folder and folder.manifest.checkpoint_sha256 != self.predictor.model.info.sha256:
            folder = None  # another base model is being adapted: compare with that base
        self.predictor.load_adapter(folder)
        single = is_single_mask(folder)
        judged = self._affordable(data, judged, single=single)
        scores = self._scores(data, judged, "before", single=single)
        self.predictor.load_adapter(None)
        return scores

    def _affordable(self, data: TrainingSet, judged: list[Sample], *, single: bool) -> list[Sample]:
        """As many of the gate's objects as a budget in minutes allows; one is timed first."""
        if self.clock.seconds is None or len(judged) < 2:
            return judged
        image = data.images[judged[0].image_id]
        self.predictor.encode(image.read(), image.identity)
        start = self.clock.spent()
        self._scores(data, judged[:1], "before", single=single)
        pace = max(1e-3, self.clock.spent() - start)
        self.gate_seconds = 0.0
        allowed = int(GATE_SHARE / 2 * self.clock.seconds / pace)
        if allowed < len(judged):
            kept = max(2, allowed)
            self._warn(WarningCode.BUDGET, f"The minutes given allow {kept} objects to test on.")
            return judged[:kept]
        return judged

    def _scores(
        self, data: TrainingSet, judged: list[Sample], stage: str, *, single: bool
    ) -> list[ObjectScore]:
        if not judged:
            return []
        start = self.clock.spent()
        scores = evaluate_objects(
            self.predictor,
            list(data.images.values()),
            judged,
            clicks=GATE_CLICKS,
            single_mask=single,
            tick=lambda done, of: self._stage(stage, done, of),
            check=self.clock.check,
        )
        self.gate_seconds = self.clock.spent() - start
        order = {sample.object_id: place for place, sample in enumerate(judged)}
        return sorted(scores, key=lambda score: order[score.object_id])

    # Training

    def _train(self, data: TrainingSet) -> tuple[Fitted, Student]:
        student = make_student(
            self.predictor.sam,
            recipe=self.plan.recipe,
            rank=self.plan.rank,
            first_block=self.plan.first_block,
            seed=self.options.seed,
        )
        try:
            trainer = self._trainer(student, data)
            with self._stoppable(student):
                return self._loop(trainer, data).run(resume=self.options.resume), student
        finally:
            student.detach()

    def _trainer(self, student: Student, data: TrainingSet) -> Trainer:
        images = data.images_of((*data.train, *data.validation))
        store = FeatureStore(
            self.predictor,
            images,
            split=student.split,
            first_block=student.first_block,
            precision=self.plan.precision,
            check=self.clock.check,
        )
        store.base_model = student.base_model
        self._fill(store, data)
        size = int(self.predictor.sam.image_encoder.img_size)
        return Trainer(
            student,
            self._relation(data),
            store,
            TargetStore(image_size=size, side=self.plan.canvas),
            Roller(self.predictor.sam, self.plan, check=self.clock.check),
            self.plan,
            notice=self._warn,
        )

    def _fill(self, store: FeatureStore, data: TrainingSet) -> None:
        """Encode what training needs now, so that progress and time can be told."""
        keys = [(i.id, view) for i in data.images_of(data.train) for view in self.plan.views]
        start = self.clock.spent()
        for done, key in enumerate(keys):
            self._stage("encode", done, len(keys))
            store.teacher(key)
            if store.split is not None:
                store.prefix(key)
        self.encode_seconds = (self.clock.spent() - start) / max(1, len(keys))

    def _relation(self, data: TrainingSet) -> RelationModule | None:
        if not self.plan.information:
            return None
        pairs = len(self._samples(data)) * len(self.plan.views)
        if pairs < 2:
            self._warn(
                WarningCode.ONE_PAIR,
                "The information terms compare samples with each other and there is only one, "
                "so they are switched off: label a second object to use them.",
            )
            return None
        torch.manual_seed(self.options.seed + 1)
        module = RelationModule()
        path = resource_path("models", "relation.safetensors")
        if self.predictor.model.info.name == "starter" and path.is_file():
            module = load_relation(path)
        return module.to(self.device).train()

    def _samples(self, data: TrainingSet) -> list[Sample]:
        """Recipe ``paper`` trains one mask per image, all objects together."""
        if self.plan.recipe != "paper":
            return list(data.train)
        groups: dict[int, list[Sample]] = {}
        for sample in data.train:
            groups.setdefault(sample.image_id, []).append(sample)
        return [union_sample(group) for group in groups.values()]

    def _loop(self, trainer: Trainer, data: TrainingSet) -> Loop:
        held, _, _ = evaluation_objects(data.validation, VALIDATION_OBJECTS)
        options, plan = self.options, self.plan
        sampler = Sampler(
            self._samples(data), batch=plan.batch, views=plan.views, seed=options.seed
        )
        limited = options.minutes is None and options.epochs is None and plan.recipe == "studio"
        larger = (int(self.predictor.sam.image_encoder.img_size) / 512) ** 2
        state = fingerprint(
            plan, data.digest(), self.predictor.model.info.sha256, options.minutes, self.name
        )
        return Loop(
            trainer,
            sampler,
            Validator(trainer, held) if held and plan.recipe == "studio" else None,
            self.clock,
            self.emit,
            ResumeFile(self.project.cache_dir / "adapt" / f"{self.name}.state", state),
            seconds=TRAIN_SECONDS[options.speed] * larger if limited else None,
            reserve=lambda: self._reserve(data, trainer.student),
        )

    def _reserve(self, data: TrainingSet, student: Student) -> float:
        """Seconds that the stages after training will take."""
        encode = len(data.images_of(data.validation)) * self.encode_seconds
        return 0.5 + 1.1 * self.gate_seconds + (encode if student.acts_on_encoder else 0.0)

    @contextlib.contextmanager
    def _stoppable(self, student: Student) -> Any:
        """Ask whether to stop between the encoder's blocks, forwards and backwards."""
        blocks = list(student.split.blocks) if student.split is not None else []

        def backwards(grad: Tensor) -> None:
            self.clock.check()

        def forwards(_module: object, _inputs: object, output: Tensor) -> None:
            self.clock.check()
            if output.requires_grad:
                output.register_hook(backwards)  # type: ignore[no-untyped-call]

        hooks = [block.register_forward_hook(forwards) for block in blocks]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    # The result

    def _candidate(self, fitted: Fitted, student: Student, data: TrainingSet) -> AdapterFolder:
        """The new version as the predictor takes it, before it has a folder."""
        info = self.predictor.model.info
        manifest = AdapterManifest(
            name=self.name,
            checkpoint=info.name,
            checkpoint_sha256=info.sha256,
            method=self.options.method,
            recipe=self.options.recipe,
            speed=self.options.speed,
            seed=self.options.seed,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            training_hash=data.digest(),
            split=_split_of(data),
            versions=_versions(),
            acts_on_encoder=student.acts_on_encoder,
        )
        folder = AdapterFolder(self.path, manifest)
        # Filled in as if read, so that the gate tests what will be written.
        folder.__dict__.update(
            tensors=dict(fitted.tensors),
            relation=dict(fitted.relation),
            config=student.peft_config or {},
        )
        return folder

    def _decide(
        self, before: list[ObjectScore], after: list[ObjectScore], data: TrainingSet
    ) -> Decision | None:
        if not self.options.gate:
            return None
        return gate.decide(
            before,
            after,
            untouched_used=self.untouched,
            held_out=data.unproven is not None,
            seed=self.options.seed,
        )

    def _write(
        self,
        candidate: AdapterFolder,
        data: TrainingSet,
        fitted: Fitted,
        before: list[ObjectScore],
        after: list[ObjectScore],
        decision: Decision | None,
    ) -> AdapterFolder:
        self._stage("write")
        self.clock.check()
        names = {record.id: record.name for record in self.project.classes()}
        manifest = replace(
            candidate.manifest,
            encoder_sha256=self.predictor.encoder_sha256,
            before=gate.summary(before),
            after=gate.summary(after),
            per_class={
                "before": gate.per_class(before, names),
                "after": gate.per_class(after, names),
            },
            duration_s=round(self.clock.spent(), 2),
            notes={
                "steps": fitted.steps,
                "training_seconds": round(fitted.seconds, 2),
                "best_validation_iou": fitted.best,
                "unproven": data.unproven,
                "gate": None if decision is None else decision.to_json(),
                "skipped": list(data.skipped),
                "plan": _plain(self.plan),
            },
        )
        config = candidate.config if manifest.recipe == "studio" else None
        return write_adapter(self.path, candidate.tensors, manifest, config, candidate.relation)

    def _result(
        self,
        folder: AdapterFolder,
        data: TrainingSet,
        fitted: Fitted,
        before: list[ObjectScore],
        after: list[ObjectScore],
        decision: Decision | None,
    ) -> AdaptResult:
        return AdaptResult(
            adapter=self.name,
            path=folder.path,
            options=self.options,
            decision=decision,
            before=gate.summary(before),
            after=gate.summary(after),
            steps=fitted.steps,
            seconds=self.clock.spent(),
            peak_memory_mb=peak_memory_mb(self.device),
            train_images=len(data.images_of(data.train)),
            train_objects=len(data.train),
            val_objects=len(data.validation),
            notes={
                "model": self.predictor.model.info.name,
                "unproven": data.unproven,
                "proven": decision is not None and decision.proven,
                "per_class": folder.manifest.per_class,
            },
        )


def _split_of(data: TrainingSet) -> dict[str, Any]:
    return {
        "train": sorted({data.images[s.image_id].name for s in data.train}),
        "validation": sorted({data.images[s.image_id].name for s in data.validation}),
        "held_out_objects": data.unproven is not None and bool(data.validation),
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
