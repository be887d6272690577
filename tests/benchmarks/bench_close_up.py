"""What looking closer is worth: IoU of one click on small objects of large real images.

    INFOSAM_STUDIO_DATA=FOLDER python tests/benchmarks/bench_close_up.py [--model M] [--json FILE]

Real images are laid side by side until the whole is so large that their objects come out under
32 pixels at the size the model sees (a microscope's slide scan, a drone's survey). Every object
gets the protocol's first click, answered three times: from the embedding of the whole image, from
the region that ``predict --region auto`` takes for a lone click, and from the one the window takes
when the person has zoomed in on the object. Figures are means of the IoU of the candidate with the
best predicted IoU, the one that is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infosam_studio.annotation.regions import Region, choose_region, region_of_clicks
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.clicks import next_click
from infosam_studio.segmentation.predictor import ImageIdentity, Predictor, Prompt

SMALL = 32.0  # pixels of the model's input
BANDS = ((0, 8), (8, 16), (16, 32))
SMALLEST_AREA = 20
# What fills the window after "zoom to object": `CanvasView.fit_rect`.
WINDOW_SHARE = 0.6
DOMAINS = {"nuclei": 2048, "coffee_leaf": 3072, "crop_weed": 4096, "steel_defects": 2000}


@dataclass
class Scene:
    """Several real images side by side; ``objects`` holds (box, index in ``labels``)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    boxes: dict[int, tuple[int, int, int, int]]


@dataclass
class Row:
    """One object: its longer side as the model sees it in the whole image, and the IoUs."""

    domain: str
    side: float
    ious: dict[str, float] = field(default_factory=dict)


def scenes(folder: Path, side: int, seed: int) -> Iterator[Scene]:
    """Test images of one domain laid in rows until about ``side`` x ``side`` pixels are full."""
    meta = json.loads((folder / "META.json").read_text(encoding="utf-8"))
    names = sorted(item["name"] for item in meta["items"] if item["split"] == "test")
    random = np.random.default_rng(seed)
    order = [names[index] for index in random.permutation(len(names))]
    pixels = np.zeros((side, side, 3), np.uint8)
    labels = np.zeros((side, side), np.int32)
    x = y = row = count = 0
    position = 0
    while y < side:
        image, index = _read(folder, order[position % len(order)])
        position += 1
        h, w = min(index.shape[0], side - y), min(index.shape[1], side - x)
        part = index[:h, :w].astype(np.int32)
        labels[y : y + h, x : x + w] = np.where(part > 0, part + count, 0)
        pixels[y : y + h, x : x + w] = image[:h, :w]
        count += int(part.max())
        row, x = max(row, h), x + w
        if x >= side:
            x, y, row = 0, y + row, 0
    yield Scene(pixels, labels, _boxes(labels))


def _read(folder: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    path = next((folder / "images").glob(f"{name}.*"))
    image = np.asarray(Image.open(path).convert("RGB"))
    index = np.asarray(Image.open(folder / "masks" / f"{name}.png")).astype(np.int32)
    return image, index


def _boxes(labels: NDArray[np.int32]) -> dict[int, tuple[int, int, int, int]]:
    """The tight box (x0, y0, x1, y1), last pixel included, of every large enough object."""
    found = {}
    ys, xs = np.nonzero(labels)
    values = labels[ys, xs]
    order = np.argsort(values, kind="stable")
    cuts = np.flatnonzero(np.diff(values[order])) + 1
    for part in np.split(order, cuts):
        if len(part) >= SMALLEST_AREA:
            box = (xs[part].min(), ys[part].min(), xs[part].max(), ys[part].max())
            found[int(values[part[0]])] = tuple(int(value) for value in box)
    return found  # type: ignore[return-value]


def regions(
    box: Sequence[int], click: Sequence[int], size: tuple[int, int], input_size: int
) -> dict[str, Region | None]:
    """The three choices for one object."""
    width, height = size
    x, y = click[0], click[1]
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    reach = (max(box[2] - box[0], box[3] - box[1]) + 1) / WINDOW_SHARE / 2
    seen = (middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach)
    return {
        "whole": None,
        "auto": region_of_clicks((x, y, x, y), width, height, input_size),
        "zoomed": choose_region(seen, width, height, input_size),
    }


def measure(predictor: Predictor, domain: str, scene: Scene, most: int, seed: int) -> list[Row]:
    """One click on up to ``most`` small objects of a scene."""
    height, width = scene.labels.shape
    size = int(predictor.sam.image_encoder.img_size)
    scale = size / max(height, width)
    small = {
        key: box
        for key, box in scene.boxes.items()
        if (max(box[2] - box[0], box[3] - box[1]) + 1) * scale < SMALL
    }
    keys = sorted(small)
    chosen = np.random.default_rng(seed).permutation(len(keys))[:most]
    rows = []
    for index in chosen:
        key, box = keys[index], small[keys[index]]
        target = scene.labels == key
        click = next_click(target, np.zeros_like(target))
        assert click is not None
        row = Row(domain, (max(box[2] - box[0], box[3] - box[1]) + 1) * scale)
        for name, region in regions(box, click, (width, height), size).items():
            row.ious[name] = one_click(predictor, scene, f"{domain} {seed}", region, click, target)
        rows.append(row)
    return rows


def one_click(
    predictor: Predictor,
    scene: Scene,
    name: str,
    region: Region | None,
    click: tuple[int, int, int],
    target: NDArray[np.bool_],
) -> float:
    """IoU of the mask that is shown after one click."""
    embedding = predictor.encode(scene.pixels, ImageIdentity(name), region=region)
    prompt = Prompt.from_clicks([click])
    answer = predictor.predict(embedding, prompt, multimask=True, candidates="best")
    mask = answer.masks[0]
    return float((mask & target).sum() / max(1, (mask | target).sum()))


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means per band of size, per domain and over all."""
    groups = {
        f"{low} to {high} px": [r for r in rows if low <= r.side < high] for low, high in BANDS
    }
    for domain in dict.fromkeys(row.domain for row in rows):
        groups[domain] = [row for row in rows if row.domain == domain]
    groups["all under 32 px"] = list(rows)
    table = []
    for name, group in groups.items():
        if group:
            means = {key: float(np.mean([r.ious[key] for r in group])) for key in group[0].ious}
            gains = np.array([r.ious["auto"] - r.ious["whole"] for r in group])
            low, high = interval(gains)
            entry = {"what": name, "objects": len(group), **means, "gain": float(gains.mean())}
            table.append({**entry, "gain_low": low, "gain_high": high})
    return table


def interval(values: NDArray[np.float64], rounds: int = 2000) -> tuple[float, float]:
    """A 90 % bootstrap interval of the mean."""
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (rounds, len(values)))].mean(axis=1)
    return float(np.quantile(means, 0.05)), float(np.quantile(means, 0.95))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--objects", type=int, default=60, help="most objects per domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    data = Path(os.environ["INFOSAM_STUDIO_DATA"])
    predictor = Predictor(load_checkpoint(args.model))
    started, rows = time.perf_counter(), []
    for domain, side in DOMAINS.items():
        for scene in scenes(data / domain, side, args.seed):
            rows += measure(predictor, domain, scene, args.objects, args.seed)
    table = summary(rows)
    print("| objects | n | whole image | auto | zoomed in | auto gains (90 %) |")
    print("|---|---|---|---|---|---|")
    for row in table:
        print(
            f"| {row['what']} | {row['objects']} | {row['whole']:.3f} | {row['auto']:.3f} | "
            f"{row['zoomed']:.3f} | {row['gain']:+.3f} ({row['gain_low']:+.3f} to "
            f"{row['gain_high']:+.3f}) |"
        )
    print(f"{len(rows)} objects, {time.perf_counter() - started:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
