"""Attention for SAM's ViT encoders that never holds a matrix of all pairs of positions.

SAM adds a decomposed relative position bias to every attention score: for query q and key k at
rows and columns (h, w) it is ``q·Rh[hq - hk] + q·Rw[wq - wk]``. That sum is a dot product of its
own, of the two vectors ``q·Rh[hq - ·]``, ``q·Rw[wq - ·]`` with one-hot vectors of the key's row
and column. So it can be appended to the channels of queries and keys, and fused attention then
computes biased scores exactly. On a CPU it is quicker to work through the scores in pieces that
fit the processor's cache (`piecewise_attention`); in bf16 too, unless the processor has AMX.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infosam_studio.segmentation.fast_linear import FastMLP, linear
from infosam_studio.segmentation.piecewise_attention import attend
from infosam_studio.segmentation.precision import FullSequential, in_full
from infosam_studio.segmentation.upstream import segment_anything_modules
from infosam_studio.segmentation.windows import into_windows, out_of_windows

# torch's own questions about what multiplies bf16 in hardware.
AMX, AVX512_BF16 = "_is_amx_tile_supported", "_is_avx512_bf16_supported"


class FastAttention(nn.Module):
    """Stands in for segment_anything's ``Attention`` on the very same parameters.

    Never built: `install` turns existing layers into it, so hooks, LoRA layers and the state
    dict stay what they are. ``window`` is the side of the windows that the map is cut into here,
    not in the block around (0: every position attends to every other).
    """

    window: int = 0

    qkv: nn.Module
    proj: nn.Module
    num_heads: int
    scale: float
    use_rel_pos: bool
    rel_pos_h: Tensor
    rel_pos_w: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] -> the same shape."""
        height, width, channels = x.shape[1:]
        parts = 3, self.num_heads, channels // self.num_heads
        qkv = linear(self.qkv, x).view(*x.shape[:3], *parts)
        if not self.window:
            return linear(self.proj, self._attend(qkv[:, None, None])[:, 0, 0].flatten(3))
        # What upstream's padding, zeros, becomes in the layer that made these.
        filling = self.qkv(x.new_zeros(1, channels)).view(parts)
        y = self._attend(into_windows(qkv, self.window, filling))
        return linear(self.proj, out_of_windows(y, height, width).flatten(3))

    def _attend(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values [B,rows,columns,H,W,3,heads,C] -> [B,rows,columns,H,W,heads,C],
        each of rows * columns maps by itself."""
        *maps, height, width, _, heads, size = qkv.shape
        together = (3, maps[0] * maps[1] * maps[2], heads, height * width, size)
        q, k, v = qkv.permute(5, 0, 1, 2, 6, 3, 4, 7).reshape(together).unbind(0)
        if not self.use_rel_pos:
            y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        else:
            by_row = torch.einsum("bnhwc,hkc->bnhwk", _grid(q, height), self._table(0, height, q))
            by_column = torch.einsum("bnhwc,wkc->bnhwk", _grid(q, height), self._table(1, width, q))
            by_row, by_column = by_row.flatten(2, 3), by_column.flatten(2, 3)
            if _in_pieces(q):
                y = attend(q, k, v, (by_row, by_column), scale=self.scale)
            else:
                y = _appended(q * self.scale, k, v, by_row, by_column)
        return y.reshape(*maps, heads, height, width, size).permute(0, 1, 2, 4, 5, 3, 6)

    def _table(self, axis: int, size: int, like: Tensor) -> Tensor:
        """Embedding of the distance between two rows (or columns), [size,size,C]."""
        vectors = self.rel_pos_w if axis else self.rel_pos_h
        if len(vectors) != 2 * size - 1:
            # Upstream stretches a table that was made for another size of image.
            vectors = F.interpolate(vectors.T[None], size=2 * size - 1, mode="linear")[0].T
        place = torch.arange(size, device=like.device)
        return vectors[place[:, None] - place[None, :] + size - 1].to(like.dtype)


def _grid(q: Tensor, height: int) -> Tensor:
    return q.view(*q.shape[:2], height, q.shape[2] // height, q.shape[3])


def _in_pieces(q: Tensor) -> bool:
    if q.device.type != "cpu":
        return False
    # torch's fused attention uses AMX for bf16; without it, it takes 2.5 times as long as this.
    return q.dtype == torch.float32 or (q.dtype == torch.bfloat16 and not _processor_has(AMX))


@cache
def _processor_has(instructions: str) -> bool:
    """Ask torch about the processor; a version that cannot tell says no."""
    return bool(getattr(torch.cpu, instructions, bool)())


def _appended(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """Fused attention over channels extended by the bias; [B,heads,N,C] each, q scaled."""
    rows, columns = by_row.shape[-1], by_column.shape[-1]
    one_row = torch.eye(rows, dtype=k.dtype, device=k.device).repeat_interleave(columns, 0)
    one_column = torch.eye(columns, dtype=k.dtype, device=k.device).repeat(rows, 1)
    extra = torch.cat([one_row, one_column], -1).expand(*k.shape[:2], -1, -1)
    q = torch.cat([q, by_row, by_column], -1)
    k = torch.cat([k, extra], -1)
    # The fused kernels want values as wide as keys.
    wide = F.pad(v, (0, rows + columns))
    return F.scaled_dot_product_attention(q, k, wide, scale=1.0)[..., : v.shape[-1]]


class FastBlock(nn.Module):
    """Stands in for segment_anything's ``Block``: windows are its attention's matter."""

    norm1: nn.Module
    attn: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    window_size: int

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] -> the same shape."""
        x = x + self.attn(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class FastPatchEmbed(nn.Module):
    """Stands in for segment_anything's ``PatchEmbed``; its tokens lie one behind the other.

    Upstream's result is a transposed view, and that order of memory is handed on through every
    residual, so each of the 24 norms first copies its input.
    """

    proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,S,S] -> [B,S/16,S/16,C]."""
        return in_full(self.proj, x).permute(0, 2, 3, 1).contiguous()


def prepare(encoder: nn.Module) -> torch.memory_format:
    """Make an encoder of any architecture quick; returns the order its pixels should come in.

    ViTs get `install`; the weights of convolutional encoders are laid out channels last, which
    oneDNN and tensor cores prefer. Neither changes a value.
    """
    install(encoder)
    if any(type(module) is FastAttention for module in encoder.modules()):
        return torch.contiguous_format
    encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return torch.channels_last


def install(encoder: nn.Module) -> int:
    """Give a ViT encoder's layers their quick classes; returns how many attentions changed.

    Other architectures are left alone: theirs is fused already. Doing it twice is harmless.
    """
    changed = _exchange(encoder, _upstream_classes())
    if changed:
        _set_class(encoder.neck, FullSequential)
    for block in (module for module in encoder.modules() if type(module) is FastBlock):
        for module in block.attn.modules():
            if type(module) is FastAttention:
                module.window = int(block.window_size)
    return changed


def uninstall(encoder: nn.Module) -> int:
    """Give every layer its own class back; returns how many attentions changed."""
    changed = _exchange(encoder, {fast: plain for plain, fast in _upstream_classes().items()})
    if changed:
        _set_class(encoder.neck, nn.Sequential)
    return changed


def _set_class(module: Any, cls: type) -> None:
    module.__class__ = cls


def _exchange(encoder: nn.Module, classes: Mapping[type, type]) -> int:
    changed = [module for module in encoder.modules() if type(module) in classes]
    for module in changed:
        module.__class__ = classes[type(module)]
    return sum("Attention" in type(module).__name__ for module in changed)


def _upstream_classes() -> dict[type, type]:
    parts = segment_anything_modules().modeling.__name__
    encoder: Any = importlib.import_module(f"{parts}.image_encoder")
    common: Any = importlib.import_module(f"{parts}.common")
    return {
        encoder.Block: FastBlock,
        encoder.Attention: FastAttention,
        encoder.PatchEmbed: FastPatchEmbed,
        common.MLPBlock: FastMLP,
    }


def best_precision(device: str | torch.device = "cpu") -> str:
    """The encoder precision that is quickest without visible loss here: "bf16" or "fp32"."""
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if kind != "cpu":
        return "fp32"
    return "bf16" if _processor_has(AMX) or _processor_has(AVX512_BF16) else "fp32"
