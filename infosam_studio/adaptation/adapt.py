"""One adaptation from a project's labels to a gated adapter folder.

The run reads a consistent view of the project and never writes its database: it writes one
adapter folder, at the very end, and reports. Whoever started it decides what to put in use.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from infosam_studio.adaptation.adapters import Student, make_student
from infosam_studio.adaptation.budget import Clock
from infosam_studio.adaptation.close_up import count_images, with_fewer_regions, with_regions
from infosam_studio.adaptation.encoders import split_encoder, stoppable
from infosam_studio.adaptation.features import FeatureStore
from infosam_studio.adaptation.fit import Fitted, Loop, ResumeFile, Validator, fingerprint
from infosam_studio.adaptation.gate import ObjectScore
from infosam_studio.adaptation.holdout import MOST_CHOOSING, divide_validation
from infosam_studio.adaptation.judging import Judge
from infosam_studio.adaptation.machine import (
    give_back_large_blocks,
    limit_threads,
    lower_priority,
    peak_memory_mb,
)
from infosam_studio.adaptation.plan import (
    AdaptOptions,
    TrainingPlan,
    choose_device,
    paper_plan,
    studio_plan,
    with_method,
    with_steps_for,
    with_views_for,
)
from infosam_studio.adaptation.relation import RelationModule, make_relation
from infosam_studio.adaptation.result import (
    AdaptResult,
    Verdict,
    candidate,
    finished_manifest,
)
from infosam_studio.adaptation.rollout import Roller
from infosam_studio.adaptation.sampler import Sampler
from infosam_studio.adaptation.samples import (
    Sample,
    TrainingSet,
    check_files,
    collect,
    evaluation_objects,
)
from infosam_studio.adaptation.spread import Spread
from infosam_studio.adaptation.targets import TargetStore, union_sample
from infosam_studio.adaptation.training import Trainer
from infosam_studio.adaptation.versions import find, in_use, model_name, next_name
from infosam_studio.annotation.project import Project, ProjectLocked, ProjectReadOnly
from infosam_studio.errors import StudioError
from infosam_studio.events import CHILD_VARIABLE, Control, Emit, Event, WarningCode
from infosam_studio.segmentation.adapter_folder import AdapterFolder, write_adapter
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.predictor import Predictor

__all__ = ["AdaptOptions", "AdaptResult", "ensure_split", "run_adapt"]

# Seconds of training without --minutes on two cores for an encoder of 512 px; larger encoders
# and a single core get more.
TRAIN_SECONDS: Final = {"instant": 10.0, "full": 110.0}
FEWEST_STEPS: Final = 12
# Regions of small objects to train on: each is an encode or several.
MOST_REGIONS: Final = {"instant": 12, "full": 80}


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
    spread = Spread()
    if spread.rank:
        emit = _silent  # the first process speaks, judges and writes for all
    child = os.environ.get(CHILD_VARIABLE) == "1"
    give_back_large_blocks()
    threads = limit_threads(options.threads, leave_one=child)
    if child:
        lower_priority()
    elif not spread.rank:
        ensure_split(options.project)
    with Project.for_path(options.project, read_only=True) as project, project.snapshot() as view:
        return _Run(view, options, clock, emit, threads, spread).run()


def _silent(_event: Event) -> None:
    pass


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
        self,
        project: Project,
        options: AdaptOptions,
        clock: Clock,
        emit: Emit,
        threads: int,
        spread: Spread,
    ) -> None:
        self.project, self.clock = project, clock
        self.options = options
        self.emit, self.threads, self.spread = emit, threads, spread
        self.device = choose_device(options.device)
        self.name = options.name or next_name(project.adapters_dir)
        self.path = project.adapters_dir / self.name
        if self.path.exists():
            raise StudioError(f"There is already a version {self.name}: choose another --name.")
        self.encode_seconds = 0.0

    def run(self) -> AdaptResult:
        """All stages in order."""
        self._stage("load")
        options = self.options
        data = check_files(
            collect(self.project, seed=options.seed, train_images=options.train_images),
            self.clock.check,
        )
        labelled = count_images((*data.train, *data.validation))
        options = self.options = with_method(options, labelled)
        self.clock.check()
        model = load_checkpoint(model_name(self.project, options.model), self.device)
        disk = DiskCache(self.project.cache_dir / "embeddings")
        # The app's own precision, so that embeddings are shared; the paper's recipe has fp32.
        precision = "fp32" if options.recipe == "paper" else "auto"
        self.predictor = Predictor(model, device=self.device, disk=disk, precision=precision)
        seen = with_regions(data, int(model.sam.image_encoder.img_size))
        if options.recipe == "paper":  # trains one mask per image, as the paper has it
            data = replace(seen, train=data.train)
        else:
            data = with_fewer_regions(seen, MOST_REGIONS[options.speed])
        self.plan = self._make_plan(data)
        self._announce(data)
        # Recipe paper trains a fixed number of steps, so it chooses nothing.
        self.holdout = divide_validation(
            data.validation, chooses=self.plan.recipe == "studio", judges=options.gate
        )
        self.judge = self._make_judge(data) if options.gate and not self.spread.rank else None
        used = self._in_use() if self.judge else None
        before = self.judge.before(used) if self.judge else []
        fitted, student = self._train(data)
        folder = candidate(self.path, fitted, student, data, base=model.info, options=options)
        verdict = self._judged(folder, before, used.manifest.name if used else None)
        written = folder
        if not self.spread.rank:
            written = self._write(folder, fitted, verdict, data)
            self.state.forget()
        return self._result(written, fitted, verdict, data)

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
        encoder_learns = options.speed == "full" and options.method != "decoder"
        first = split_encoder(sam).default_first if encoder_learns else 0
        plan = studio_plan(
            method=options.method,
            speed=options.speed,
            first_block=first,
            image_size=size,
            precision=self.predictor.precision,
            seed=options.seed,
        )
        plan = with_steps_for(with_views_for(plan, images), count_images(data.train))
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
                    "train_images": count_images(data.train),
                    "train_objects": len(data.train),
                    "val_images": count_images(data.validation),
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
            with stoppable(student.split, self.clock.check):
                trainer = self._trainer(student, data)
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
            spread=self.spread,
            objects=data.by_frame(),
        )

    def _fill(self, store: FeatureStore, data: TrainingSet) -> None:
        """Encode what training needs now, so that progress and time can be told."""
        keys = [(i.id, view) for i in data.images_of(data.train) for view in self.plan.views]
        start = self.clock.spent()
        for done, key in enumerate(keys):
            self._stage("encode", done, len(keys))
            # The first one is encoded whole in any case: it tells what the gate's will take.
            whole = self.plan.asks_teacher or done == 0
            if whole:
                store.teacher(key)
            if store.split is not None:
                store.prefix(key)
            if whole:
                self.encode_seconds = (self.clock.spent() - start) / (done + 1)

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
        module = make_relation(self.predictor.model.info.name, seed=self.options.seed)
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
        held, _, _ = evaluation_objects(self.holdout.choosing, MOST_CHOOSING)
        options, plan = self.options, self.plan
        sampler = Sampler(
            self._samples(data), batch=plan.batch, views=plan.views, seed=options.seed
        )
        limited = options.minutes is None and options.epochs is None and plan.recipe == "studio"
        slower = (int(self.predictor.sam.image_encoder.img_size) / 512) ** 2
        if self.threads == 1 and self.device.type == "cpu":
            slower *= 2
        self.state = self._state_file(data)
        return Loop(
            trainer,
            sampler,
            Validator(trainer, held) if held else None,
            self.clock,
            self.emit,
            self.state,
            seconds=TRAIN_SECONDS[options.speed] * slower if limited else None,
            floor=FEWEST_STEPS,
            reserve=lambda: self._reserve(data, trainer.student),
        )

    def _state_file(self, data: TrainingSet) -> ResumeFile:
        base = self.predictor.model.info.sha256
        same = fingerprint(self.plan, data.digest(), base, self.options.minutes, self.name)
        return ResumeFile(self.project.cache_dir / "adapt" / f"{self.name}.state", same)

    def _reserve(self, data: TrainingSet, student: Student) -> float:
        """Seconds that the stages after training will take."""
        encode = len(data.images_of(data.validation)) * self.encode_seconds
        judged = self.judge.seconds if self.judge else 0.0
        return 0.5 + 1.1 * judged + (encode if student.acts_on_encoder else 0.0)

    # The verdict and the result

    def _make_judge(self, data: TrainingSet) -> Judge:
        return Judge(
            self.predictor,
            data,
            self.holdout.judging,
            self.clock,
            speed=self.options.speed,
            stage=self._stage,
            warn=self._warn,
        )

    def _in_use(self) -> AdapterFolder | None:
        """The version in use, None where it belongs to another base model."""
        used = in_use(self.project)
        try:
            folder = find(self.project, used) if used else None
        except StudioError as error:
            self._warn(WarningCode.SKIPPED, f"{error} The base model is compared with instead.")
            return None
        own = self.predictor.model.info.sha256
        return folder if folder and folder.manifest.checkpoint_sha256 == own else None

    def _judged(
        self, folder: AdapterFolder, before: list[ObjectScore], against: str | None
    ) -> Verdict:
        if self.judge is None:
            self.predictor.load_adapter(folder)
            return Verdict([], [], None)
        after = self.judge.after(folder)
        decision = self.judge.decide(before, after, seed=self.options.seed)
        return Verdict(before, after, decision, against)

    def _write(
        self, folder: AdapterFolder, fitted: Fitted, verdict: Verdict, data: TrainingSet
    ) -> AdapterFolder:
        self._stage("write")
        self.clock.commit()
        manifest = finished_manifest(
            folder.manifest,
            encoder_sha256=self.predictor.encoder_sha256,
            seconds=self.clock.spent(),
            fitted=fitted,
            verdict=verdict,
            data=data,
            plan=self.plan,
            holdout=self.holdout,
            classes={record.id: record.name for record in self.project.classes()},
        )
        config = folder.config if manifest.recipe == "studio" else None
        return write_adapter(self.path, folder.tensors, manifest, config, folder.relation)

    def _result(
        self, folder: AdapterFolder, fitted: Fitted, verdict: Verdict, data: TrainingSet
    ) -> AdaptResult:
        decision = verdict.decision
        return AdaptResult(
            adapter=self.name,
            path=folder.path,
            options=self.options,
            decision=decision,
            before=folder.manifest.before,
            after=folder.manifest.after,
            steps=fitted.steps,
            seconds=self.clock.spent(),
            peak_memory_mb=peak_memory_mb(self.device),
            train_images=count_images(data.train),
            train_objects=len(data.train),
            val_objects=len(data.validation),
            notes={
                "model": self.predictor.model.info.name,
                "unproven": data.unproven,
                "proven": decision is not None and decision.proven,
                "per_class": folder.manifest.per_class,
            },
        )
