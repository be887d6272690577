"""Optimizers of pre-training: Muon for matrices, AdamW for everything else.

Muon orthogonalises the update of a weight matrix; with its step scaled to AdamW's both share
one learning rate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from infosam_studio.adaptation.pretraining.settings import Settings


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
    muon = torch.optim.Muon(
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
