"""Speeds measured on this machine, remembered until it changes, and what follows from them."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs
import torch

from infosam_studio.segmentation import advice, hashing
from infosam_studio.segmentation.advice import Advice, Speed
from infosam_studio.segmentation.catalogue import registry
from infosam_studio.segmentation.fast_attention import best_precision

VERSION = 1
# A core is free where this thread gets so much of it for so long.
FREE_SHARE, WATCH_S = 0.8, 0.3
# A model is measured per architecture, under the name of the published one of that kind.
KINDS = {
    "starter": "starter",
    "mobile_sam": "mobile_sam",
    "vit_b": "sam_vit_b",
    "vit_l": "sam_vit_l",
    "vit_h": "sam_vit_h",
}


@dataclass(frozen=True)
class Measured:
    """Seconds per model on ``device`` (as `advice.Speed` has them), taken on ``date``.

    ``busy``: other programs used the processor meanwhile, so the figures are too high.
    """

    device: str
    date: str
    memory_bytes: int
    speeds: Mapping[str, Speed]
    busy: bool = False

    def of(self, architecture: str) -> Speed | None:
        """The speed of any model of that architecture."""
        return self.speeds.get(KINDS.get(architecture, ""))

    def adaptation(self, model: str) -> str:
        """The speed of adaptation that goes with a model here."""
        return advice.adaptation_of(model, self.speeds, self.device)

    def advice(self) -> Advice:
        """The proposal for the models that are present now."""
        present = [name for name, info in registry().items() if info.path is not None]
        return advice.propose(
            self.speeds, present=present, memory_bytes=self.memory_bytes, device=self.device
        )


def best_device() -> str:
    """What the app runs its models on here."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def measure(device: str | None = None, *, grid: int = 64) -> Measured:
    """Measure all models in a few seconds; remembered where the machine was free for it."""
    device = device or best_device()
    busy = _share() < FREE_SHARE
    speeds = advice.measure(device, grid=grid)
    memory = advice.total_memory("cpu" if device == "mps" else device)
    found = Measured(device, time.strftime("%Y-%m-%d"), memory, speeds, busy)
    if not busy:
        remember(found)
    return found


def _share() -> float:
    """How much of a core this thread gets just now, from 0 to 1."""
    began, used = time.perf_counter(), time.thread_time()
    while time.perf_counter() - began < WATCH_S:
        pass
    return (time.thread_time() - used) / (time.perf_counter() - began)


def known() -> Measured | None:
    """What was measured before on this very machine with this torch, or None."""
    try:
        content = json.loads(_path().read_text(encoding="utf-8"))
        if content["version"] != VERSION or content["machine"] != machine():
            return None
        speeds = {name: Speed(**values) for name, values in content["speeds"].items()}
        return Measured(content["device"], content["date"], content["memory_bytes"], speeds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def machine() -> dict[str, Any]:
    """What the speeds depend on; another answer makes them void."""
    device = best_device()
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "precision": best_precision(device),
        "torch": torch.__version__,
    }


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _path() -> Path:
    return platformdirs.user_cache_path(hashing.APP, appauthor=False) / "speeds.json"


def remember(found: Measured) -> None:
    """Keep what was measured; a folder that cannot be written costs seconds, so it is no error."""
    content = {
        "version": VERSION,
        "machine": machine(),
        "device": found.device,
        "date": found.date,
        "memory_bytes": found.memory_bytes,
        "speeds": {name: asdict(speed) for name, speed in found.speeds.items()},
    }
    path = _path()
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.replace(aside, path)
    except OSError:
        return
