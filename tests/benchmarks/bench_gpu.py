"""What the models cost on an NVIDIA GPU: encodes, clicks, adaptation, peak memory.

    python tests/benchmarks/bench_gpu.py [--models vit_b vit_l vit_h] [--repeats 5]
                                         [--no-adapt] [--json FILE]

Weights are random. Encodes run against plain segment_anything as in ``bench_encode``; a click is
decoding and a full-resolution mask of a 12-megapixel image; adaptation is the app's own, on its
samples, every measurement in a process of its own. The aims are ViT-B adapted fully within 8 GB
and ViT-H instantly within 12 GB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import bench_encode
from bench_click import CLICK, HEIGHT, WIDTH

MODELS = ("mobile_sam", "vit_b", "vit_l", "vit_h")
# Architecture, speed of adaptation, and the memory in GB it should stay within.
ADAPTATIONS = (("vit_b", "full", 8.0), ("vit_h", "instant", 12.0))
NEEDS_CUDA = (
    "bench_gpu needs an NVIDIA GPU that torch can use (CUDA), and this machine has none: run it "
    "where there is one, or bench_encode and bench_click for the processor."
)


def encodes(model: str, repeats: int, device: str) -> list[dict[str, Any]]:
    """Milliseconds and peak memory of an encode, plain and ours."""
    variants = bench_encode.variants_here(device, emulated=False)
    report = bench_encode.measure(model, repeats, device, 2, variants)
    return [
        {
            "what": f"{model}: encode, {row['variant']}",
            "ms": 1000 * row["wall_s"],
            "peak_mb": row["peak_gpu_mb"] or row["peak_rss_mb"],
            "mask_iou": row.get("mask_iou_mean"),
        }
        for row in report["results"]
    ]


def clicks(model: str, repeats: int, device: str) -> dict[str, Any]:
    """Decoding and one mask at 12 megapixels, with everything on the device."""
    import torch

    from infosam_studio.segmentation.checkpoints import CheckpointInfo, LoadedModel
    from infosam_studio.segmentation.predictor import Embedding, ImageIdentity, Predictor, Prompt

    info = CheckpointInfo("random", "", None, "", None, 0, "", "")
    ours = Predictor(LoadedModel(bench_encode.build(model), info, ""), device=device)
    features = torch.randn(1, 256, 64, 64, device=device)
    key = ours.key(ImageIdentity("benchmark"), None)
    embedding = Embedding(key, features, (HEIGHT, WIDTH), None, (768, 1024))
    prompt = Prompt.from_clicks([(*CLICK, 1)])
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        ours.predict(embedding, prompt, multimask=True, candidates="best")
        bench_encode.synchronise(device)
        times.append(time.perf_counter() - began)
    return {"what": f"{model}: click", "ms": 1000 * statistics.median(times[1:])}


def adapt(model: str, speed: str, device: str, minutes: float) -> dict[str, Any]:
    """One adaptation on the samples of the app (in this process): result with its peak memory."""
    from infosam_studio.adaptation.adapt import run_adapt
    from infosam_studio.adaptation.plan import AdaptOptions
    from infosam_studio.annotation.project import Project
    from infosam_studio.interchange.registry import importer
    from infosam_studio.resource_files import resource_path

    with tempfile.TemporaryDirectory() as name:
        import torch

        folder, weights = Path(name) / "bench", Path(name) / "random.pth"
        torch.save(bench_encode.build(model).state_dict(), weights)
        with Project.create(folder, resource_path("samples", "images")) as project:
            project.scan()
            importer("png")(project, resource_path("samples", "masks"))
        options = AdaptOptions(
            folder, model=str(weights), speed=speed, device=device, minutes=minutes, gate=False
        )
        return run_adapt(options).to_json()


def adaptations(device: str, minutes: float) -> list[dict[str, Any]]:
    """Every adaptation that has an aim, each in a process of its own."""
    rows: list[dict[str, Any]] = []
    for model, speed, aim in ADAPTATIONS:
        command = [sys.executable, __file__, "--child", model, speed]
        command += ["--device", device, "--minutes", str(minutes)]
        done = subprocess.run(command, capture_output=True, text=True)
        what = f"{model}: adaptation, {speed}, aim {aim:.0f} GB"
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            rows.append({"what": what, "problem": last})
            continue
        result = json.loads(done.stdout.splitlines()[-1])
        peak = float(result["peak_memory_mb"])
        step = 1000 * float(result["seconds"]) / max(1, int(result["steps"]))
        rows.append({"what": what, "ms": step, "peak_mb": peak, "met": peak <= 1024 * aim})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; of an adaptation the time is that of a step, all else included."""
    lines = ["| what | ms | peak memory MB | |", "|---|---|---|---|"]
    for row in rows:
        ms = f"{row['ms']:.1f}" if "ms" in row else ""
        peak = f"{row['peak_mb']:.0f}" if row.get("peak_mb") else ""
        note = row.get("problem", "")
        if "met" in row:
            note = "aim met" if row["met"] else "aim missed"
        elif row.get("mask_iou") is not None:
            note = f"mask IoU {row['mask_iou']:.4f}"
        lines.append(f"| {row['what']} | {ms} | {peak} | {note} |")
    return "\n".join(lines)


@pytest.mark.benchmark
def test_without_a_gpu_it_says_so_in_one_sentence() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == NEEDS_CUDA


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1.0, help="of an adaptation")
    parser.add_argument("--no-adapt", action="store_true")
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(NEEDS_CUDA)
    if args.child:
        model, speed = args.child
        print(json.dumps(adapt(model, speed, args.device, args.minutes)))
        return
    rows: list[dict[str, Any]] = []
    for model in args.models:
        rows += [*encodes(model, args.repeats, args.device)]
        rows.append(clicks(model, args.repeats, args.device))
    rows += [] if args.no_adapt else adaptations(args.device, args.minutes)
    report = {"machine": bench_encode.machine(2, args.device), "results": rows}
    print(json.dumps(report["machine"]))
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
