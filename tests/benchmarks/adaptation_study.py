"""The adaptation study: how much a few labels help, by method, on real images.

One cell is (domain, labelled images N, method, speed, seed); each finished cell is one JSON line,
and cells already in the file are skipped, so the study can be stopped and gone on with at any
time. Tables and the plot come from ``tests.benchmarks.study_report``.

    python -m tests.benchmarks.adaptation_study --out study.jsonl [--domains nuclei wbc]

Images come from ``--data`` or ``$INFOSAM_STUDIO_DATA``. Development domains (on which everything
may be tuned) are nuclei, wbc, coffee_leaf and cracks; the others are run once, frozen, with
``--report-domains``. A cell is what ``adapt`` does with N labelled images: about one in four
validates (below four, a quarter of the objects), which chooses the best weights and how far to
go; a fixed number of steps (fewer with one image, unless ``--changes`` has other ``steps``), so
that results do not depend on the machine; no gate, so that losses show. Methods ``infosam`` and
``lora`` differ in alpha and beta alone: the same seeds, samples, order, steps, rank and learning
rates. With ``instant`` no encoder layer learns, so ``lora`` and ``decoder`` are one and the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from infosam_studio.adaptation.adapt import MOST_REGIONS
from infosam_studio.adaptation.adapters import Student, make_student
from infosam_studio.adaptation.budget import Clock
from infosam_studio.adaptation.close_up import count_images, with_fewer_regions, with_regions
from infosam_studio.adaptation.encoders import split_encoder
from infosam_studio.adaptation.evaluation import evaluate_objects
from infosam_studio.adaptation.features import FeatureStore
from infosam_studio.adaptation.fit import Loop, ResumeFile, Validator
from infosam_studio.adaptation.gate import ObjectScore, summary
from infosam_studio.adaptation.holdout import MOST_CHOOSING
from infosam_studio.adaptation.plan import (
    TrainingPlan,
    studio_plan,
    with_steps_for,
    with_views_for,
)
from infosam_studio.adaptation.relation import make_relation
from infosam_studio.adaptation.rollout import Roller
from infosam_studio.adaptation.sampler import Sampler
from infosam_studio.adaptation.samples import (
    LabelledImage,
    Sample,
    TrainingSet,
    evaluation_objects,
    hold_out,
)
from infosam_studio.adaptation.targets import TargetStore
from infosam_studio.adaptation.training import Trainer
from infosam_studio.annotation import masks
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.images import ViewSettings, content_hash
from infosam_studio.events import Control, Event
from infosam_studio.segmentation.adapter_folder import AdapterFolder, AdapterManifest
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import Prompt

DEVELOPMENT = ("nuclei", "wbc", "coffee_leaf", "cracks")
REPORT = ("ultrasound", "skin_lesion", "roads", "steel_defects", "clothing", "crop_weed")
METHODS = ("decoder", "lora", "infosam")
LABELS = (1, 5, 10)
CLICKS = 8
# What the app's time limits allow on two cores, so that a cell does not depend on the machine.
STEPS = {"instant": 12, "full": 90}
# Background clicks keep this far from every object, in pixels of the encoder's square.
BACKGROUND_DISTANCE = 20


@dataclass(frozen=True)
class Domain:
    """A domain's images, regions and objects by part; ``whole`` are the test objects unzoomed."""

    name: str
    images: Mapping[int, LabelledImage]
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    whole: tuple[Sample, ...]


def load_domain(data: Path, name: str, input_size: int) -> Domain:
    """Read a domain folder: images, index maps and META.json.

    Small objects stand in the regions in which a model of ``input_size`` pixels gets them.
    """
    meta = json.loads((data / name / "META.json").read_text("utf-8"))
    images: dict[int, LabelledImage] = {}
    parts: dict[str, list[Sample]] = {"train": [], "test": []}
    for number, item in enumerate(meta["items"]):
        path = data / name / item["image"]
        index = np.asarray(Image.open(data / name / item["mask"]))
        height, width = index.shape
        images[number] = LabelledImage(
            number, path, path.name, content_hash(path), ViewSettings(), height, width
        )
        for value in np.unique(index[index > 0]):
            mask = index == value
            key = number * 10_000 + int(value)
            area = int(mask.sum())
            sample = Sample(key, number, 1, masks.encode(mask), True, area)
            parts[item["split"]].append(sample)
    whole = TrainingSet(images, tuple(parts["train"]), tuple(parts["test"]), None, ())
    seen = with_regions(whole, input_size)
    return Domain(name, seen.images, seen.train, seen.validation, whole.validation)


def few_images(domain: Domain, count: int, seed: int, most: int) -> list[Sample]:
    """The objects of ``count`` training images drawn by the seed, at most ``most`` per image."""
    ids = sorted({sample.image_id for sample in domain.train})
    rng = np.random.default_rng([seed, 77])
    kept = {ids[place] for place in rng.permutation(len(ids))[:count]}
    chosen: list[Sample] = []
    for image in sorted(kept):
        own = [sample for sample in domain.train if sample.image_id == image]
        chosen += [own[place] for place in sorted(rng.permutation(len(own))[:most])]
    return chosen


def plan_of(method: str, speed: str, predictor: Predictor, seed: int, changes: Any) -> TrainingPlan:
    """The app's own plan for this method, with the steps and changes of the study."""
    sam = predictor.sam
    plan = studio_plan(
        method=method,
        speed=speed,
        first_block=split_encoder(sam).default_first,
        image_size=int(sam.image_encoder.img_size),
        precision=predictor.precision,
        seed=seed,
    )
    allowed = {key: value for key, value in changes.items() if key not in ("alpha", "beta")}
    if method == "infosam":
        allowed = dict(changes)
    return replace(plan, **allowed)


def divided(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """(train, validation), as a project of these images would be divided."""
    images = list(dict.fromkeys(sample.image_id for sample in samples))
    if len(images) < 4:
        return hold_out(list(samples)) if len(samples) > 1 else (list(samples), [])
    held = set(images[-(len(images) // 4) :])
    train = [sample for sample in samples if sample.image_id not in held]
    return train, [sample for sample in samples if sample.image_id in held]


def train(
    predictor: Predictor, domain: Domain, samples: Sequence[Sample], plan: TrainingPlan
) -> tuple[AdapterFolder, dict[str, Any]]:
    """Train one cell; returns the version (in memory) and what it cost."""
    start, cpu = time.monotonic(), time.process_time()
    predictor.load_adapter(None)
    student = make_student(
        predictor.sam,
        recipe="studio",
        rank=plan.rank,
        first_block=plan.first_block,
        seed=plan.seed,
    )
    learnt, held = divided(samples)
    learnt = list(with_fewer_regions(as_set(domain, learnt), MOST_REGIONS[plan.speed]).train)
    losses: list[Mapping[str, float]] = []

    def note(event: Event) -> None:
        if event.data.get("stage") == "train":
            losses.append(event.data["losses"])

    frames = len({sample.frame_id for sample in learnt})
    plan = with_views_for(plan, frames)
    try:
        trainer = make_trainer(predictor, student, domain, plan)
        chosen, _, _ = evaluation_objects(held, MOST_CHOOSING)
        fitted = Loop(
            trainer,
            Sampler(learnt, batch=plan.batch, views=plan.views, seed=plan.seed),
            Validator(trainer, chosen) if chosen else None,
            Clock(None, Control(), note),
            note,
            ResumeFile(None, ""),
        ).run()
    finally:
        student.detach()
    last = losses[-10:]
    cost = {
        "train_seconds": round(time.monotonic() - start, 1),
        "train_cpu_seconds": round(time.process_time() - cpu, 1),
        "losses": {key: float(np.mean([row[key] for row in last])) for key in last[0]},
        "train_objects": len(learnt),
        "validation_objects": len(chosen),
        "share": fitted.share,
        "steps": fitted.steps,
    }
    return in_memory(predictor, student, fitted.tensors), cost


def as_set(domain: Domain, train: Sequence[Sample]) -> TrainingSet:
    """These samples as the app has them."""
    return TrainingSet(domain.images, tuple(train), (), None, ())


def make_trainer(
    predictor: Predictor, student: Student, domain: Domain, plan: TrainingPlan
) -> Trainer:
    """The app's own trainer on a domain's images."""
    store = FeatureStore(
        predictor,
        list(domain.images.values()),
        split=student.split,
        first_block=student.first_block,
        precision=plan.precision,
    )
    store.base_model = student.base_model
    size = int(predictor.sam.image_encoder.img_size)
    model = predictor.model.info.name
    return Trainer(
        student,
        make_relation(model, seed=plan.seed) if plan.information else None,
        store,
        TargetStore(image_size=size, side=plan.canvas),
        Roller(predictor.sam, plan),
        plan,
        objects=as_set(domain, domain.train).by_frame(),
    )


def in_memory(
    predictor: Predictor, student: Student, tensors: Mapping[str, torch.Tensor]
) -> AdapterFolder:
    """The trained version as the predictor takes it, without a folder on disk."""
    info = predictor.model.info
    manifest = AdapterManifest(
        name="cell",
        checkpoint=info.name,
        checkpoint_sha256=info.sha256,
        acts_on_encoder=student.acts_on_encoder,
    )
    folder = AdapterFolder(Path("cell"), manifest)
    folder.__dict__.update(tensors=tensors, relation={}, config=student.peft_config)
    return folder


def test_scores(predictor: Predictor, domain: Domain, most: int) -> list[ObjectScore]:
    """The protocol on at most ``most`` test objects, the same ones for every cell."""
    chosen, _, _ = evaluation_objects(domain.test, most)
    return evaluate_objects(predictor, list(domain.images.values()), chosen, clicks=CLICKS)


test_scores.__test__ = False  # type: ignore[attr-defined]


def promptability(predictor: Predictor, domain: Domain, clicks: int = 40) -> float:
    """Share of background clicks that return a training-class object (IoU at least 0.5)."""
    rng = np.random.default_rng(5)
    images = sorted({sample.image_id for sample in domain.whole})
    hits = asked = 0
    for image_id in images:
        own = [masks.decode(s.mask) for s in domain.whole if s.image_id == image_id]
        spots = _background(np.any(own, axis=0), int(predictor.sam.image_encoder.img_size))
        if len(spots) == 0:
            continue
        image = domain.images[image_id]
        embedding = predictor.encode(image.read(), image.identity)
        for y, x in spots[rng.permutation(len(spots))[: max(1, clicks // len(images))]]:
            prompt = Prompt.from_clicks([(x, y, 1)])
            answer = predictor.predict(embedding, prompt, multimask=True, candidates="best")
            mask = answer.masks[0]
            hits += any(_iou(mask, obj) >= 0.5 for obj in own)
            asked += 1
    return hits / asked if asked else 0.0


def _background(objects: Any, size: int) -> Any:
    """(y, x) of pixels far enough from every object."""
    scale = size / max(objects.shape)
    free = np.pad((~objects).astype(np.uint8), 0)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.argwhere(distance * scale >= BACKGROUND_DISTANCE)


def _iou(one: Any, two: Any) -> float:
    union = np.count_nonzero(one | two)
    return np.count_nonzero(one & two) / union if union else 0.0


@dataclass(frozen=True)
class Cell:
    """One cell of the study; ``method`` "base" is the model without adaptation."""

    domain: str
    labels: int
    method: str
    speed: str
    seed: int

    def key(self) -> str:
        """A name that is equal for equal cells."""
        return json.dumps(asdict(self), sort_keys=True)


def cells(args: argparse.Namespace) -> Iterator[Cell]:
    """All cells in the order in which they are worth most."""
    for domain in args.domains:
        yield Cell(domain, 0, "base", "none", 0)
    for seed in range(args.seeds):
        for labels in sorted(args.labels, reverse=True):
            for domain in args.domains:
                for method in args.methods:
                    if method != "decoder" or args.speed != "instant":
                        yield Cell(domain, labels, method, args.speed, seed)


def run_cell(
    cell: Cell, predictor: Predictor, domains: Mapping[str, Domain], args: argparse.Namespace
) -> dict[str, Any]:
    """Train and test one cell; the line that is kept."""
    domain = domains[cell.domain]
    line: dict[str, Any] = {**asdict(cell), "model": model_of(predictor)}
    predictor.load_adapter(None)
    if cell.method != "base":
        samples = few_images(domain, cell.labels, cell.seed, args.objects_per_image)
        changes = {"steps": args.steps[cell.speed], **args.changes}
        plan = plan_of(cell.method, cell.speed, predictor, cell.seed, changes)
        if "steps" not in args.changes:
            plan = with_steps_for(plan, count_images(divided(samples)[0]))
        folder, cost = train(predictor, domain, samples, plan)
        predictor.load_adapter(folder)
        line |= {"objects": len(samples), "changes": args.changes, **cost}
    start = time.process_time()
    scores = test_scores(predictor, domain, args.objects)
    line["test_cpu_seconds"] = round(time.process_time() - start, 1)
    line |= {"test_objects": len(scores), **summary(scores)}
    line["per_object"] = [
        [s.object_id, s.image_id, s.clicks_to(0.85), *(round(iou, 4) for iou in s.ious)]
        for s in scores
    ]
    line["promptability"] = promptability(predictor, domain)
    if args.forgetting and cell.seed == 0:
        names = [name for name in (*DEVELOPMENT, *REPORT) if name != cell.domain]
        line["others"] = {
            name: summary(test_scores(predictor, domains[name], args.forgetting)) for name in names
        }
    return line


def model_of(predictor: Predictor) -> str:
    """What identifies the base model in a line."""
    return predictor.model.info.sha256[:12]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The cells done so far; a torn last line is left out."""
    lines = []
    if path.is_file():
        for text in path.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines


def key_of(line: Mapping[str, Any]) -> str:
    """The key of a line's cell."""
    return Cell(*(line[k] for k in ("domain", "labels", "method", "speed", "seed"))).key()


def run(args: argparse.Namespace) -> int:
    """Run every cell that is not in the file yet, until ``--minutes`` are over."""
    torch.set_num_threads(args.threads)
    cache = DiskCache(args.cache) if args.cache else None
    predictor = Predictor(load_checkpoint(args.model), disk=cache, precision="auto")
    lines = [line for line in read_lines(args.out) if line["model"] == model_of(predictor)]
    done = {key_of(line) for line in lines}
    waiting = [cell for cell in cells(args) if cell.key() not in done]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    needed = (*DEVELOPMENT, *REPORT) if args.forgetting else args.domains
    size = int(predictor.sam.image_encoder.img_size)
    domains = {name: load_domain(args.data, name, size) for name in needed}
    start = time.monotonic()
    for number, cell in enumerate(waiting):
        if time.monotonic() - start > 60 * args.minutes:
            print(f"time is over, {len(waiting) - number} cells left", file=sys.stderr)
            break
        line = run_cell(cell, predictor, domains, args)
        with args.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        keys = ("noc85", "box_miou", "share", "promptability", "train_cpu_seconds")
        print(cell.key(), line["miou_at"][:5], {k: line.get(k) for k in keys}, flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line of the study."""
    work = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    work.add_argument("--data", type=Path, default=Path(named) if named else None)
    work.add_argument("--out", type=Path, required=True)
    work.add_argument("--model", default="starter")
    work.add_argument("--domains", nargs="+", default=list(DEVELOPMENT))
    work.add_argument("--report-domains", action="store_true")
    work.add_argument("--labels", nargs="+", type=int, default=list(LABELS))
    work.add_argument("--methods", nargs="+", default=list(METHODS))
    work.add_argument("--speed", choices=tuple(STEPS), default="instant")
    work.add_argument("--steps", type=json.loads, default=STEPS, help="JSON, steps by speed")
    work.add_argument("--seeds", type=int, default=3)
    work.add_argument("--objects", type=int, default=60, help="test objects per domain")
    work.add_argument("--objects-per-image", type=int, default=12)
    work.add_argument("--changes", type=json.loads, default={}, help="JSON of plan fields")
    work.add_argument("--forgetting", type=int, default=0, help="test objects of other domains")
    work.add_argument("--cache", type=Path, help="folder for embeddings")
    work.add_argument("--threads", type=int, default=1)
    work.add_argument("--minutes", type=float, default=1e9)
    return work


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study."""
    args = parser().parse_args(argv)
    if args.data is None:
        print("name the images with --data or INFOSAM_STUDIO_DATA", file=sys.stderr)
        return 2
    if args.report_domains:
        args.domains = list(REPORT)
    return run(args)


if __name__ == "__main__":
    raise SystemExit(main())
