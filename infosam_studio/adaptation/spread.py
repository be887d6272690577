"""One run over several processes: what they exchange, and nothing else.

Every process holds the whole model and a share of each batch. Relation rows and teacher tensors
are gathered, each process differentiates the same global loss with respect to its own rows, and
gradients are summed. So the Gram matrices are those of the global batch and the gradient equals
that of one process (DDP would average instead, and a plain gather has no gradient).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Spread:
    """One process of ``size``; without ``accelerate launch`` there is just one."""

    def __init__(self) -> None:
        self._accelerator: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import Accelerator

            self._accelerator = Accelerator(cpu=not torch.cuda.is_available())

    @property
    def size(self) -> int:
        """Number of processes."""
        return int(self._accelerator.num_processes) if self._accelerator else 1

    @property
    def rank(self) -> int:
        """Which of them this is; 0 writes files and events."""
        return int(self._accelerator.process_index) if self._accelerator else 0

    def share(self, count: int) -> slice:
        """This process's part of ``count`` samples, which ``size`` must divide."""
        part = count // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes in order of rank; no gradient."""
        if self._accelerator is None:
            return rows
        gathered: Tensor = self._accelerator.gather(rows.contiguous())
        return gathered

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in place."""
        if self._accelerator is None:
            return
        for tensor in tensors:
            tensor.copy_(self._accelerator.reduce(tensor, reduction="sum"))

    def largest(self, value: float) -> float:
        """The largest of the processes' values: clocks differ, learning rates must not."""
        if self._accelerator is None:
            return value
        mine = torch.tensor([value], dtype=torch.float64, device=self._accelerator.device)
        return float(self._accelerator.gather(mine).max())

    def agree(self, value: bool) -> bool:
        """True as soon as one process says so; keeps all of them in the same step."""
        if self._accelerator is None:
            return value
        flag = torch.tensor([float(value)], device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag, reduction="sum").item() > 0)
