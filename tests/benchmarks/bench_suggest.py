"""How good suggestions are after a few labelled images: precision and recall at IoU 0.5.

    python -m tests.benchmarks.bench_suggest [--domains nuclei wbc] [--images 10]

The first training images of a domain are labelled completely with their true masks, the model is
adapted by the app's own `run_adapt` (instant), and objects are suggested on the test images with
the version that the gate let through (else the base), as Suggest masks does in the window. A
suggestion is right where it has IoU 0.5 or more with a true object that no better one took. One
JSON line per domain; ``confidence`` is where the slider stands at first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
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
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.knowledge import Accepted, Knowledge, learn
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.suggesting import Suggestion, suggest
from tests.benchmarks.domain_project import DomainProject, Mask, append_line

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


def adapted(work: DomainProject, args: argparse.Namespace) -> tuple[AdapterFolder | None, Any]:
    """One instant run through the real gate: the version to use, and how it ended."""
    data = collect(work.project, seed=0)
    epochs = max(1, round(args.steps / -(-len(data.train) // BATCH)))
    options = AdaptOptions(
        work.project.folder, model=args.model, speed="instant", epochs=epochs, threads=1
    )
    result = run_adapt(options)
    told = {key: result.to_json()[key] for key in ("promoted", "steps", "seconds")}
    told |= {"before": result.before.get("noc85"), "after": result.after.get("noc85")}
    return (AdapterFolder.read(result.path) if result.promoted else None), told


def knowledge_of(
    work: DomainProject, predictor: Predictor, labelled: Sequence[Any], single: bool
) -> Knowledge:
    """What the labelled images teach."""
    images = []
    for item in labelled:
        truth = item.truth()
        embedding = work.embedding(predictor, item.record)
        images.append(Accepted(embedding, truth, [1] * len(truth), complete=True))
    return learn(predictor, images, multimask=not single)


def domain_line(domain: str, args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one domain."""
    cache = DiskCache(args.cache) if args.cache else None
    predictor = Predictor(load_checkpoint(args.model), disk=cache, precision="auto")
    with tempfile.TemporaryDirectory(prefix="suggest.") as place:
        work = DomainProject(args.data, domain, Path(place) / "project", part="all")
        train = [one for one in work.items if work.split[one.record.id] == "train"]
        test = [one for one in work.items if work.split[one.record.id] == "test"]
        labelled, test = train[: args.images], test[: args.test]
        objects = sum(work.label_truth(item) for item in labelled)
        work.project.ensure_split()
        folder, told = (None, {}) if args.base else adapted(work, args)
        predictor.load_adapter(folder)
        started = time.process_time()
        known = knowledge_of(work, predictor, labelled, is_single_mask(folder))
        learning = time.process_time() - started
        started = time.process_time()
        pairs = []
        for item in test:
            found = suggest(predictor, work.embedding(predictor, item.record), known)
            pairs.append((found, item.truth()))
        spent = time.process_time() - started
        work.close()
    line = {"domain": domain, "model": predictor.model.info.sha256[:12], "labelled": objects}
    line |= {"adapted": told, "learn_cpu_seconds": round(learning, 1)}
    line |= {"cpu_seconds_an_image": round(spent / max(1, len(test)), 2)}
    return line | figures(pairs)


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


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every domain."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    parser.add_argument("--data", type=Path, default=Path(named) if named else None)
    parser.add_argument("--domains", nargs="+", default=["nuclei", "wbc"])
    parser.add_argument("--images", type=int, default=10, help="labelled images")
    parser.add_argument("--test", type=int, default=20, help="test images")
    parser.add_argument("--steps", type=int, default=25, help="of the adaptation")
    parser.add_argument("--base", action="store_true", help="without adapting")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    if args.data is None:
        print("name the images with --data or INFOSAM_STUDIO_DATA", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    for domain in args.domains:
        line = domain_line(domain, args)
        print(json.dumps(line), flush=True)
        if args.out is not None:
            append_line(args.out, line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
