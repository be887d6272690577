"""How good suggestions are after a few labelled images: precision and recall at IoU 0.5.

    python -m tests.benchmarks.bench_suggest [--domains nuclei wbc] [--images 10] [--seeds 3]

For every seed some training images of a domain are drawn and labelled completely with their true
masks, the model is adapted by the app's own `run_adapt` (instant), and objects are suggested on
the test images with the version that the gate let through (else the base), as Suggest masks does
in the window. A suggestion is right where it has IoU 0.5 or more with a true object that no better
one took. One JSON line per domain and seed, then one per domain with mean and spread (standard
deviation) over the seeds; ``confidence`` is where the slider stands at first. ``--keep FOLDER``
keeps the adapted versions there and takes them from there the next time; ``--refused`` uses those
too that the gate did not let through.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infosam_studio.adaptation.adapt import AdaptOptions, run_adapt
from infosam_studio.adaptation.evaluation import is_single_mask
from infosam_studio.adaptation.samples import collect
from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.close_ups import View
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import ImageIdentity
from infosam_studio.segmentation.suggesting import Suggestion
from infosam_studio.segmentation.survey import Known, Search, Study
from tests.benchmarks.domain_project import DomainProject, Item, Mask, append_line

BATCH = 6
SHOWN = 0.5
SLIDER = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def matched(found: Sequence[Rle], truth: Sequence[Mask]) -> int:
    """How many true objects a suggestion has with IoU 0.5 or more, each taken once."""
    open_ones = [masks.encode(mask) for mask in truth]
    hits = 0
    for mask in found:
        ious = [masks.iou(mask, other) for other in open_ones]
        if ious and max(ious) >= 0.5:
            open_ones.pop(int(np.argmax(ious)))
            hits += 1
    return hits


def adapted(work: DomainProject, args: argparse.Namespace, keep: Path | None) -> tuple[Any, Any]:
    """One instant run through the real gate: the version to use (None: the base), how it ended."""
    told_in = keep / "told.json" if keep is not None else None
    if told_in is not None and told_in.is_file():
        told = json.loads(told_in.read_text("utf-8"))
        kept = keep / "version" if keep is not None else Path()
        usable = told["promoted"] or args.refused
        return (AdapterFolder.read(kept) if usable else None), told
    data = collect(work.project, seed=0)
    epochs = max(1, round(args.steps / -(-len(data.train) // BATCH)))
    options = AdaptOptions(
        work.project.folder, model=args.model, speed="instant", epochs=epochs, threads=1
    )
    result = run_adapt(options)
    told = {key: result.to_json()[key] for key in ("promoted", "steps", "seconds")}
    told |= {"before": result.before.get("noc85"), "after": result.after.get("noc85")}
    if keep is not None and told_in is not None:
        shutil.copytree(result.path, keep / "version")
        told_in.write_text(json.dumps(told), "utf-8")
    usable = result.promoted or args.refused
    return (AdapterFolder.read(result.path) if usable else None), told


def study_of(
    work: DomainProject, predictor: Predictor, labelled: Sequence[Item], several: bool
) -> Study:
    """What the labelled images teach."""
    known = []
    for item in labelled:
        truth = [masks.encode(mask) for mask in item.truth()]
        size = (item.record.height, item.record.width)
        known.append(Known(size, truth, [1] * len(truth), complete=True))
    study = Study(known, multimask=several)
    while study.step(predictor, lambda n, view: embed(work, predictor, labelled[n], view)):
        pass
    return study


def embed(work: DomainProject, predictor: Predictor, item: Item, view: View) -> Embedding:
    """What the model sees of an image in a view."""
    identity = ImageIdentity(item.record.sha256, item.record.page, item.record.view)
    found = predictor.cached(identity, view.region)
    if found is not None:
        return found
    return predictor.encode(work.project.read_view(item.record), identity, region=view.region)


def seed_line(domain: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one domain with the labelled images of one seed."""
    predictor = Predictor(load_checkpoint(args.model), precision="auto")
    keep = None if args.keep is None else args.keep / f"{domain}-{seed}"
    with tempfile.TemporaryDirectory(prefix="suggest.") as place:
        work = DomainProject(args.data, domain, Path(place) / "project", part="all")
        train = [one for one in work.items if work.split[one.record.id] == "train"]
        test = [one for one in work.items if work.split[one.record.id] == "test"][: args.test]
        order = np.random.default_rng(seed).permutation(len(train))[: args.images]
        labelled = [train[place] for place in order]
        objects = sum(work.label_truth(item) for item in labelled)
        work.project.ensure_split()
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
        folder, told = (None, {}) if args.base else adapted(work, args, keep)
        predictor.load_adapter(folder)
        started = time.process_time()
        study = study_of(work, predictor, labelled, not is_single_mask(folder))
        learning = time.process_time() - started
        started = time.process_time()
        pairs, looked = [], 0
        for item in test:
            looking = Search(study.knowledge, (item.record.height, item.record.width))
            while looking.step(predictor, partial(embed, work, predictor, item)):
                pass
            looked += looking.steps
            pairs.append((looking.suggestions(), item.truth()))
        spent = time.process_time() - started
        work.close()
    line = {"domain": domain, "seed": seed, "model": predictor.model.info.sha256[:12]}
    line |= {"labelled": objects, "adapted": told, "sides": sorted(study.knowledge)}
    line |= {"learn_cpu_seconds": round(learning, 1), "views_an_image": looked / len(test)}
    line |= {"cpu_seconds_an_image": round(spent / max(1, len(test)), 2)}
    return line | figures(pairs)


def summary(domain: str, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the seeds."""
    found: dict[str, Any] = {"domain": domain, "seeds": len(lines)}
    for name in ("precision", "recall", "cpu_seconds_an_image", "learn_cpu_seconds"):
        values = [line[name] for line in lines if line[name] is not None]
        found[name] = [round(float(np.mean(values)), 3), round(float(np.std(values)), 3)]
    return found


def figures(pairs: Sequence[tuple[Sequence[Suggestion], Sequence[Mask]]]) -> dict[str, Any]:
    """Precision and recall over all test images, at every place of the slider."""
    true = sum(len(truth) for _, truth in pairs)
    at = {}
    for least in SLIDER:
        shown = hits = 0
        for found, truth in pairs:
            kept = [one.mask for one in found if one.confidence >= least]
            shown += len(kept)
            hits += matched(kept, truth)
        precision = round(hits / shown, 3) if shown else None
        at[str(least)] = {"precision": precision, "recall": round(hits / max(1, true), 3)}
    return {"images": len(pairs), "objects": true, **at[str(SHOWN)], "at": at}


def tell(line: dict[str, Any], out: Path | None) -> None:
    """One line of JSON, kept where asked for."""
    print(json.dumps(line), flush=True)
    if out is not None:
        append_line(out, line)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every domain."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    parser.add_argument("--data", type=Path, default=Path(named) if named else None)
    parser.add_argument("--domains", nargs="+", default=["nuclei", "wbc"])
    parser.add_argument("--images", type=int, default=10, help="labelled images")
    parser.add_argument("--test", type=int, default=20, help="test images")
    parser.add_argument("--steps", type=int, default=25, help="of the adaptation")
    parser.add_argument("--refused", action="store_true", help="whatever the gate says")
    parser.add_argument("--base", action="store_true", help="without adapting")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the labelled images")
    parser.add_argument("--keep", type=Path, help="folder for the adapted versions")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    if args.data is None:
        print("name the images with --data or INFOSAM_STUDIO_DATA", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    for domain in args.domains:
        lines = []
        for seed in range(args.seeds):
            lines.append(seed_line(domain, seed, args))
            tell(lines[-1], args.out)
        tell(summary(domain, lines), args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
