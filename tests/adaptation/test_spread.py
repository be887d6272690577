"""Two processes take the step that one process takes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(folder: Path, processes: int) -> dict[str, Any]:
    """The saved outcome of one step over that many processes."""
    out = folder / f"{processes}.pt"
    command = [sys.executable, "-m", "tests.adaptation.spread_child", str(folder / "i"), str(out)]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    children = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        environment = {**os.environ, **shared, **(own if processes > 1 else {})}
        children.append(
            subprocess.Popen(
                command,
                env=environment,
                cwd=Path(__file__).parents[2],
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for child in children:
        _, errors = child.communicate(timeout=240)
        assert child.returncode == 0, errors[-2000:]
    saved: dict[str, Any] = torch.load(out, weights_only=True)
    assert saved["size"] == processes
    return saved


@pytest.mark.slow
def test_gradients_are_those_of_one_process(tmp_path: Path) -> None:
    if not torch.distributed.is_available():
        pytest.skip("this torch has no distributed package")
    one, two = run(tmp_path, 1), run(tmp_path, 2)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert set(one["grads"]) == set(two["grads"])
    for key, value in one["grads"].items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(value, two["grads"][key], rtol=1e-3, atol=2e-5 * scale, msg=key)
