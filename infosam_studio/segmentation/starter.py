"""The starter model: a small encoder inside segment_anything's own ``Sam``.

It takes 512 px images, so its embedding is 32x32 and its low-resolution masks are 128x128
(not SAM's 64x64 and 256x256). Code that feeds masks back must therefore use
``sam.prompt_encoder.mask_input_size``, and code that places clicks must use
``sam.image_encoder.img_size``; nothing else differs from an upstream SAM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from infosam_studio.segmentation.precision import in_full
from infosam_studio.segmentation.upstream import segment_anything_modules

IMAGE_SIZE = 512
EMBEDDING_SIZE = IMAGE_SIZE // 16
EMBEDDING_CHANNELS = 256
PE_LOWEST, PE_HIGHEST = 0.5, 4.0
WINDOW = 16
WRITTEN_OUT_UP_TO = 600


class ConvBlock(nn.Module):
    """Residual block: norm, 3x3 convolution, ReLU, 3x3 convolution, on [B,H,W,C]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] float -> same shape."""
        y = self.conv2(F.relu(self.conv1(self.norm(x).permute(0, 3, 1, 2))))
        return cast(Tensor, x + y.permute(0, 2, 3, 1))


class Attention(nn.Module):
    """Self-attention with SAM's parameter names (``qkv``, ``proj``), on [B,H,W,C].

    ``windowed`` splits the map into equal windows of at most 16x16 tokens; otherwise every
    position attends to every other.
    """

    def __init__(self, dim: int, num_heads: int, windowed: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.windowed = windowed
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] float -> same shape; H and W must split evenly into their windows."""
        b, h, w, c = x.shape
        rows = -(-h // WINDOW) if self.windowed else 1
        cols = -(-w // WINDOW) if self.windowed else 1
        th, tw, head = h // rows, w // cols, c // self.num_heads
        qkv = self.qkv(x).reshape(b, rows, th, cols, tw, 3, self.num_heads, head)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7)
        qkv = qkv.reshape(3, b * rows * cols, self.num_heads, th * tw, head)
        y = _attend(*qkv.unbind(0))
        y = y.reshape(b, rows, cols, self.num_heads, th, tw, head)
        y = y.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, h, w, c)
        return cast(Tensor, self.proj(y))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention; written out where that trains faster on a CPU."""
    if q.requires_grad and q.device.type == "cpu" and q.shape[-2] <= WRITTEN_OUT_UP_TO:
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        return torch.softmax(weights, dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class MLP(nn.Module):
    """Two linear layers with SAM's names ``lin1`` and ``lin2``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[...,C] float -> same shape."""
        return cast(Tensor, self.lin2(F.relu(self.lin1(x))))


class Block(nn.Module):
    """Transformer block; a depthwise 3x3 convolution tells it where neighbours are.

    There is no absolute position table, so the encoder works at any multiple of 16 px.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: int, windowed: bool) -> None:
        super().__init__()
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads, windowed)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, dim * mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """[B,H,W,C] float -> same shape."""
        x = x + self.position(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.attn(self.norm1(x))
        return cast(Tensor, x + self.mlp(self.norm2(x)))


class Stem(nn.Module):
    """Everything below the first attention block: 1/4, 1/8 and 1/16 by convolutions.

    ``forward`` returns the tokens for the blocks and a skip map for the neck that carries
    fine detail (1/4 and 1/8) around the blocks. Neither depends on any ``blocks.N``, so both
    may be cached while only blocks are adapted.
    """

    def __init__(self, dims: tuple[int, int, int], depths: tuple[int, int], out: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dims[0], 8, stride=4, padding=2)
        self.stage4 = nn.Sequential(*(ConvBlock(dims[0]) for _ in range(depths[0])))
        self.down8 = nn.Conv2d(dims[0], dims[1], 2, stride=2)
        self.stage8 = nn.Sequential(*(ConvBlock(dims[1]) for _ in range(depths[1])))
        self.down16 = nn.Conv2d(dims[1], dims[2], 2, stride=2)
        self.skip4 = nn.Conv2d(dims[0], out, 4, stride=4)
        self.skip8 = nn.Conv2d(dims[1], out, 2, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B,3,S,S] normalised -> tokens [B,S/16,S/16,C], skip [B,256,S/16,S/16]."""
        fine = self.stage4(in_full(self.patch, x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        mid = self.stage8(in_full(self.down8, fine).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        tokens = in_full(self.down16, mid).permute(0, 2, 3, 1)
        return tokens, in_full(self.skip4, fine) + in_full(self.skip8, mid)


class Neck(nn.Module):
    """Tokens and skip map to the embedding that the mask decoder reads."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.lateral = nn.Linear(dim, out)
        self.mix_norm = nn.LayerNorm(out)
        self.mix = nn.Conv2d(out, out, 3, padding=1)
        self.out_norm = nn.LayerNorm(out)

    def forward(self, tokens: Tensor, skip: Tensor) -> Tensor:
        """tokens [B,h,w,C], skip [B,256,h,w] -> [B,256,h,w]."""
        x = in_full(self.lateral, self.norm(tokens)) + skip.permute(0, 2, 3, 1)
        y = in_full(self.mix, self.mix_norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return cast(Tensor, self.out_norm(x + F.relu(y)).permute(0, 3, 1, 2))


class StarterEncoder(nn.Module):
    """Image encoder: ``stem``, attention ``blocks``, ``neck``.

    ``forward`` is ``neck(blocks(tokens), skip)`` with ``tokens, skip = stem(x)``; code that
    caches what lies below an adapted block may call the three parts itself.
    """

    def __init__(
        self,
        dims: tuple[int, int, int] = (48, 96, 224),
        depths: tuple[int, int, int] = (2, 3, 6),
        num_heads: int = 7,
        mlp_ratio: int = 3,
    ) -> None:
        super().__init__()
        self.img_size = IMAGE_SIZE
        self.stem = Stem(dims, depths[:2], EMBEDDING_CHANNELS)
        self.blocks = nn.ModuleList(
            Block(dims[2], num_heads, mlp_ratio, windowed=index % 3 != 2)
            for index in range(depths[2])
        )
        self.neck = Neck(dims[2], EMBEDDING_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """[B,3,S,S] float, SAM-normalised, S 256, 384 or 512 -> [B,256,S/16,S/16]."""
        tokens, skip = self.stem(x)
        for block in self.blocks:
            tokens = block(tokens)
        return cast(Tensor, self.neck(tokens, skip))


def build_starter(checkpoint: Path | None = None) -> Any:
    """segment_anything's ``Sam`` with the starter's parts, in eval mode, fp32.

    Without a checkpoint the weights are random (a fresh start for pre-training); with one
    (safetensors, fp16 or fp32) its keys and shapes must fit exactly.
    """
    upstream = segment_anything_modules()
    size = (EMBEDDING_SIZE, EMBEDDING_SIZE)
    prompt_encoder = upstream.PromptEncoder(
        embed_dim=EMBEDDING_CHANNELS,
        image_embedding_size=size,
        input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
        mask_in_chans=16,
    )
    transformer = upstream.TwoWayTransformer(
        depth=2, embedding_dim=EMBEDDING_CHANNELS, mlp_dim=512, num_heads=8
    )
    decoder = upstream.MaskDecoder(
        num_multimask_outputs=3,
        transformer=transformer,
        transformer_dim=EMBEDDING_CHANNELS,
        activation=torch.nn.ReLU,
    )
    sam = upstream.Sam(StarterEncoder(), prompt_encoder, decoder)
    if checkpoint is not None:
        weights = load_file(str(checkpoint))
        sam.load_state_dict({key: value.float() for key, value in weights.items()})
    elif not sam.mask_decoder.iou_token.weight.is_meta:  # where there are no values to set
        _initialise(sam)
    return sam.eval()


def _initialise(sam: Any) -> None:
    """What lets a click find its place from the first step on.

    Equal query and key projections make a click attend to where it lies. A range of
    frequencies in the positional encoding (SAM's own are all low) resolves small objects.
    """
    transformer = sam.mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    with torch.no_grad():
        for attention in attentions:
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            attention.k_proj.bias.copy_(attention.q_proj.bias)
        matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        span = torch.linspace(0.0, 1.0, matrix.shape[1])
        matrix.mul_(PE_LOWEST * (PE_HIGHEST / PE_LOWEST) ** span)
