"""Scores of a starter on labelled domains, with the evaluation protocol of the whole project.

    python -m infosam_studio.adaptation.pretraining.report --data DIR [--weights FILE] [--json]

DIR holds one folder per domain (``images``, ``masks``, ``META.json`` with a ``split`` per item).
IoU is measured at each image's own resolution. Every object is clicked on the embedding of its
whole image; with ``--close`` small ones get the nearer look that the app gives them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from infosam_studio.adaptation.pretraining.pool import read_pair
from infosam_studio.annotation import masks
from infosam_studio.annotation.regions import region_around
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.clicks import replay_many
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import ImageIdentity, Region
from infosam_studio.segmentation.starter import build_starter

SMALLEST = 20
NETWORKS = ("cracks", "roads")
MAX_OBJECTS = 60
CLICKS = 8


@dataclass(frozen=True)
class DomainScore:
    """Mean IoU over a domain's objects: after each click, from a box, best of the first three."""

    objects: int
    skipped: int
    miou_at: list[float]
    box: float
    best_first: float


def score_domain(
    predictor: Predictor,
    folder: Path,
    split: str = "test",
    most: int = MAX_OBJECTS,
    *,
    close: bool = False,
) -> DomainScore:
    """Replay clicks on at most ``most`` objects, spread evenly over the images."""
    items = json.loads((folder / "META.json").read_text())["items"]
    items = [item for item in items if item["split"] == split]
    picked, skipped = picked_objects(folder, items, most)
    rows = []
    for number, labels in picked.items():
        image, index = read_pair(folder / items[number]["image"], folder / items[number]["mask"])
        identity = ImageIdentity(f"{folder.name}-{number}")
        looks: dict[Region | None, list[NDArray[np.bool_]]] = {}
        for mask in (index == k for k in labels):
            looks.setdefault(_look(mask, predictor) if close else None, []).append(mask)
        for region, targets in looks.items():
            embedding = predictor.encode(image, identity, region=region)
            rows += replay_many(predictor, embedding, targets, clicks=CLICKS)
    table = np.array([[*row.ious, row.box_iou or 0.0, row.best_ious_first] for row in rows])
    mean = table.mean(axis=0)
    return DomainScore(
        len(rows), skipped, [float(v) for v in mean[:CLICKS]], float(mean[-2]), float(mean[-1])
    )


def _look(mask: NDArray[np.bool_], predictor: Predictor) -> Region | None:
    x, y, width, height = masks.bbox(masks.encode(mask))
    size = int(predictor.sam.image_encoder.img_size)
    return region_around((x, y, x + width, y + height), mask.shape[1], mask.shape[0], size)


def picked_objects(
    folder: Path, items: list[dict[str, Any]], most: int
) -> tuple[dict[int, list[int]], int]:
    """Labels to score per image: one more of every image in turn until there are enough."""
    rng = np.random.default_rng(0)
    waiting: dict[int, list[int]] = {}
    skipped = 0
    for number, item in enumerate(items):
        index = _index_map(folder / item["mask"])
        labels, areas = np.unique(index[index > 0], return_counts=True)
        skipped += int((areas < SMALLEST).sum())
        waiting[number] = [int(k) for k in rng.permutation(labels[areas >= SMALLEST])]
    picked: dict[int, list[int]] = {}
    while any(waiting.values()) and sum(map(len, picked.values())) < most:
        for number, labels_left in waiting.items():
            if labels_left and sum(map(len, picked.values())) < most:
                picked.setdefault(number, []).append(labels_left.pop())
    return picked, skipped


def _index_map(path: Path) -> NDArray[np.uint16]:
    index = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if index is None:
        raise ValueError(f"{path} cannot be read")
    return index.astype(np.uint16)


def report(
    weights: Path | None, data: Path, split: str, most: int, *, close: bool = False
) -> dict[str, Any]:
    """Scores of every domain below ``data`` and the mean over the object domains."""
    predictor = Predictor(LoadedModel.from_sam(build_starter(weights)))
    scores: dict[str, Any] = {}
    for folder in sorted(data.iterdir()):
        if not (folder / "META.json").is_file() or not (folder / "masks").is_dir():
            continue
        scores[folder.name] = vars(score_domain(predictor, folder, split, most, close=close))
        print(_line(folder.name, scores[folder.name]), file=sys.stderr, flush=True)
    of_objects = [s for name, s in scores.items() if name not in NETWORKS]
    mean = {
        "objects": sum(s["objects"] for s in of_objects),
        "skipped": sum(s["skipped"] for s in of_objects),
        "miou_at": [float(v) for v in np.mean([s["miou_at"] for s in of_objects], axis=0)],
        "box": float(np.mean([s["box"] for s in of_objects])),
        "best_first": float(np.mean([s["best_first"] for s in of_objects])),
    }
    print(_line("mean of objects", mean), file=sys.stderr, flush=True)
    return {"domains": scores, "mean": mean}


def _line(name: str, score: dict[str, Any]) -> str:
    at = score["miou_at"]
    return (
        f"{name:16s} n {score['objects']:3d}  @1 {at[0]:.3f} (best of 3 {score['best_first']:.3f})"
        f"  @2 {at[1]:.3f}  @3 {at[2]:.3f}  @5 {at[4]:.3f}  @8 {at[7]:.3f}  box {score['box']:.3f}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Score a starter on labelled domains.")
    parser.add_argument("--data", type=Path, required=True, help="folder of domains")
    parser.add_argument("--weights", type=Path, help="safetensors; default: the released starter")
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-objects", type=int, default=MAX_OBJECTS, help="per domain")
    parser.add_argument("--close", action="store_true", help="look closer at small objects")
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    weights = arguments.weights or Path("resources/models/starter.safetensors")
    scores = report(
        weights, arguments.data, arguments.split, arguments.max_objects, close=arguments.close
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
