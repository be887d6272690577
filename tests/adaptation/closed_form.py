"""A small ViT-Sam and inputs from closed formulas: rebuilt anywhere without random numbers.

The recipe-paper reference was recorded by running the official code on exactly these numbers.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SIZE, WIDTH, DEPTH = 128, 48, 4
GRID = SIZE // 16
BATCH = 4


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of a tensor by its name: waves of the size usual for its kind."""
    phase = zlib.crc32(name.encode()) % 1000
    index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    wave = 43758.5453 * np.sin(12.9898 * index + phase)
    values = (2 * (wave - np.floor(wave)) - 1).reshape(shape)
    is_norm = len(shape) == 1 and name.endswith("weight")
    if is_norm:
        values = 1 + 0.1 * values
    elif len(shape) == 1:
        values = 0.02 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(values).float()


def fill(module: nn.Module, prefix: str = "") -> None:
    """Give every parameter and buffer of a module its formula's value."""
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(formula(prefix + name, tuple(value.shape)))


def encoder_arguments() -> dict[str, Any]:
    """The small ViT, in the words of segment_anything's constructor."""
    return {
        "depth": DEPTH,
        "embed_dim": WIDTH,
        "img_size": SIZE,
        "mlp_ratio": 4,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
        "num_heads": 4,
        "patch_size": 16,
        "qkv_bias": True,
        "use_rel_pos": True,
        "global_attn_indexes": (3,),
        "window_size": 5,
        "out_chans": 256,
    }


def build(upstream: Any, encoder: Any) -> Any:
    """A ``Sam`` around an encoder from the given segment_anything modules."""
    prompt_encoder = upstream.PromptEncoder(
        embed_dim=256,
        image_embedding_size=(GRID, GRID),
        input_image_size=(SIZE, SIZE),
        mask_in_chans=16,
    )
    decoder = upstream.MaskDecoder(
        num_multimask_outputs=3,
        transformer=upstream.TwoWayTransformer(
            depth=2, embedding_dim=256, mlp_dim=128, num_heads=8
        ),
        transformer_dim=256,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return upstream.Sam(encoder, prompt_encoder, decoder)


def pixels() -> Tensor:
    """Normalised images, float32 [4, 3, S, S]."""
    return formula("pixels", (BATCH, 3, SIZE, SIZE)) * np.sqrt(3 * SIZE * SIZE)


def masks() -> Tensor:
    """Targets, float32 [4, 1, S, S]: a disk, a rectangle, stripes and a small disk."""
    yy, xx = np.mgrid[:SIZE, :SIZE]
    found = [
        (xx - 60) ** 2 + (yy - 50) ** 2 <= 30**2,
        (xx >= 20) & (xx < 90) & (yy >= 40) & (yy < 100),
        (xx + 2 * yy) % 23 < 9,
        (xx - 100) ** 2 + (yy - 90) ** 2 <= 9**2,
    ]
    return torch.from_numpy(np.stack(found)[:, None].astype(np.float32))


def points() -> Tensor:
    """One foreground point per image, float32 [4, 1, 2] (x, y)."""
    return torch.tensor([[[55.0, 52.0]], [[40.0, 70.0]], [[2.0, 0.0]], [[101.0, 88.0]]])


def boxes() -> Tensor:
    """A slightly shifted box per image, float32 [4, 4]."""
    return torch.tensor(
        [[33.0, 22, 93, 82], [18, 43, 87, 102], [3, 2, 127, 127], [89, 83, 107, 101]]
    )
