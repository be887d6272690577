"""One click on a 12-megapixel image: plain segment_anything against this app, in the same run.

    python tests/benchmarks/bench_click.py [--threads 1] [--repeats 9] [--json FILE]

A click is decoding and a mask at full resolution; upstream enlarges three candidates before it
knows which one is wanted. The embedding is random, the decoder has SAM's size. Both sides take
turns, so that a busy machine slows them alike; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from bench_encode import build, machine, upstream_predictor

HEIGHT, WIDTH = 3000, 4000
CLICK = (2000, 1500)


def sides(model: str, share: float) -> dict[str, Callable[[], Any]]:
    """What is timed, by name; ``share`` of the low-resolution masks is made positive."""
    import numpy as np
    import torch

    from infosam_studio.segmentation.checkpoints import CheckpointInfo, LoadedModel
    from infosam_studio.segmentation.predictor import (
        Embedding,
        ImageIdentity,
        Predictor,
        Prompt,
    )

    sam = build(model)
    theirs = upstream_predictor(sam)
    theirs.features = torch.randn(1, 256, 64, 64)
    theirs.original_size, theirs.input_size = (HEIGHT, WIDTH), (768, 1024)
    theirs.is_image_set = True
    info = CheckpointInfo("random", "", None, "", None, 0, "", "")
    ours = Predictor(LoadedModel(sam, info, ""))
    key = ours.key(ImageIdentity("benchmark"), None)
    embedding = Embedding(key, theirs.features, (HEIGHT, WIDTH), None, (768, 1024))
    prompt = Prompt.from_clicks([(*CLICK, 1)])
    low_res = object_logits(share)

    def upstream() -> Any:
        return theirs.predict(np.array([CLICK]), np.array([1]), multimask_output=True)

    def upstream_enlarge() -> Any:
        three = torch.from_numpy(np.stack([low_res] * 3))[None]
        return (sam.postprocess_masks(three, (768, 1024), (HEIGHT, WIDTH)) > 0)[0].numpy()

    return {
        "upstream: click, three masks enlarged": upstream,
        "studio: click, best mask enlarged": lambda: ours.predict(
            embedding, prompt, multimask=True, candidates="best"
        ),
        "studio: click, three masks enlarged": lambda: ours.predict(
            embedding, prompt, multimask=True
        ),
        "studio: decode alone": lambda: ours.decode(embedding, [prompt], multimask=True),
        "upstream: enlarge three masks of an object": upstream_enlarge,
        "studio: enlarge one mask of an object": lambda: ours.enlarge(embedding, low_res),
    }


def object_logits(share: float) -> Any:
    """Low-resolution logits of a disk that covers ``share`` of the image."""
    import numpy as np

    yy, xx = np.mgrid[:256, :256]
    radius = (share * 192 * 256 / np.pi) ** 0.5
    return (radius - np.hypot(yy - 96, xx - 128)).astype(np.float32)


def measure(model: str, repeats: int, threads: int, share: float) -> dict[str, Any]:
    import torch

    from infosam_studio.annotation._cv2 import cv2

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    functions = sides(model, share)
    cpu: dict[str, list[float]] = {name: [] for name in functions}
    wall: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            began = time.process_time(), time.perf_counter()
            function()
            if turn:  # The first turn warms up.
                cpu[name].append(time.process_time() - began[0])
                wall[name].append(time.perf_counter() - began[1])
    rows = [
        {
            "what": name,
            "cpu_ms": 1000 * statistics.median(cpu[name]),
            "wall_ms": 1000 * statistics.median(wall[name]),
        }
        for name in functions
    ]
    return {"machine": machine(threads, "cpu"), "object_share": share, "results": rows}


@pytest.mark.benchmark
def test_a_click_is_four_times_quicker() -> None:
    rows = measure("mobile_sam", 5, 1, 0.05)["results"]
    assert rows[0]["cpu_ms"] >= 4 * rows[1]["cpu_ms"]


def table(report: dict[str, Any]) -> str:
    """The report as a markdown table."""
    base = report["results"][0]["cpu_ms"]
    lines = ["| what | CPU ms | wall ms | times faster than the first line |", "|---|---|---|---|"]
    for row in report["results"]:
        lines.append(
            f"| {row['what']} | {row['cpu_ms']:.0f} | {row['wall_ms']:.0f} | "
            f"{base / row['cpu_ms']:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="mobile_sam", help="whose decoder; all are alike")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--object-share", type=float, default=0.05)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report = measure(args.model, args.repeats, args.threads, args.object_share)
    print(json.dumps(report["machine"]))
    print(table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
