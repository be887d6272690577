"""Encoding one image: plain segment_anything against this app, in the same run.

    python tests/benchmarks/bench_encode.py [--model vit_b] [--threads 2] [--repeats 3]
                                            [--device cpu] [--emulated] [--json FILE]

Every variant runs in a process of its own, so its peak memory is its own. Weights are random (the
real ones need a download and change no timing); the baseline is segment_anything's own
``SamPredictor`` in fp32. bf16 is left out where the processor only emulates it (``--emulated``
takes it along, for the masks' sake). CPU seconds are those of all threads together, which a busy
machine disturbs less than wall seconds. Embeddings and the masks decoded from them are compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

VARIANTS = ("upstream fp32", "studio fp32", "studio bf16")
GOALS = {"bf16": 3.0, "fp32": 1.3}
PROMPTS = 16


def picture(height: int = 1024, width: int = 1024) -> Any:
    """A deterministic picture with shapes, gradients and noise, uint8 [H,W,3]."""
    import numpy as np

    yy, xx = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    red = 120 + 90 * np.sin(xx / 41) * np.cos(yy / 57)
    green = 255 * xx / width
    blue = 255 * yy / height
    image = np.stack([red, green, blue], -1)
    for _ in range(30):
        y, x, r = rng.integers(0, height), rng.integers(0, width), rng.integers(20, 120)
        image[(yy - y) ** 2 + (xx - x) ** 2 < r * r] = rng.integers(0, 256, 3)
    return np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)


def build(model: str) -> Any:
    """The architecture with random weights; position biases too, which start at zero."""
    import torch

    from infosam_studio.segmentation.architectures import BUILDERS

    torch.manual_seed(0)
    sam = BUILDERS[model]()
    for name, value in sam.named_parameters():
        if "rel_pos" in name or "pos_embed" in name:
            torch.nn.init.normal_(value, 0, 0.05)
    return sam.eval()


def upstream_predictor(sam: Any) -> Any:
    """segment_anything's predictor; torchvision's two functions come from Pillow."""
    from PIL import Image

    from infosam_studio.segmentation.upstream import segment_anything_modules

    segment_anything_modules()
    functional: Any = ModuleType("torchvision.transforms.functional")
    functional.resize = lambda image, size: image.resize(size[::-1], Image.Resampling.BILINEAR)
    functional.to_pil_image = Image.fromarray
    for name in ("torchvision", "torchvision.transforms"):
        sys.modules[name] = ModuleType(name)
    sys.modules[functional.__name__] = functional
    return importlib.import_module("segment_anything.predictor").SamPredictor(sam)


def encoder_of(variant: str, sam: Any, device: str) -> Any:
    """A function from picture to embedding [1,256,h,w]."""
    from infosam_studio.segmentation.checkpoints import CheckpointInfo, LoadedModel
    from infosam_studio.segmentation.predictor import ImageIdentity, Predictor

    if variant == "upstream fp32":
        theirs = upstream_predictor(sam.to(device))

        def encode(image: Any) -> Any:
            theirs.set_image(image)
            return theirs.features

        return encode
    info = CheckpointInfo("random", "", None, "", None, 0, "", "")
    precision = variant.split()[1]
    ours = Predictor(LoadedModel(sam, info, ""), device=device, precision=precision, memory_bytes=0)
    return lambda image: ours.encode(image, ImageIdentity("benchmark")).features


def peak_rss_mb() -> float:
    """The most memory this process ever held."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def run_child(variant: str, model: str, repeats: int, device: str, threads: int, out: str) -> None:
    """One variant: encode once to warm up, then ``repeats`` times; prints one JSON line."""
    import torch

    torch.set_num_threads(threads)
    image = picture()
    sam = build(model)
    encode = encoder_of(variant, sam, device)
    before = peak_rss_mb()
    features = encode(image)
    cpu, wall = [], []
    for _ in range(repeats):
        synchronise(device)
        began = time.process_time(), time.perf_counter()
        features = encode(image)
        synchronise(device)
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    torch.save(features.float().cpu(), out)
    peak = peak_rss_mb()
    on_gpu = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    result = {
        "variant": variant,
        "cpu_s": statistics.median(cpu),
        "wall_s": statistics.median(wall),
        "peak_rss_mb": peak,
        "loaded_rss_mb": before,
        "peak_gpu_mb": on_gpu,
    }
    print(json.dumps(result))


@pytest.mark.benchmark
def test_an_encode_is_quick_small_and_the_same() -> None:
    """The goals of ViT-B on two cores."""
    variants = variants_here("cpu", emulated=False)
    report = measure("vit_b", 2, "cpu", 2, variants)
    upstream, best = report["results"][0], report["results"][-1]
    assert upstream["wall_s"] / best["wall_s"] >= GOALS[variants[-1].split()[1]]
    assert best["peak_rss_mb"] <= 0.6 * upstream["peak_rss_mb"]
    assert best["mask_iou_mean"] >= 0.99


def synchronise(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def agreement(model: str, one: Path, two: Path) -> dict[str, float]:
    """How far two embeddings, and the masks decoded from them, are apart."""
    import numpy as np
    import torch

    from infosam_studio.segmentation.checkpoints import CheckpointInfo, LoadedModel
    from infosam_studio.segmentation.clicks import mask_iou
    from infosam_studio.segmentation.predictor import (
        Embedding,
        ImageIdentity,
        Predictor,
        Prompt,
    )

    sam = build(model)
    info = CheckpointInfo("random", "", None, "", None, 0, "", "")
    predictor = Predictor(LoadedModel(sam, info, ""))
    features = [torch.load(path, weights_only=True) for path in (one, two)]
    size = int(sam.image_encoder.img_size)
    rng = np.random.default_rng(2)
    prompts = [Prompt.from_clicks([(*rng.integers(0, 1024, 2), 1)]) for _ in range(PROMPTS)]
    masks = []
    for values in features:
        key = predictor.key(ImageIdentity("benchmark"), None)
        embedding = Embedding(key, values, (1024, 1024), None, (size, size))
        answers = predictor.predict_batch(embedding, prompts, multimask=False)
        masks.append([answer.masks[0] for answer in answers])
    ious = [mask_iou(a, b) for a, b in zip(*masks, strict=True)]
    apart = (features[0] - features[1]).abs()
    return {
        "embedding_mean_difference": float(apart.mean() / features[0].abs().mean()),
        "mask_iou_mean": float(np.mean(ious)),
        "mask_iou_min": float(np.min(ious)),
    }


def machine(threads: int, device: str) -> dict[str, Any]:
    import torch

    from infosam_studio.commands.doctor import processor_features
    from infosam_studio.segmentation.fast_attention import best_precision

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    return {
        "processor": torch.cuda.get_device_name() if device == "cuda" else name,
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "best_precision": best_precision(device),
        "features": processor_features(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def measure(
    model: str, repeats: int, device: str, threads: int, variants: Sequence[str]
) -> dict[str, Any]:
    """These variants, one process each, and how well they agree with the first."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.pt" for number in range(len(variants))]
        for variant, file in zip(variants, files, strict=True):
            command = [sys.executable, __file__, "--child", variant, "--model", model]
            command += ["--repeats", str(repeats), "--device", device]
            command += ["--threads", str(threads), "--out", str(file)]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            done = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            )
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(results[-1], file=sys.stderr, flush=True)
        for result, file in zip(results[1:], files[1:], strict=True):
            result |= agreement(model, files[0], file)
    return {"model": model, "machine": machine(threads, device), "results": results}


def variants_here(device: str, emulated: bool) -> tuple[str, ...]:
    """What is worth timing on this device."""
    from infosam_studio.segmentation.fast_attention import best_precision

    return VARIANTS if emulated or best_precision(device) == "bf16" else VARIANTS[:2]


def table(report: dict[str, Any]) -> str:
    """The report as a markdown table."""
    base = report["results"][0]
    lines = [
        "| variant | CPU s | wall s | times faster (wall) | peak memory MB | share of upstream |"
        " mask IoU to upstream, mean and worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["results"]:
        faster = base["wall_s"] / row["wall_s"]
        share = row["peak_rss_mb"] / base["peak_rss_mb"]
        iou = (
            f"{row['mask_iou_mean']:.4f}, {row['mask_iou_min']:.4f}"
            if "mask_iou_mean" in row
            else ""
        )
        lines.append(
            f"| {row['variant']} | {row['cpu_s']:.2f} | {row['wall_s']:.2f} | {faster:.2f} | "
            f"{row['peak_rss_mb']:.0f} | {share:.0%} | {iou} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="vit_b")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--emulated", action="store_true", help="bf16 without hardware for it too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(args.child, args.model, args.repeats, args.device, args.threads, args.out)
        return
    variants = variants_here(args.device, args.emulated)
    report = measure(args.model, args.repeats, args.device, args.threads, variants)
    print(json.dumps(report["machine"]))
    print(table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
