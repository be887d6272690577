"""Which parts of an encoder stay in fp32 when the rest runs in bf16.

What begins a residual stream decides how finely everything later is added to it, and what ends
one is the embedding itself: a bf16 result there costs 0.3 % of every value. Such layers are a few
per cent of the work, so they stay in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn


def in_full(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)`` in the precision of its own weights, whatever autocast says around it."""
    return _without_autocast(layer, layer, x)


class FullSequential(nn.Sequential):
    """A sequence that always runs in the precision of its own weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the layers take and give."""
        return _without_autocast(super().forward, self, x)


def _without_autocast(run: Callable[[Tensor], object], owner: nn.Module, x: Tensor) -> Tensor:
    x = x.to(next(owner.parameters()).dtype)
    if not torch.amp.is_autocast_available(x.device.type):
        return cast(Tensor, run(x))
    with torch.autocast(x.device.type, enabled=False):
        return cast(Tensor, run(x))
