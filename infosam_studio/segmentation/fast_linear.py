"""Linear layers in bf16 on a CPU, with bias and GELU made in the product itself.

What autocast makes of a linear layer there first copies the bias to every row of the result and
adds the product to it; a GELU behind it reads and writes everything once more. oneDNN does both
while a part of the result is still in the processor's registers (and rounds it once instead of
twice). torch uses that call for the code it compiles; where a version has none, layers run as ever.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def linear(layer: nn.Module, x: Tensor, *, gelu: bool = False) -> Tensor:
    """``layer(x)`` for x [...,C], with the exact GELU behind it where ``gelu`` says so.

    Layers that are more than a linear one (LoRA, hooks), and everything with gradients, in
    another precision or on another device, run as they are.
    """
    if not _is_plain(layer) or not _in_bf16(x):
        result: Tensor = layer(x)
        return F.gelu(result) if gelu else result
    weight, bias = layer.weight, layer.bias
    call = _call()
    assert call is not None
    low = torch.bfloat16
    after: Any = ("gelu", [], "none") if gelu else ("none", [], "")
    bias = None if bias is None else bias.to(low)
    return cast(Tensor, call(x.to(low), weight.to(low), bias, *after))


class FastMLP(nn.Module):
    """Stands in for segment_anything's ``MLPBlock`` on the very same parameters."""

    lin1: nn.Module
    lin2: nn.Module
    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """[...,C] -> the same shape."""
        if type(self.act) is nn.GELU and self.act.approximate == "none":
            return linear(self.lin2, linear(self.lin1, x, gelu=True))
        return cast(Tensor, self.lin2(self.act(self.lin1(x))))


def _is_plain(layer: Any) -> bool:
    return type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks


def _in_bf16(x: Tensor) -> bool:
    if x.device.type != "cpu" or torch.is_grad_enabled() or _call() is None:
        return False
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


@cache
def _call() -> Any:
    """oneDNN's linear layer with something behind it, None where this torch has none."""
    try:
        call = torch.ops.mkldnn._linear_pointwise
        x = torch.ones(1, 2, 4, dtype=torch.bfloat16)
        made = call(x, x[0], x[0, :, 0], "gelu", [], "none")
        plain = call(x, x[0], None, "none", [], "")
    except (AttributeError, RuntimeError, TypeError):
        return None
    fits = made.shape == plain.shape == (1, 2, 2) and made.dtype == torch.bfloat16
    return call if fits and abs(float(made[0, 0, 0]) - 5.0) < 0.1 else None
