"""The optimiser against torch's own, and that it costs no import."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from infosam_studio.adaptation.optimizer import AdamW


def parameters() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(3, 4)), torch.nn.Parameter(torch.randn(5))]


def set_gradients(values: list[torch.nn.Parameter], step: int) -> None:
    torch.manual_seed(100 + step)
    for place, value in enumerate(values):
        gradient = torch.randn_like(value)
        value.grad = None if (place + step) % 3 == 0 else gradient


@pytest.mark.parametrize("decay", [0.0, 0.02])
def test_equal_to_torch_also_when_gone_on_with(decay: float) -> None:
    ours, theirs = parameters(), parameters()
    own = AdamW([{"params": [one], "lr": 0.01} for one in ours], weight_decay=decay)
    groups = [{"params": [one], "lr": 0.01} for one in theirs]
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    other = kind(groups, weight_decay=decay)
    for step in range(12):
        if step == 6:  # another process goes on
            kept = own.state_dict()
            own = AdamW([{"params": [one], "lr": 0.01} for one in ours], weight_decay=decay)
            own.load_state_dict(kept)
        for optimizer, values in ((own, ours), (other, theirs)):
            set_gradients(values, step)
            optimizer.param_groups[1]["lr"] = 0.01 / (1 + step)
            optimizer.step()
            optimizer.zero_grad()
        assert all(one.grad is None for one in ours)
        for one, two in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


def test_a_training_step_does_not_import_the_compiler() -> None:
    """It takes a second, of every run."""
    code = (
        "import sys, torch\n"
        "from infosam_studio.adaptation import adapt, training\n"
        "from infosam_studio.adaptation.optimizer import AdamW\n"
        "value = torch.nn.Parameter(torch.ones(3))\n"
        "optimizer = AdamW([{'params': [value], 'lr': 0.1}], weight_decay=0.1)\n"
        "value.square().sum().backward()\n"
        "norm = torch.nn.utils.get_total_norm([value.grad])\n"
        "torch.nn.utils.clip_grads_with_norm_([value], 1.0, norm)\n"
        "optimizer.step()\n"
        "print({'torch._dynamo', 'sympy'} & set(sys.modules), value.tolist())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("set() [0.88")
