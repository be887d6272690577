"""A simulated labelling campaign, with and without adapting the model on the way.

A careful person labels the training images of a domain in order: clicks by the protocol on each
object until IoU 0.85, at most 8. Where 8 clicks do not get there the true mask is drawn by hand
(counted apart). With the loop, an instant adaptation runs after every K accepted objects through
the app's own `run_adapt`, on what the person accepted so far, and is used where the app's own
gate promotes it, exactly as pressing Adapt model does. Without the loop the base model answers.

    python -m tests.benchmarks.campaign run --out campaign.jsonl
    python -m tests.benchmarks.campaign report --out campaign.jsonl --to resources/guide

One cell is (domain, with or without, seed); each finished cell is one JSON line, and cells
already in the file are skipped, so it can be stopped and gone on with. The seed draws the
objects of an image where it has more than ``--objects-per-image``, and seeds the training.
Both arms zoom in on small objects, as a person would. With ``--suggest`` the loop's person also
uses Suggest masks once the first adaptation has ended, whatever became of it: taking a suggestion
up counts as a click (and is all where it reaches IoU 0.85), so does every corrective click on it,
and so does dismissing what is left over on an image.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from infosam_studio.adaptation.adapt import AdaptOptions, run_adapt
from infosam_studio.adaptation.evaluation import is_single_mask
from infosam_studio.adaptation.samples import collect
from infosam_studio.adaptation.versions import use
from infosam_studio.annotation.effort import running_mean
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.svg_charts import Chart, Line, Mark, sheet
from tests.benchmarks.domain_project import (
    DomainProject,
    Item,
    append_line,
    chosen,
    read_lines,
)
from tests.benchmarks.suggested_labels import Reviewer

DOMAINS = ("nuclei", "wbc", "coffee_leaf")
GOOD, CLICKS = 0.85, 8
WINDOW = 10
BATCH = 6


class Campaign:
    """One cell at work."""

    def __init__(self, args: argparse.Namespace, domain: str, loop: bool, seed: int) -> None:
        self.args, self.loop, self.seed = args, loop, seed
        self.place = tempfile.TemporaryDirectory(prefix="campaign.")
        self.work = DomainProject(args.data, domain, Path(self.place.name) / "project")
        cache = DiskCache(args.cache) if args.cache else None
        self.predictor = Predictor(load_checkpoint(args.model), disk=cache, precision="auto")
        self.single = False
        self.objects: list[list[Any]] = []
        self.marks: list[dict[str, Any]] = []
        self.since = 0
        self.labelling = 0.0
        self.reviewer = Reviewer(self.work, self.predictor)
        self.suggested = 0

    def run(self) -> dict[str, Any]:
        """Label image by image; the figures of the cell."""
        try:
            for item in self.work.items[: self.args.images]:
                self._label(item)
                if self.loop and self.since >= self.args.every and self._worth_it():
                    self._adapt()
        finally:
            self.work.close()
            self.place.cleanup()
        return self._line()

    def _worth_it(self) -> bool:
        """Nobody adapts for the last few objects, or more often than was asked for."""
        left = len(self.work.items[: self.args.images]) - len({row[0] for row in self.objects})
        return left > 2 and len(self.marks) < self.args.most

    def _label(self, item: Item) -> None:
        started = time.process_time()
        truth = chosen(item.truth(), self.args.objects_per_image, self.seed + item.record.id)
        shown = self.reviewer.review(item, truth, clicks=CLICKS, good=GOOD)
        self.suggested += len(shown)
        rest = [number for number in range(len(truth)) if number not in shown]
        clicked = self.work.click_through(
            self.predictor,
            item.record,
            [truth[number] for number in rest],
            clicks=CLICKS,
            good=GOOD,
            single_mask=self.single,
        )
        shown |= dict(zip(rest, clicked, strict=True))
        replays = [shown[number] for number in range(len(truth))]
        self.work.label_replayed(item, truth, replays, GOOD)
        for replay in replays:
            row = [item.record.id, len(replay.clicks), round(replay.ious[0], 4)]
            self.objects.append([*row, int(replay.ious[-1] >= GOOD)])
        self.since += len(replays)
        self.labelling += time.process_time() - started

    def _adapt(self) -> None:
        """One run of the real thing; its version is used where the real gate lets it through."""
        self.since = 0
        project = self.work.project
        project.ensure_split()
        wall, cpu = time.monotonic(), time.process_time()
        options = AdaptOptions(
            project.folder,
            model=self.args.model,
            speed=self.args.speed,
            method=self.args.method,
            seed=self.seed,
            epochs=self._epochs(),
            threads=1,
        )
        mark: dict[str, Any] = {"after": len(self.objects)}
        try:
            result = run_adapt(options)
        except StudioError as error:
            mark |= {"promoted": False, "problem": str(error)}
        else:
            told = result.to_json()
            mark |= {key: told[key] for key in ("promoted", "steps", "gate")}
            mark |= {"before": told["before"].get("noc85"), "noc85": told["after"].get("noc85")}
            if result.promoted:
                use(project, result.adapter)
                folder = AdapterFolder.read(result.path)
                self.predictor.load_adapter(folder)
                self.single = is_single_mask(folder)
        if self.args.suggest:
            self.reviewer.learn(multimask=not self.single)
        mark["seconds"] = round(time.monotonic() - wall, 1)
        mark["cpu_seconds"] = round(time.process_time() - cpu, 1)
        self.marks.append(mark)
        print("  adapted", {key: mark[key] for key in mark if key != "gate"}, flush=True)

    def _epochs(self) -> int:
        """Epochs that make about the steps asked for, however busy this machine is.

        The app gives an instant run ten seconds of training, about 25 steps on two idle cores.
        """
        data = collect(self.work.project, seed=self.seed)
        return max(1, round(self.args.steps / -(-len(data.train) // BATCH)))

    def _line(self) -> dict[str, Any]:
        clicks = [row[1] for row in self.objects]
        return {
            "images": len({row[0] for row in self.objects}),
            "objects": len(self.objects),
            "clicks": sum(clicks) + self.reviewer.dismissals,
            "suggested": self.suggested,
            "dismissals": self.reviewer.dismissals,
            "by_hand": sum(1 for row in self.objects if not row[3]),
            "adapt_seconds": round(sum(mark["seconds"] for mark in self.marks), 1),
            "adapt_cpu_seconds": round(sum(mark["cpu_seconds"] for mark in self.marks), 1),
            "labelling_cpu_seconds": round(self.labelling, 1),
            "marks": self.marks,
            "per_object": self.objects,
        }


def cells(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All cells in the order in which they are worth most."""
    for seed in range(args.seeds):
        for domain in args.domains:
            for loop in (False, True):
                yield {"domain": domain, "loop": loop, "seed": seed}


def run(args: argparse.Namespace) -> int:
    """Run every cell that is not in the file yet."""
    torch.set_num_threads(1)
    keys = ("domain", "loop", "seed")
    done = [{key: line[key] for key in keys} for line in read_lines(args.out)]
    for cell in cells(args):
        if cell in done:
            continue
        started = time.process_time()
        campaign = Campaign(args, cell["domain"], cell["loop"], cell["seed"])
        sha = campaign.predictor.model.info.sha256[:12]
        line = {**cell, "model": sha, **campaign.run()}
        line["cpu_seconds"] = round(time.process_time() - started, 1)
        kept = ("every", "steps", "speed", "method", "objects_per_image", "suggest")
        line["choices"] = {key: getattr(args, key) for key in kept}
        append_line(args.out, line)
        shown = ("images", "objects", "clicks", "by_hand", "adapt_seconds", "cpu_seconds")
        print(cell, {key: line[key] for key in shown}, flush=True)
    return 0


# report ----------------------------------------------------------------------------------


def pairs(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], dict[bool, Any]]:
    """Both arms of every (domain, seed) that has both."""
    found: dict[tuple[str, int], dict[bool, Any]] = {}
    for line in lines:
        found.setdefault((line["domain"], line["seed"]), {})[line["loop"]] = line
    return {key: both for key, both in sorted(found.items()) if len(both) == 2}


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Clicks with and without the loop, as Markdown."""
    rows = [
        "| domain | images | objects | clicks without | clicks with | saved | "
        "drawn by hand | versions used | adapting |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    total = [0, 0]
    for (domain, _seed), both in pairs(lines).items():
        base, loop = both[False], both[True]
        total[0] += base["clicks"]
        total[1] += loop["clicks"]
        used = sum(1 for mark in loop["marks"] if mark["promoted"])
        rows.append(
            f"| {domain} | {base['images']} | {base['objects']} | {base['clicks']} | "
            f"{loop['clicks']} | {_saved(base['clicks'], loop['clicks'])} | "
            f"{base['by_hand']} → {loop['by_hand']} | {used} of {len(loop['marks'])} | "
            f"{loop['adapt_cpu_seconds']:.0f} CPU s |"
        )
    rows.append(f"| all | | | {total[0]} | {total[1]} | {_saved(*total)} | | | |")
    return "\n".join(rows) + "\n"


def _saved(without: int, loop: int) -> str:
    return f"{100 * (1 - loop / without):.0f} %" if without else "–"


def chart_of(domain: str, both: Mapping[bool, Any]) -> Chart:
    """Clicks per object over time, with the adaptations marked."""
    curves = []
    for loop, name in ((False, "without adapting"), (True, "with adapting")):
        values = running_mean([float(row[1]) for row in both[loop]["per_object"]], WINDOW)
        curves.append(Line(name, list(enumerate(values, start=1)), muted=not loop))
    marks = [Mark(float(m["after"]), counted=m["promoted"]) for m in both[True]["marks"]]
    base, loop = both[False]["clicks"], both[True]["clicks"]
    title = f"{domain}: {base} → {loop} clicks ({_saved(base, loop)} saved)"
    seconds = both[True]["adapt_cpu_seconds"]
    return Chart(
        title,
        f"objects labelled; adapting took {seconds:.0f} CPU seconds in all",
        "clicks per object",
        curves,
        marks,
    )


def report(args: argparse.Namespace) -> int:
    """The table, and the plot as SVG."""
    lines = read_lines(args.out)
    print(table(lines))
    if args.to is not None:
        shown = [(domain, both) for (domain, seed), both in pairs(lines).items() if seed == 0]
        text = sheet([chart_of(*one) for one in shown])
        (args.to / "campaign.svg").write_text(text, encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    verbs = top.add_subparsers(dest="verb", required=True)
    work = verbs.add_parser("run")
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    work.add_argument("--data", type=Path, default=Path(named) if named else None)
    work.add_argument("--out", type=Path, required=True)
    work.add_argument("--model", default="starter")
    work.add_argument("--domains", nargs="+", default=list(DOMAINS))
    work.add_argument("--seeds", type=int, default=1)
    work.add_argument("--images", type=int, default=40)
    work.add_argument("--objects-per-image", type=int, default=2)
    work.add_argument("--every", type=int, default=10, help="objects between adaptations")
    work.add_argument("--most", type=int, default=4, help="adaptations at most")
    work.add_argument("--speed", default="instant")
    work.add_argument("--method", default="infosam")
    work.add_argument("--steps", type=int, default=25, help="of each adaptation")
    work.add_argument("--suggest", action="store_true", help="review suggestions too")
    work.add_argument("--cache", type=Path, help="folder for embeddings")
    work.set_defaults(action=run)
    told = verbs.add_parser("report")
    told.add_argument("--out", type=Path, required=True)
    told.add_argument("--to", type=Path)
    told.set_defaults(action=report)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run or report."""
    args = parser().parse_args(argv)
    if args.verb == "run" and args.data is None:
        print("name the images with --data or INFOSAM_STUDIO_DATA", file=sys.stderr)
        return 2
    action: Any = args.action
    return int(action(args))


if __name__ == "__main__":
    raise SystemExit(main())
