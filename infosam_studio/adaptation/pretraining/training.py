"""The pre-training loop: resumable at any step, annealed to a clock or a number of steps."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from infosam_studio.adaptation.averaging import follow
from infosam_studio.adaptation.pretraining.evaluation import evaluate_files
from infosam_studio.adaptation.pretraining.optimizers import make_optimizers
from infosam_studio.adaptation.pretraining.samples import Batch, Samples, batches
from infosam_studio.adaptation.pretraining.settings import Phase, Settings
from infosam_studio.adaptation.pretraining.state import load_state, save_state
from infosam_studio.adaptation.pretraining.steps import step
from infosam_studio.errors import StudioError

CURVE_FILE = "curve.jsonl"
BEST_FILE, LAST_FILE = "best.safetensors", "last.safetensors"
RECIPE_FILE = "recipe.json"
GPU_BATCH = 16


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def split_files(files: list[Path], every: int) -> tuple[list[Path], list[Path]]:
    """Prepared images to train on and to evaluate on, fixed by their order."""
    held_out = files[::every]
    return [file for file in files if file not in set(held_out)] or files, held_out


def prepared_files(cache: Path) -> list[Path]:
    """Every prepared picture below a cache folder, kinds mixed, in a fixed order."""
    files = sorted(cache.glob("*/*.npz"))
    random.Random(3).shuffle(files)
    return files


class Run:
    """One pre-training run in a folder."""

    def __init__(self, sam: Any, files: list[Path], out: Path, settings: Settings) -> None:
        if not files:
            raise StudioError("There are no prepared images to train on.")
        self.settings, self.out = settings, out
        self.device = choose_device(settings.device)
        self.sam = sam.to(self.device).train()
        self.average = {k: v.detach().clone() for k, v in sam.state_dict().items()}
        self.train_files, self.held_out = split_files(files, settings.held_out_every)
        self.optimizers = make_optimizers(sam, settings)
        self.step, self.images, self.seconds, self.best = 0, 0, 0.0, -1.0
        self.recent: list[tuple[float, float, float]] = []
        self.stopping = False
        out.mkdir(parents=True, exist_ok=True)
        (out / RECIPE_FILE).write_text(json.dumps(asdict(settings), indent=1) + "\n")

    def stop(self) -> None:
        """Ask the run to save and end after the step in progress."""
        self.stopping = True

    def resume(self) -> None:
        """Continue from the folder's saved state."""
        state = load_state(self.out)
        self.sam.load_state_dict(state["model"])
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(stored)
        self.step, self.images = int(state["step"]), int(state["images"])
        self.seconds, self.best = float(state["seconds"]), float(state["best"])
        torch.set_rng_state(state["torch_rng"])

    def save(self) -> None:
        """Save everything :meth:`resume` needs."""
        save_state(
            self.out,
            {
                "model": self.sam.state_dict(),
                "average": self.average,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "step": self.step,
                "images": self.images,
                "seconds": self.seconds,
                "best": self.best,
                "torch_rng": torch.get_rng_state(),
                "settings": json.dumps(asdict(self.settings)),
            },
        )

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0..1."""
        if self.settings.steps:
            return self.step / self.settings.steps
        return self.seconds / (self.settings.minutes * 60)

    def phase(self) -> Phase:
        """The resolution in force now."""
        return [p for p in self.settings.phases if self.progress >= p.starts_at][-1]

    def learning_rate(self) -> float:
        """Linear warmup, then a cosine to the last learning rate."""
        s = self.settings
        peak = s.learning_rate * math.sqrt(self._batch_factor())
        warm = min(1.0, (self.step + 1) / max(1, s.warmup_steps))
        wave = 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress)))
        return warm * (s.last_learning_rate + (peak - s.last_learning_rate) * wave)

    def _batch_factor(self) -> int:
        """A GPU is fed larger batches; the learning rate follows their square root."""
        return GPU_BATCH if self.device.type == "cuda" else 1

    def train(self) -> dict[str, float]:
        """Train to the end of the schedule; returns the last evaluation."""
        logged = saved = evaluated = time.monotonic()
        stream: Iterator[Batch] = iter(())
        phase: Phase | None = None
        while self.progress < 1 and not self.stopping:
            started = time.monotonic()
            if self.phase() != phase:
                if phase is not None:
                    self.best = -1.0  # scores at another resolution are not comparable
                phase = self.phase()
                stream = self._stream(phase)
            self._train_step(next(stream))
            now = time.monotonic()
            self.seconds += now - started
            if now - logged > self.settings.log_seconds:
                self._log(phase)
                logged = now
            if now - evaluated > self.settings.evaluate_minutes * 60:
                self.evaluate()
                evaluated = time.monotonic()
            if now - saved > self.settings.save_minutes * 60:
                self.save()
                saved = time.monotonic()
        self.save()
        if self.stopping:
            say("stopped on request; continue with --resume")
            return {}
        return self.evaluate()

    def _stream(self, phase: Phase) -> Iterator[Batch]:
        samples = Samples(
            self.train_files,
            phase.size,
            self.settings.prompts,
            self.settings.seed,
            photograph_share=self.settings.photograph_share,
        )
        count = phase.images * self._batch_factor()
        return batches(samples, self.images, count, self.settings.workers)

    def _train_step(self, batch: Batch) -> None:
        rng = np.random.default_rng((self.settings.seed, self.step, 99))
        batch = Batch(*(t.to(self.device, non_blocking=True) for t in vars(batch).values()))
        result = step(self.sam, batch, self.settings, rng)
        self.sam.zero_grad(set_to_none=True)
        result.loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.sam.parameters(), self.settings.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
            optimizer.step()
        self.step += 1
        self.images += len(batch.images)
        self._update_average()
        self.recent.append((float(result.loss.detach()), result.first_iou, result.last_iou))

    def _update_average(self) -> None:
        current = self.sam.state_dict()
        keys = [k for k, v in current.items() if v.is_floating_point()]
        average = [self.average[k] for k in keys]
        follow(average, [current[k] for k in keys], self.settings.ema, self.step)

    def _log(self, phase: Phase) -> None:
        loss, first, last = np.mean(self.recent, axis=0)
        self.recent.clear()
        left = self.seconds * (1 / max(self.progress, 1e-6) - 1)
        say(
            f"step {self.step}  images {self.images}  {phase.size}px  loss {loss:.3f}  "
            f"iou first {first:.3f} last {last:.3f}  lr {self.learning_rate():.1e}  "
            f"{self.images / max(self.seconds, 1e-6):.1f} images/s  "
            f"{left / 60:.0f} min left"
        )

    def evaluate(self) -> dict[str, float]:
        """Score the averaged weights on held-out images; keep them where they are the best."""
        own = {k: v.clone() for k, v in self.sam.state_dict().items()}
        self.sam.load_state_dict(self.average)
        self.sam.eval()
        stride = max(1, len(self.held_out) // self.settings.evaluate_images)
        files = self.held_out[::stride][: self.settings.evaluate_images]
        scores = evaluate_files(self.sam, files, self.phase().size, 4, self.device)
        self.sam.load_state_dict(own)
        self.sam.train()
        score = scores["iou1"] + scores["iou3"] + scores["box"]
        record = {"step": self.step, "images": self.images, "seconds": round(self.seconds)}
        record |= {"size": self.phase().size}
        with (self.out / CURVE_FILE).open("a") as stream:
            stream.write(json.dumps(record | scores) + "\n")
        say("held out: " + "  ".join(f"{k} {v:.3f}" for k, v in scores.items()))
        save_file(_contiguous(self.average), str(self.out / LAST_FILE))
        if score > self.best:
            self.best = score
            save_file(_contiguous(self.average), str(self.out / BEST_FILE))
        return scores


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


def say(line: str) -> None:
    """One progress line with the time of day, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
