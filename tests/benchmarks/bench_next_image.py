"""Does labelling the images suggested next beat labelling in random order?

    python -m tests.benchmarks.bench_next_image run --out next.jsonl
    python -m tests.benchmarks.bench_next_image report --out next.jsonl

One cell is (domain, seed). Two random training images are labelled and the model is adapted; then
three more are labelled, once those the app suggests (`segmentation.next_image`, with the looks
the window takes) and once three random ones, and the model is adapted on all five from the base,
with the same steps. Both versions are tried on the same test objects: clicks to IoU 0.85, 9 where
8 do not suffice. Everything else is equal: seeds, labels per image, steps. Finished cells are JSON
lines and are skipped the next time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infosam_studio.adaptation.adapt import AdaptOptions, run_adapt
from infosam_studio.adaptation.gate import clustered_interval
from infosam_studio.adaptation.samples import collect
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.clicks import noc
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.knowledge import Accepted, Learner
from infosam_studio.segmentation.next_image import Ranked, content_of, look, rank
from infosam_studio.segmentation.predictor import Predictor
from tests.benchmarks.domain_project import (
    DomainProject,
    Item,
    append_line,
    chosen,
    read_lines,
)

DOMAINS = ("nuclei", "wbc", "coffee_leaf")
CLICKS, GOOD, BATCH = 8, 0.85, 6


class Cell:
    """One (domain, seed) at work."""

    def __init__(self, args: argparse.Namespace, domain: str, seed: int) -> None:
        self.args, self.domain, self.seed = args, domain, seed
        cache = DiskCache(args.cache) if args.cache else None
        self.predictor = Predictor(load_checkpoint(args.model), disk=cache, precision="auto")
        self.place = tempfile.TemporaryDirectory(prefix="next.")
        self.count = 0

    def run(self) -> dict[str, Any]:
        """Both arms on the same test objects."""
        work = self._project()
        pool = [one for one in work.items if work.split[one.record.id] == "train"]
        order = np.random.default_rng([self.seed, 11]).permutation(len(pool))
        pool = [pool[place] for place in order[: self.args.pool]]
        first, rest = pool[: self.args.first], pool[self.args.first :]
        ranked = self._ranked(work, first, rest)
        test = [one for one in work.items if work.split[one.record.id] == "test"]
        names = {one.record.id: one for one in rest}
        suggested = [names[one.image_id] for one in ranked[: self.args.then]]
        work.close()
        line: dict[str, Any] = {
            "signs": [one.sign for one in ranked[: self.args.then]],
            "suggested": [one.record.path for one in suggested],
        }
        for arm, then in (("suggested", suggested), ("random", rest[: self.args.then])):
            line[arm + "_clicks"] = self._arm([*first, *then], test)
        base = self._clicks(None, test)
        self.place.cleanup()
        return line | {"base_clicks": base}

    def _project(self) -> DomainProject:
        self.count += 1
        folder = Path(self.place.name) / f"project {self.count}"
        return DomainProject(self.args.data, self.domain, folder, part="all")

    def _adapted(self, work: DomainProject, items: Sequence[Item], steps: int) -> AdapterFolder:
        by_path = {one.record.path: one for one in work.items}
        for item in items:
            own = by_path[item.record.path]
            work.label_truth(own, most=self.args.objects_per_image, seed=self.seed)
        work.project.ensure_split()
        data = collect(work.project, seed=self.seed)
        epochs = max(1, round(steps / -(-len(data.train) // BATCH)))
        options = AdaptOptions(
            work.project.folder,
            model=self.args.model,
            speed="instant",
            epochs=epochs,
            seed=self.seed,
            threads=1,
            gate=False,
        )
        return AdapterFolder.read(run_adapt(options).path)

    def _ranked(
        self, work: DomainProject, first: Sequence[Item], rest: Sequence[Item]
    ) -> list[Ranked]:
        """The order the app would suggest after the first images."""
        self.predictor.load_adapter(self._adapted(work, first, self.args.first_steps))
        labelled, learner = [], Learner(self.predictor)
        for item in first:
            truth = chosen(item.truth(), self.args.objects_per_image, self.seed + item.record.id)
            embedding = work.embedding(self.predictor, item.record)
            learner.look_at(Accepted(embedding, truth, [1] * len(truth)))
            labelled.append(content_of(embedding))
        looks = {}
        for item in rest:
            embedding = work.embedding(self.predictor, item.record)
            base = partial(work.embedding, self.predictor, item.record)
            looks[item.record.id] = look(self.predictor, embedding, base, learner.cells())
        return rank(looks, labelled)

    def _arm(self, items: Sequence[Item], test: Sequence[Item]) -> list[list[int]]:
        work = self._project()
        try:
            return self._clicks(self._adapted(work, items, self.args.steps), test)
        finally:
            work.close()

    def _clicks(self, folder: AdapterFolder | None, test: Sequence[Item]) -> list[list[int]]:
        """(image, clicks to IoU 0.85) of every test object."""
        self.predictor.load_adapter(folder)
        work, rows = self._project(), []
        by_path = {one.record.path: one for one in work.items}
        for item in test:
            own = by_path[item.record.path]
            truth = chosen(item.truth(), self.args.test_objects, 5 + item.record.id)
            replays = work.click_through(
                self.predictor, own.record, truth, clicks=CLICKS, good=GOOD
            )
            rows += [[item.record.id, noc(replay.ious, GOOD)] for replay in replays]
        work.close()
        return rows


def run(args: argparse.Namespace) -> int:
    """Run every cell that is not in the file yet."""
    torch.set_num_threads(1)
    done = {(line["domain"], line["seed"]) for line in read_lines(args.out)}
    for seed in range(args.seeds):
        for domain in args.domains:
            if (domain, seed) in done:
                continue
            started = time.process_time()
            cell = Cell(args, domain, seed)
            line = {"domain": domain, "seed": seed, "model": cell.predictor.model.info.sha256[:12]}
            line |= cell.run()
            line["cpu_seconds"] = round(time.process_time() - started, 1)
            append_line(args.out, line)
            means = {arm: round(mean_clicks(line, arm), 2) for arm in ("base", *ARMS)}
            print(domain, seed, means, line["signs"], line["cpu_seconds"], flush=True)
    return 0


ARMS = ("random", "suggested")


def mean_clicks(line: Mapping[str, Any], arm: str) -> float:
    """NoC@85 of one arm of a cell."""
    return float(np.mean([row[1] for row in line[f"{arm}_clicks"]]))


def report(args: argparse.Namespace) -> int:
    """A table, and the paired difference with its interval."""
    lines = sorted(read_lines(args.out), key=lambda line: (line["domain"], line["seed"]))
    print("| domain | seed | base | random | suggested |\n|---|---|---|---|---|")
    gains, clusters, wins = [], [], 0
    for line in lines:
        values = [mean_clicks(line, arm) for arm in ("base", *ARMS)]
        wins += values[2] < values[1]
        told = " | ".join(f"{value:.2f}" for value in values)
        print(f"| {line['domain']} | {line['seed']} | {told} |")
        pairs = zip(line["random_clicks"], line["suggested_clicks"], strict=True)
        for (image, random), (_, suggested) in pairs:
            gains.append(random - suggested)
            clusters.append(1000 * (1 + DOMAINS.index(line["domain"])) + image)
    low, high = clustered_interval(np.array(gains, float), np.array(clusters))
    print(
        f"\nSuggested against random: {np.mean(gains):+.3f} clicks saved per object "
        f"(90 % interval {low:+.3f} to {high:+.3f}), better in {wins} of {len(lines)} cells."
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run or report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    work = verbs.add_parser("run")
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    work.add_argument("--data", type=Path, default=Path(named) if named else None)
    work.add_argument("--domains", nargs="+", default=list(DOMAINS))
    work.add_argument("--seeds", type=int, default=3)
    work.add_argument("--pool", type=int, default=24, help="training images to choose from")
    work.add_argument("--first", type=int, default=2, help="images labelled before")
    work.add_argument("--then", type=int, default=3, help="images labelled then")
    work.add_argument("--first-steps", type=int, default=10)
    work.add_argument("--steps", type=int, default=16)
    work.add_argument("--objects-per-image", type=int, default=6)
    work.add_argument("--test-objects", type=int, default=2, help="per test image")
    work.add_argument("--model", default="starter")
    work.add_argument("--cache", type=Path)
    work.set_defaults(action=run)
    told = verbs.add_parser("report")
    told.set_defaults(action=report)
    for one in (work, told):
        one.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    if args.verb == "run" and args.data is None:
        print("name the images with --data or INFOSAM_STUDIO_DATA", file=sys.stderr)
        return 2
    action: Any = args.action
    return int(action(args))


if __name__ == "__main__":
    raise SystemExit(main())
