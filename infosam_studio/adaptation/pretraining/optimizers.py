"""Optimizers of pre-training: Muon for matrices, AdamW for everything else.

Muon orthogonalises the update of a weight matrix; with its step scaled to AdamW's both share
one learning rate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from infosam_studio.adaptation.pretraining.settings import Settings
from infosam_studio.segmentation.fast_attention import best_precision


class QuickMuon(torch.optim.Muon):
    """PyTorch's Muon where the processor has no bf16: fp32, matrices of one shape at once.

    PyTorch's own step computes in bf16 whatever the machine, which takes a third of a training
    step on a processor that has to emulate it.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One optimisation step; ``closure`` is not used."""
        for group in self.param_groups:
            for parameters in _by_shape(group["params"]):
                self._step_together(parameters, group)

    def _step_together(self, parameters: list[Any], group: dict[str, Any]) -> None:
        rate, momentum = float(group["lr"]), group["momentum"]
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter.grad)
            buffer = state["momentum_buffer"].lerp_(parameter.grad, 1 - momentum)
            updates.append(parameter.grad.lerp(buffer, momentum) if group["nesterov"] else buffer)
        turned = orthogonalised(
            torch.stack(updates), group["ns_coefficients"], group["ns_steps"], group["eps"]
        )
        scale = 0.2 * max(parameters[0].shape) ** 0.5  # "match_rms_adamw"
        for parameter, update in zip(parameters, turned, strict=True):
            parameter.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate * scale)


def orthogonalised(
    updates: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Tensor:
    """Newton-Schulz iteration of Muon on [M,A,B] fp32 matrices, each for itself."""
    a, b, c = coefficients
    tall = updates.shape[1] > updates.shape[2]
    x = updates.mT if tall else updates
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _by_shape(parameters: list[Any]) -> list[list[Any]]:
    """Parameters with a gradient, those of one shape together, in a fixed order."""
    groups: dict[tuple[int, ...], list[Any]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            groups.setdefault(tuple(parameter.shape), []).append(parameter)
    return list(groups.values())


def make_optimizers(sam: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """The optimizers of all weights of ``sam``, in a fixed order."""
    matrices, kernels, others = _split(sam)
    adamw = torch.optim.AdamW(
        [
            {"params": kernels, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    device = next(sam.parameters()).device
    muon = (torch.optim.Muon if best_precision(device) == "bf16" else QuickMuon)(
        matrices,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        adjust_lr_fn="match_rms_adamw",
        ns_steps=settings.muon_steps,
    )
    return [muon, adamw]


def _split(sam: nn.Module) -> tuple[list[Any], list[Any], list[Any]]:
    """Matrices of linear layers, convolution kernels, and embeddings, norms and biases."""
    matrices, kernels, others = [], [], []
    for module in sam.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, nn.Linear) and name == "weight":
                matrices.append(parameter)
            elif parameter.ndim == 4:
                kernels.append(parameter)
            else:
                others.append(parameter)
    return matrices, kernels, others
