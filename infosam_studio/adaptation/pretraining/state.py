"""What a run needs to continue: weights, averages, optimizer, random state and counters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from infosam_studio.errors import StudioError

STATE_FILE = "state.pt"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write atomically: a kill or a full disk leaves the last good state in place."""
    target = folder / STATE_FILE
    aside = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        torch.save(state, aside)
        os.replace(aside, target)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        raise StudioError(
            f"The training state could not be saved in {folder} ({error}); "
            "the last saved state is intact."
        ) from error


def load_state(folder: Path) -> dict[str, Any]:
    """Read the state of a run."""
    path = folder / STATE_FILE
    if not path.is_file():
        raise StudioError(f"There is no run to resume in {folder}: {STATE_FILE} is missing.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if not {"model", "average", "optimizers", "step", "images"} <= set(state):
            raise ValueError("it is not a training state")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudioError(
            f"{path} cannot be resumed from ({reason[:120]}); "
            "start again from released weights with --init."
        ) from error
    return state
