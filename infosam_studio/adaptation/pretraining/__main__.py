"""Command line of starter pre-training.

    python -m infosam_studio.adaptation.pretraining --pool DIR --out runs/starter --minutes 60
    python -m infosam_studio.adaptation.pretraining --out runs/starter --release

The first call prepares pictures (once), then trains; ``--resume`` continues a run that was
stopped or killed, ``--init`` starts a new one from released weights. ``--release`` writes the
best weights of a finished run with their manifest.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from infosam_studio.adaptation.pretraining.pool import prepare_pool
from infosam_studio.adaptation.pretraining.release import release
from infosam_studio.adaptation.pretraining.scenes import prepare_scenes
from infosam_studio.adaptation.pretraining.settings import Phase, Settings
from infosam_studio.adaptation.pretraining.training import (
    Run,
    prepared_files,
    say,
    split_files,
)
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.starter import build_starter


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m infosam_studio.adaptation.pretraining",
        description="Pre-train the starter model on procedural scenes and pool photographs.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--pool", type=Path, help="pool of labelled photographs (optional)")
    parser.add_argument("--cache", type=Path, help="prepared pictures (default: OUT/cache)")
    parser.add_argument("--scenes", type=int, default=4000, help="procedural scenes to prepare")
    parser.add_argument("--minutes", type=float, default=defaults.minutes)
    parser.add_argument("--steps", type=int, default=0, help="fixed steps instead of minutes")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument(
        "--phases",
        type=_phases,
        default=defaults.phases,
        metavar="SHARE:SIZE:IMAGES,...",
        help="resolution and images per step from a share of the run on (0:256:8,0.5:512:4)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--threads", type=int, default=1, help="of the training process on a CPU")
    parser.add_argument("--workers", type=int, help="data processes (default: 1, many on CUDA)")
    parser.add_argument("--init", type=Path, help="start from these released weights")
    parser.add_argument("--resume", action="store_true", help="continue the run in OUT")
    parser.add_argument(
        "--release",
        type=Path,
        nargs="?",
        const=Path("resources/models"),
        help="write the best weights here (default: resources/models) and stop",
    )
    parser.add_argument("--scores", type=Path, help="with --release: what the report wrote")
    parser.add_argument("--notes", default="", help="with --release: how the weights came about")
    return parser


def _phases(text: str) -> tuple[Phase, ...]:
    """Phases from ``SHARE:SIZE:IMAGES,...``, the first from share 0 on."""
    try:
        rows = [part.split(":") for part in text.split(",")]
        phases = tuple(Phase(float(at), int(size), int(images)) for at, size, images in rows)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not SHARE:SIZE:IMAGES,...") from error
    shares = [phase.starts_at for phase in phases]
    if shares[0] != 0 or shares != sorted(shares) or any(p.size % 64 for p in phases):
        raise argparse.ArgumentTypeError("phases start at 0, rise, and have sizes of 64 n")
    return phases


def _settings(arguments: argparse.Namespace) -> Settings:
    cuda = arguments.device == "cuda" or (arguments.device == "auto" and torch.cuda.is_available())
    spare = max(1, (os.cpu_count() or 2) - 1)
    workers = arguments.workers if arguments.workers is not None else (spare if cuda else 1)
    return replace(
        Settings(),
        minutes=arguments.minutes,
        steps=arguments.steps,
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
        phases=arguments.phases,
        device=arguments.device,
        threads=arguments.threads,
        workers=workers,
    )


def _prepare(arguments: argparse.Namespace, cache: Path, held_out_every: int) -> list[Path]:
    """Prepare what is missing; scenes borrow textures from the photographs trained on."""
    if arguments.pool is not None:
        for number in prepare_pool(arguments.pool, cache / "pool"):
            if number % 200 == 0:
                say(f"prepared {number} photographs")
    photographs, _ = split_files(sorted((cache / "pool").glob("*.npz")), held_out_every)
    scenes = prepare_scenes(arguments.scenes, arguments.seed, cache / "scenes", photographs)
    for number in scenes:
        if number % 200 == 0:
            say(f"prepared {number} of {arguments.scenes} scenes")
    return prepared_files(cache)


def _train(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    cache = arguments.cache or arguments.out / "cache"
    files = _prepare(arguments, cache, settings.held_out_every)
    torch.manual_seed(settings.seed)
    run = Run(build_starter(arguments.init), files, arguments.out, settings)
    if arguments.resume:
        run.resume()
    signal.signal(signal.SIGTERM, lambda _number, _frame: run.stop())
    run.train()


def main() -> int:
    """Run the command line; returns the exit status."""
    arguments = _parser().parse_args()
    try:
        if arguments.release is not None:
            scores = json.loads(arguments.scores.read_text()) if arguments.scores else None
            release(arguments.out, arguments.release, scores, arguments.notes)
        else:
            _train(arguments)
    except (StudioError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
