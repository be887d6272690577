"""What one click does to a mask that is nearly right: the answer of the window against plain SAM.

    INFOSAM_STUDIO_DATA=FOLDER python tests/benchmarks/bench_refine.py [--images 3] [--json FILE]

True masks of real images lose their right third, or gain a disc at their right edge. The
protocol's next click is then given on top of the spoilt mask, as in "refine this object": once as
SAM takes it (mask logits and the click), once as the window does (`workers_correcting`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.clicks import next_click
from infosam_studio.segmentation.predictor import Embedding, ImageIdentity, Predictor
from infosam_studio.ui import crops
from infosam_studio.ui.inference_messages import Ask
from infosam_studio.ui.workers_correcting import corrected_candidates
from infosam_studio.ui.workers_prompts import to_prompt

DOMAINS = ("nuclei", "coffee_leaf", "skin_lesion", "wbc", "ultrasound")
PER_IMAGE, SMALLEST = 3, 150
Mask = NDArray[np.bool_]


def spoilt(target: Mask) -> Iterator[tuple[str, Mask]]:
    """The mask with a part missing, and with a part too much."""
    ys, xs = np.nonzero(target)
    missing = target.copy()
    missing[:, int(xs.min() + 0.7 * (xs.max() - xs.min())) :] = False
    yield "part missing", missing
    more = target.astype(np.uint8)
    radius = int(max(4, 0.35 * np.sqrt(target.sum())))
    edge = int(xs.max()), int(np.median(ys[xs == xs.max()]))
    cv2.circle(more, edge, radius, 1, -1)
    yield "part too much", more.astype(bool)


def iou(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / max(1, (first | second).sum()))


def one_click(
    predictor: Predictor, embedding: Embedding, target: Mask, start: Mask
) -> dict[str, float] | None:
    """IoU before the click and after it, both ways; None where nothing is wrong."""
    click = next_click(target, start)
    if click is None or not start.any():
        return None
    crop = crops.from_mask(start)
    ask = Ask(1, 1, (click,), None, False, mask=crop, keep=True)
    prompt = to_prompt(ask, None, predictor, embedding)
    plain = predictor.predict(embedding, prompt, multimask=False).masks[0]
    found, _, best = corrected_candidates(ask, predictor, embedding, prompt)
    made = crops.to_mask(found[best].crop, *target.shape)
    return {"before": iou(start, target), "SAM": iou(plain, target), "studio": iou(made, target)}


def measure(data: Path, predictor: Predictor, images: int) -> dict[str, list[dict[str, float]]]:
    random = np.random.default_rng(0)
    rows: dict[str, list[dict[str, float]]] = {}
    for domain in DOMAINS:
        meta = json.loads((data / domain / "META.json").read_text(encoding="utf-8"))
        for item in [one for one in meta["items"] if one["split"] == "test"][:images]:
            image = np.asarray(Image.open(data / domain / item["image"]).convert("RGB"))
            index = np.asarray(Image.open(data / domain / item["mask"]))
            embedding = predictor.encode(image, ImageIdentity(domain + item["name"]))
            values = [v for v in np.unique(index) if v and (index == v).sum() > SMALLEST]
            for value in random.permutation(values)[:PER_IMAGE]:
                for kind, start in spoilt(index == value):
                    found = one_click(predictor, embedding, index == value, start)
                    if found is not None:
                        rows.setdefault(f"{domain}, {kind}", []).append(found)
    return rows


def summary(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Means per domain and kind, and over all."""
    groups = {**rows, "all": [row for group in rows.values() for row in group]}
    return {
        name: {"n": len(group)}
        | {key: round(float(np.mean([row[key] for row in group])), 3) for key in group[0]}
        for name, group in groups.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=3, help="images per domain")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    predictor = Predictor(load_checkpoint("starter"))
    report = summary(measure(Path(os.environ["INFOSAM_STUDIO_DATA"]), predictor, args.images))
    print("| masks | n | before | SAM | studio |\n|---|---|---|---|---|")
    for name, row in report.items():
        print(f"| {name} | {row['n']} | {row['before']} | {row['SAM']} | {row['studio']} |")
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
