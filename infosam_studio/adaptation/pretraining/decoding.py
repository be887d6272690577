"""Decoding many prompts of many images in one call, for training.

The arithmetic is upstream's (``PromptEncoder`` and ``MaskDecoder.predict_masks``) on the same
modules; upstream repeats one image for all prompts, here each image has its own. The upscaling
runs as linear layers on channels-last tokens, which is much faster on a CPU.

The positional encoding is always computed in fp32; only its values in -1..1 are rounded where
the embeddings are bf16 (computing it in bf16 ruins it, and then nothing is learnt).
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infosam_studio.segmentation.fast_attention import best_precision

NOT_A_POINT, NEGATIVE, POSITIVE, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3


def mixed_precision(device: torch.device) -> torch.autocast:
    """bf16 autocast where it pays; a processor without bf16 takes three times as long with it."""
    low = best_precision(device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=low)


def encode_prompts(
    sam: Any, points: Tensor, labels: Tensor, masks: Tensor | None, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Sparse [N,T,256] and dense [N,256,h,w] (or [1,...]) prompt embeddings, fp32.

    points [N,T,2] float in 0..1 (pixel centres over image size), labels [N,T] int as the
    constants of this module, masks [N,1,4h,4w] logits or None, grid (h, w).
    """
    encoder = sam.prompt_encoder
    with torch.autocast(points.device.type, enabled=False):
        position = encoder.pe_layer._pe_encoding(points.float())
        position = position * (labels >= 0)[..., None]
        kinds = torch.cat(
            [encoder.not_a_point_embed.weight]
            + [embedding.weight for embedding in encoder.point_embeddings]
        )
        sparse = position + kinds[labels + 1]
        if masks is not None:
            dense = encoder.mask_downscaling(masks.float())
        else:
            dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(1, -1, *grid)
    return sparse, dense


def image_positions(sam: Any, grid: tuple[int, int], frames: Tensor | None = None) -> Tensor:
    """Positional encoding of the embedding, [1 or B,256,h,w] fp32.

    frames [B,3]: image b is seen as a part of a larger one; its point p in 0..1 lies at
    ``frames[b, :2] + p * frames[b, 2]`` there.
    """
    layer = sam.prompt_encoder.pe_layer
    if frames is None:
        return cast(Tensor, layer(grid).unsqueeze(0))
    ys = (torch.arange(grid[0], device=frames.device) + 0.5) / grid[0]
    xs = (torch.arange(grid[1], device=frames.device) + 0.5) / grid[1]
    cells = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
    cells = frames[:, None, None, :2] + cells * frames[:, None, None, 2:]
    return cast(Tensor, layer._pe_encoding(cells).permute(0, 3, 1, 2))


def decode(
    sam: Any,
    embeddings: Tensor,
    sparse: Tensor,
    dense: Tensor,
    owner: Tensor,
    positions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All four masks of every prompt.

    embeddings [B,256,h,w], sparse [N,T,256], dense [N or 1,256,h,w], owner [N] int64 (the
    image of each prompt), positions as :func:`image_positions` gives them (default: of a whole
    image) -> logits [N,4,4h,4w] fp32, predicted IoU [N,4] fp32.
    """
    decoder = sam.mask_decoder
    count, (h, w) = len(sparse), embeddings.shape[-2:]
    if positions is None:
        with torch.autocast(sparse.device.type, enabled=False):
            positions = image_positions(sam, (h, w))
    output_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(count, -1, -1), sparse], dim=1)
    image_pe = positions.to(embeddings.dtype)
    image_pe = image_pe[owner] if len(image_pe) > 1 else image_pe.expand(count, -1, -1, -1)
    image = embeddings[owner] + dense.to(embeddings.dtype)
    hidden, keys = decoder.transformer(image, image_pe, tokens)
    pixels = _upscale(decoder, keys)
    hyper = torch.stack(
        [mlp(hidden[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=2
    )
    logits = pixels @ hyper.to(pixels.dtype)
    logits = logits.reshape(count, h, w, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    iou = decoder.iou_prediction_head(hidden[:, 0])
    return logits.reshape(count, -1, 4 * h, 4 * w).float(), iou.float()


def _upscale(decoder: Any, keys: Tensor) -> Tensor:
    """[N,h*w,256] -> [N,h*w*16,32], the 16 sub-pixels in order (y1,x1,y2,x2)."""
    up1, norm, act, up2, act2 = decoder.output_upscaling
    n, length, _ = keys.shape
    x = _as_linear(up1, keys).reshape(n, length, 4, -1)
    x = F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    x = _as_linear(up2, act(x)).reshape(n, length * 16, -1)
    return cast(Tensor, act2(x))


def _as_linear(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A 2x2 stride-2 transposed convolution on tokens: [...,C] -> [...,4*out] (y, x, out)."""
    weight = conv.weight.permute(2, 3, 1, 0).reshape(-1, conv.in_channels)
    bias = conv.bias.repeat(4) if conv.bias is not None else None
    return F.linear(x, weight, bias)
