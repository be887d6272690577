"""Attention through the scores in pieces that fit the processor's cache, with its gradient.

Scores and softmax are fp32 always; what meets the values is in their type. Backwards the weights
are made once more, piece by piece, instead of kept (as in FlashAttention, Dao et al., 2022), so
no matrix of all pairs of positions is ever held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores of one piece: 4 MB in fp32; backwards, where there are two of them, half as many.
PIECE = 2**20

Bias = tuple[Tensor, Tensor]
"""What is added to every score by the key's row and column: [L,N,rows] and [L,N,columns]."""


def attend(
    q: Tensor, k: Tensor, v: Tensor, bias: Bias | None = None, *, scale: float = 1.0
) -> Tensor:
    """``softmax(scale * q k^T + bias) v`` for q, k, v [B,heads,N,C] of one floating type.

    ``bias`` are two parts [B,heads,N,rows] and [B,heads,N,columns], N being rows * columns; a
    pair of positions gets the sum of both at the key's row and column.
    """
    inputs = [q, k, v, *(bias or ())]
    flat = (x.flatten(0, 1) for x in inputs)
    made = _Attention.apply(scale, *flat)  # type: ignore[no-untyped-call]
    return cast(Tensor, made).view(v.shape)


class _Attention(torch.autograd.Function):
    """[L,N,C] each; see `attend`."""

    @staticmethod
    def forward(ctx: Any, scale: float, q: Tensor, k: Tensor, v: Tensor, *bias: Tensor) -> Tensor:
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        with torch.autocast(q.device.type, enabled=False):
            for part, lines, weights in _weights(q, k, bias, scale, PIECE):
                out[part, lines] = torch.bmm(weights.to(v.dtype), v[part])
        ctx.save_for_backward(q, k, v, out, *bias)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *bias = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            return None, *_gradients((q, k, v), bias, ctx.scale, out, grad.to(v.dtype))


def _gradients(
    qkv: tuple[Tensor, Tensor, Tensor],
    bias: list[Tensor],
    scale: float,
    out: Tensor,
    grad: Tensor,
) -> tuple[Tensor, ...]:
    q, k, v = qkv
    to_q, *to_bias = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, *bias))
    to_k, to_v = (torch.zeros(x.shape, device=x.device) for x in (k, v))
    own = (grad * out).sum(-1, keepdim=True, dtype=torch.float32)
    for part, lines, weights in _weights(q, k, bias, scale, PIECE // 2):
        turned = weights.to(v.dtype).transpose(1, 2)
        to_v[part] += torch.bmm(turned, grad[part, lines])
        scores = torch.bmm(grad[part, lines], v[part].transpose(1, 2)).float()
        scores -= own[part, lines]
        scores *= weights
        if bias:
            grid = scores.view(*scores.shape[:2], bias[0].shape[-1], bias[1].shape[-1])
            to_bias[0][part, lines] = grid.sum(3).to(bias[0].dtype)
            to_bias[1][part, lines] = grid.sum(2).to(bias[1].dtype)
        scores *= scale
        low = scores.to(q.dtype)
        to_q[part, lines] = torch.bmm(low, k[part])
        to_k[part] += torch.bmm(low.transpose(1, 2), q[part, lines])
    return to_q, to_k.to(k.dtype), to_v.to(v.dtype), *to_bias


def _weights(
    q: Tensor, k: Tensor, bias: tuple[Tensor, ...] | list[Tensor], scale: float, most: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Softmax of the scores, fp32 [l,n,N], for some of L and some rows of N at a time."""
    size, count = q.shape[:2]
    together = min(size, max(1, most // count**2))
    length = min(count, max(1, most // count))
    buffer = torch.empty(together * length * count, device=q.device)
    for first in range(0, size, together):
        part = slice(first, min(first + together, size))
        keys = scale * k[part].float().transpose(1, 2)
        for start in range(0, count, length):
            lines = slice(start, min(start + length, count))
            shape = (part.stop - first, lines.stop - start, count)
            scores = buffer[: shape[0] * shape[1] * count].view(shape)
            torch.bmm(q[part, lines].float(), keys, out=scores)
            if bias:
                rows, columns = (x[part, lines].float() for x in bias)
                grid = scores.view(*shape[:2], rows.shape[-1], columns.shape[-1])
                grid += rows[..., :, None]
                grid += columns[..., None, :]
            yield part, lines, torch.softmax(scores, -1)
