"""OpenCV's GrabCut under the same click protocol, as a baseline that needs no training.

python -m infosam_studio.adaptation.pretraining.grabcut --data DIR [--max-objects N]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from infosam_studio.adaptation.pretraining.pool import read_pair
from infosam_studio.adaptation.pretraining.report import NETWORKS, picked_objects
from infosam_studio.segmentation.clicks import Click, mask_iou, next_click

LONGEST = 512
MARGIN = 0.15
ITERATIONS = 3


def segment(image: NDArray[np.uint8], clicks: list[Click]) -> NDArray[np.bool_]:
    """GrabCut of an image [H,W,3] seeded by clicks, in a box around the positive ones."""
    h, w = image.shape[:2]
    seeds = np.full((h, w), cv2.GC_BGD, np.uint8)
    positive = np.array([(x, y) for x, y, label in clicks if label == 1])
    reach = MARGIN * max(h, w)
    x0, y0 = np.maximum(positive.min(axis=0) - reach, 0).astype(int)
    x1, y1 = (positive.max(axis=0) + reach).astype(int)
    seeds[y0 : y1 + 1, x0 : x1 + 1] = cv2.GC_PR_FGD
    radius = max(1, round(0.006 * max(h, w)))
    for x, y, label in clicks:
        cv2.circle(seeds, (x, y), radius, cv2.GC_FGD if label else cv2.GC_BGD, -1)
    ground, figure = np.zeros((1, 65)), np.zeros((1, 65))
    unused = (0, 0, 1, 1)
    how = cv2.GC_INIT_WITH_MASK
    with contextlib.suppress(cv2.error):  # too few pixels for its colour models
        cv2.grabCut(image, seeds, unused, ground, figure, ITERATIONS, how)
    return np.isin(seeds, (cv2.GC_FGD, cv2.GC_PR_FGD))


def replay_grabcut(image: NDArray[np.uint8], target: NDArray[np.bool_], clicks: int) -> list[float]:
    """IoU after each click; the image is used at no more than 512 px."""
    scale = min(1.0, LONGEST / max(target.shape))
    size = (round(target.shape[1] * scale), round(target.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    small = cv2.resize(target.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    mask = np.zeros(small.shape, np.bool_)
    made: list[Click] = []
    ious: list[float] = []
    for _ in range(clicks):
        click = next_click(small, mask)
        if click is not None:
            made.append(click)
            mask = segment(image, made)
        ious.append(mask_iou(mask, small))
    return ious


def main() -> None:
    """Command line: mean IoU after each of three clicks, per object domain."""
    parser = argparse.ArgumentParser(description="Score GrabCut on labelled domains.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-objects", type=int, default=20, help="per domain")
    parser.add_argument("--clicks", type=int, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    for folder in sorted(arguments.data.iterdir()):
        if folder.name in NETWORKS or not (folder / "META.json").is_file():
            continue
        items = json.loads((folder / "META.json").read_text())
        if "items" not in items:
            continue
        items = [item for item in items["items"] if item["split"] == arguments.split]
        rows = []
        for number, labels in picked_objects(folder, items, arguments.max_objects)[0].items():
            image, index = read_pair(
                folder / items[number]["image"], folder / items[number]["mask"]
            )
            rows += [replay_grabcut(image, index == k, arguments.clicks) for k in labels]
        mean = np.mean(rows, axis=0)
        shown = "  ".join(f"@{k + 1} {value:.3f}" for k, value in enumerate(mean))
        print(f"{folder.name:16s} n {len(rows):3d}  {shown}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
