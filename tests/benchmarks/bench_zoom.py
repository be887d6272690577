"""What a nearer look at small objects is worth on real images as they are.

    python -m tests.benchmarks.bench_zoom [--objects 40] [--domains nuclei ...] [--json FILE]

The same test objects get the same protocol (up to eight clicks, base model) twice: from the
embedding of the whole image, and from the region that window, training and evaluation take for
an object of its size (`annotation/regions.py`). Only objects that get a region are counted; the
interval draws whole images.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infosam_studio.adaptation.evaluation import evaluate_objects
from infosam_studio.adaptation.gate import ObjectScore, clustered_interval, summary
from infosam_studio.adaptation.samples import evaluation_objects
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.predictor import Predictor
from tests.benchmarks.adaptation_study import DEVELOPMENT, REPORT, load_domain


def measure(predictor: Predictor, data: Path, name: str, most: int) -> dict[str, Any]:
    """One domain; empty where none of its objects is small."""
    size = int(predictor.sam.image_encoder.img_size)
    near, whole = load_domain(data, name, size), load_domain(data, name, 10**6)
    small = {sample.object_id for sample in near.test if sample.region_id is not None}
    chosen, _, _ = evaluation_objects([s for s in near.test if s.object_id in small], most)
    kept = {sample.object_id for sample in chosen}
    if not kept:
        return {}
    rows: dict[str, list[ObjectScore]] = {}
    for arm, domain in (("whole", whole), ("near", near)):
        samples = [sample for sample in domain.test if sample.object_id in kept]
        rows[arm] = evaluate_objects(predictor, list(domain.images.values()), samples)
    after = {score.object_id: score for score in rows["near"]}
    clicks = [one.clicks_to(0.85) - after[one.object_id].clicks_to(0.85) for one in rows["whole"]]
    images = np.array([one.image_id for one in rows["whole"]])
    interval = clustered_interval(np.array(clicks, float), images)
    return {
        "objects": len(kept),
        "images": len(set(images.tolist())),
        "share_small": round(len(small) / len(near.test), 3),
        "saved": round(float(np.mean(clicks)), 2),
        "interval": [round(edge, 2) for edge in interval],
        **{arm: summary(scores) for arm, scores in rows.items()},
    }


def table(lines: dict[str, dict[str, Any]]) -> str:
    """All domains, as Markdown."""
    rows = [
        "| domain | small objects | IoU@1 | IoU@3 | IoU@8 | box | clicks to 0.85 | saved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, line in lines.items():
        if not line:
            continue
        pairs = [
            (arm["miou_at"][0], arm["miou_at"][2], arm["miou_at"][7], arm["box_miou"])
            for arm in (line["whole"], line["near"])
        ]
        told = [f"{one:.2f} → {two:.2f}" for one, two in zip(*pairs, strict=True)]
        clicks = f"{line['whole']['noc85']:.1f} → {line['near']['noc85']:.1f}"
        low, high = line["interval"]
        rows.append(
            f"| {name.replace('_', ' ')} | {line['share_small']:.0%} | {' | '.join(told)} | "
            f"{clicks} | {line['saved']:.1f} ({low:.1f} to {high:.1f}) |"
        )
    return "\n".join(rows) + "\n"


def main() -> int:
    """Measure and print."""
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    work = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    work.add_argument(
        "--data", type=Path, default=Path(named) if named else None, required=not named
    )
    work.add_argument("--domains", nargs="+", default=[*DEVELOPMENT, *REPORT])
    work.add_argument("--model", default="starter")
    work.add_argument("--objects", type=int, default=40, help="of each domain at most")
    work.add_argument("--threads", type=int, default=1)
    work.add_argument("--json", type=Path)
    args = work.parse_args()
    torch.set_num_threads(args.threads)
    predictor = Predictor(load_checkpoint(args.model), precision="auto")
    lines = {}
    for name in args.domains:
        lines[name] = measure(predictor, args.data, name, args.objects)
        print(name, lines[name].get("objects", 0), flush=True)
    print(table(lines))
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
