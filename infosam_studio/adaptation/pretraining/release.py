"""Releasing: the best weights of a run as fp16 safetensors beside a manifest."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from infosam_studio.adaptation.pretraining.training import BEST_FILE, CURVE_FILE, RECIPE_FILE
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.starter import EMBEDDING_CHANNELS, IMAGE_SIZE, build_starter

WEIGHTS, MANIFEST = "starter.safetensors", "starter.json"
LIMIT_BYTES = 15_000_000


def release(run: Path, target: Path, scores: dict[str, Any] | None = None, notes: str = "") -> Path:
    """Write ``starter.safetensors`` and ``starter.json``; ``scores`` come from the report.

    The weights must fit the architecture exactly and stay under 15 MB.
    """
    try:
        weights = load_file(str(run / BEST_FILE))
    except (OSError, SafetensorError) as error:
        raise StudioError(f"{run / BEST_FILE} cannot be released ({error}).") from error
    build_starter().load_state_dict(weights)
    half = {key: value.to(torch.float16).contiguous() for key, value in weights.items()}
    target.mkdir(parents=True, exist_ok=True)
    aside = target / f".{WEIGHTS}.tmp"
    save_file(half, str(aside), metadata={"format": "pt"})
    size = aside.stat().st_size
    if size >= LIMIT_BYTES:
        aside.unlink()
        raise StudioError(f"The weights take {size} bytes, more than {LIMIT_BYTES}.")
    digest = hashlib.sha256(aside.read_bytes()).hexdigest()
    aside.chmod(0o644)
    os.replace(aside, target / WEIGHTS)
    manifest = _manifest(run, weights, size, digest) | {"scores": scores or {}, "notes": notes}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return target / WEIGHTS


def _manifest(
    run: Path, weights: dict[str, torch.Tensor], size: int, digest: str
) -> dict[str, Any]:
    """What the weights are and how they came about."""
    curve = _lines(run / CURVE_FILE)
    recipe = run / RECIPE_FILE
    return {
        "name": "starter",
        "architecture": {
            "kind": "starter",
            "image_size": IMAGE_SIZE,
            "embedding": [EMBEDDING_CHANNELS, IMAGE_SIZE // 16, IMAGE_SIZE // 16],
            "parameters": sum(value.numel() for value in weights.values()),
        },
        "dtype": "float16",
        "bytes": size,
        "sha256": digest,
        "licence": "Apache-2.0",
        "commit": _commit(),
        "recipe": json.loads(recipe.read_text()) if recipe.is_file() else {},
        "seconds": curve[-1]["seconds"] if curve else 0,
        "images_seen": curve[-1]["images"] if curve else 0,
        "held_out": curve[-1] if curve else {},
        "learning_curve": curve,
    }


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _commit() -> str:
    """The commit of the code, or an empty string outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
