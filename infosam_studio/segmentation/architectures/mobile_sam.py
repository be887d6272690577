"""MobileSAM: SAM's own prompt encoder and decoder behind a TinyViT-5M image encoder.

Written for this project from the published layout of the weights and the TinyViT paper. All
maps are [B,H,W,C] between blocks and [B,C,H,W] around convolutions. The encoder keeps its
BatchNorms, as published; they stay in eval mode, so nothing drifts (`TinyViT.train` sees to it).
"""

from __future__ import annotations

from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infosam_studio.segmentation.precision import FullSequential, in_full
from infosam_studio.segmentation.upstream import segment_anything_modules

IMAGE_SIZE = 1024
CHANNELS = 256
WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
EXPANSION = 4
CLASSES = 1000
# The last merging keeps the resolution: SAM's decoder wants 1/16, TinyViT would end at 1/32.
STRIDES = (2, 2, 1)


class ConvNorm(nn.Module):
    """A convolution without bias, then BatchNorm; ``c`` and ``bn`` in the state dict."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',H/stride,W/stride]."""
        return cast(Tensor, self.bn(self.c(x)))


class Stem(nn.Module):
    """Two strided convolutions to a quarter of the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = FullSequential(
            ConvNorm(3, width // 2, 3, stride=2),
            nn.GELU(),
            ConvNorm(width // 2, width, 3, stride=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,S,S] -> [B,C,S/4,S/4]."""
        return cast(Tensor, self.seq(x))


class InvertedBottleneck(nn.Module):
    """Widen, depthwise 3x3, narrow, and a residual; the blocks of the first stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * EXPANSION
        self.conv1 = ConvNorm(width, hidden, 1)
        self.conv2 = ConvNorm(hidden, hidden, 3, groups=hidden)
        self.conv3 = ConvNorm(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same shape."""
        y = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        return F.gelu(self.conv3(y) + x)


class Merging(nn.Module):
    """From one stage to the next: other width, and half the resolution where strided."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(width, wider, 1)
        self.conv2 = ConvNorm(wider, wider, 3, stride=stride, groups=wider)
        self.conv3 = ConvNorm(wider, wider, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',H/stride,W/stride]."""
        return in_full(self.conv3, F.gelu(self.conv2(F.gelu(self.conv1(x)))))


class WindowAttention(nn.Module):
    """Attention inside one window, with one learnt bias per head and distance (|dy|, |dx|)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))

    def bias(self) -> Tensor:
        """The bias of every pair of positions, [heads,N,N] with N = window²."""
        side = torch.arange(self.window, device=self.attention_biases.device)
        apart = (side[:, None] - side[None, :]).abs()
        index = apart[:, None, :, None] * self.window + apart[None, :, None, :]
        count = self.window**2
        return self.attention_biases[:, index.reshape(count, count)]

    def forward(self, x: Tensor) -> Tensor:
        """[windows,N,C] -> the same shape."""
        count, tokens, width = x.shape
        # Per head its query, key and value lie side by side.
        qkv = self.qkv(self.norm(x)).view(count, tokens, self.heads, 3, width // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        # Only a four-dimensional bias reaches the fused kernel.
        bias = self.bias().to(q.dtype)[None]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return cast(Tensor, self.proj(y.transpose(1, 2).reshape(count, tokens, width)))


class FeedForward(nn.Module):
    """Norm, two linear layers and a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, EXPANSION * width)
        self.fc2 = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[...,C] -> the same shape."""
        return cast(Tensor, self.fc2(F.gelu(self.fc1(self.norm(x)))))


class AttentionBlock(nn.Module):
    """Window attention, a depthwise 3x3 convolution, a feed-forward part."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = WindowAttention(width, heads, window)
        self.mlp = FeedForward(width)
        self.local_conv = ConvNorm(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same shape."""
        tokens = x.permute(0, 2, 3, 1)
        tokens = tokens + self._in_windows(tokens)
        tokens = in_full(self.local_conv, tokens.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return cast(Tensor, tokens + self.mlp(tokens)).permute(0, 3, 1, 2)

    def _in_windows(self, x: Tensor) -> Tensor:
        """Attention window by window; padding takes part in it, as in the published model."""
        batch, height, width, channels = x.shape
        side = self.attn.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.view(batch, rows, side, columns, side, channels).transpose(2, 3)
        x = self.attn(x.reshape(-1, side * side, channels))
        x = x.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return x.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]


class Stage(nn.Module):
    """Blocks of one resolution, then the way to the next (``downsample``)."""

    def __init__(self, blocks: list[nn.Module], merging: Merging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = merging

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',H',W']."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


class TinyViT(nn.Module):
    """The image encoder. ``norm_head`` and ``head`` classify ImageNet; SAM never runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.img_size = IMAGE_SIZE
        self.patch_embed = Stem(WIDTHS[0])
        self.layers = nn.ModuleList(_stage(number) for number in range(len(WIDTHS)))
        self.norm_head = nn.LayerNorm(WIDTHS[-1])
        self.head = nn.Linear(WIDTHS[-1], CLASSES)
        norm = segment_anything_modules().LayerNorm2d
        self.neck = FullSequential(
            nn.Conv2d(WIDTHS[-1], CHANNELS, 1, bias=False),
            norm(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            norm(CHANNELS),
        )

    def train(self, mode: bool = True) -> Self:
        """Training mode for everything but the BatchNorms, whose statistics are frozen."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,S,S] float, SAM-normalised -> [B,256,S/16,S/16]."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return cast(Tensor, self.neck(x))


def _stage(number: int) -> Stage:
    width, last = WIDTHS[number], number == len(WIDTHS) - 1
    blocks: list[nn.Module] = [
        AttentionBlock(width, HEADS[number], WINDOWS[number])
        if number
        else InvertedBottleneck(width)
        for _ in range(DEPTHS[number])
    ]
    return Stage(blocks, None if last else Merging(width, WIDTHS[number + 1], STRIDES[number]))


def build_mobile_sam() -> Any:
    """segment_anything's ``Sam`` with the TinyViT encoder, random weights, in eval mode."""
    upstream = segment_anything_modules()
    side = IMAGE_SIZE // 16
    prompt_encoder = upstream.PromptEncoder(
        embed_dim=CHANNELS,
        image_embedding_size=(side, side),
        input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
        mask_in_chans=16,
    )
    transformer = upstream.TwoWayTransformer(
        depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8
    )
    decoder = upstream.MaskDecoder(
        num_multimask_outputs=3, transformer=transformer, transformer_dim=CHANNELS
    )
    return upstream.Sam(TinyViT(), prompt_encoder, decoder).eval()
