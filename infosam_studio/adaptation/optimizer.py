"""AdamW by torch's own function, without torch's class for it.

Making a ``torch.optim.Optimizer`` imports torch's compiler, which takes a second of every run and
of which nothing here makes use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw


class AdamW:
    """AdamW (Loshchilov and Hutter, 2019); with ``weight_decay`` 0 it is Adam.

    ``groups`` are dicts of "params" and "lr", as torch's optimisers take them; rates may be
    changed in ``param_groups`` between steps. Parameters without a gradient are left alone.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.param_groups = [{**group, "params": list(group["params"])} for group in groups]
        self._weight_decay, self._betas, self._eps = weight_decay, betas, eps
        self._state: dict[Tensor, dict[str, Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """One step along the gradients."""
        for group in self.param_groups:
            params = [value for value in group["params"] if value.grad is not None]
            states = [self._state_of(value) for value in params]
            adamw(
                params,
                [value.grad for value in params],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=group["lr"],
                weight_decay=self._weight_decay,
                eps=self._eps,
                maximize=False,
            )

    def _state_of(self, value: Tensor) -> dict[str, Tensor]:
        if value not in self._state:
            self._state[value] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(value, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(value, memory_format=torch.preserve_format),
            }
        return self._state[value]

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for value in self._values():
            value.grad = None

    def _values(self) -> list[Tensor]:
        return [value for group in self.param_groups for value in group["params"]]

    def state_dict(self) -> dict[int, dict[str, Tensor]]:
        """The moments of every parameter that has been moved, by its place."""
        places = enumerate(self._values())
        return {place: self._state[value] for place, value in places if value in self._state}

    def load_state_dict(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Go on from what `state_dict` gave; the parameters must be the same ones."""
        values = self._values()
        for place, moments in state.items():
            own = self._state_of(values[place])
            for name, value in own.items():
                value.copy_(moments[name])
