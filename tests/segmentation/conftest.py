"""Small random models, pictures with closed formulas, and upstream's own predictor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.upstream import segment_anything_modules

Picture = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_sam(seed: int = 0, *, img_size: int = 256, dim: int = 32, depth: int = 2) -> Any:
    """A whole ``Sam`` with a ViT of a few thousand weights, all random and none zero."""
    upstream = segment_anything_modules()
    side = img_size // 16
    torch.manual_seed(seed)
    encoder = upstream.ImageEncoderViT(
        depth=depth,
        embed_dim=dim,
        img_size=img_size,
        mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=16,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=[depth - 1],
        window_size=6,
        out_chans=256,
    )
    prompt_encoder = upstream.PromptEncoder(
        embed_dim=256,
        image_embedding_size=(side, side),
        input_image_size=(img_size, img_size),
        mask_in_chans=16,
    )
    decoder = upstream.MaskDecoder(
        num_multimask_outputs=3,
        transformer=upstream.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=64, num_heads=8),
        transformer_dim=256,
    )
    sam = upstream.Sam(encoder, prompt_encoder, decoder)
    with torch.no_grad():
        for name, value in sam.named_parameters():
            if not value.any() or "rel_pos" in name or "pos_embed" in name:
                value.normal_(0, 0.2)
    return sam.eval()


@pytest.fixture(name="make_sam", scope="session")
def _make_sam() -> Callable[..., Any]:
    return tiny_sam


@pytest.fixture
def model() -> LoadedModel:
    """A tiny model, loaded anew for every test."""
    return LoadedModel.from_sam(tiny_sam(), name="tiny", architecture="vit_tiny")


@pytest.fixture(scope="session")
def picture() -> Picture:
    """A picture of 180 x 240 pixels with edges and gradients, uint8 RGB."""
    yy, xx = np.mgrid[:180, :240]
    red = 120 + 100 * np.sin(xx / 17) * np.cos(yy / 23)
    green = np.where((yy - 90) ** 2 + (xx - 130) ** 2 < 50**2, 220, 40)
    blue = (xx * 3 + yy * 5) % 256
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def _pillow_resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize(size[::-1], Image.Resampling.BILINEAR)


@pytest.fixture
def upstream_predictor(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """segment_anything's own ``SamPredictor``, run with the two torchvision functions it needs.

    These are what torchvision itself calls for Pillow images.
    """
    segment_anything_modules()
    functional = ModuleType("torchvision.transforms.functional")
    functional.resize = _pillow_resize  # type: ignore[attr-defined]
    functional.to_pil_image = Image.fromarray  # type: ignore[attr-defined]
    for name in ("torchvision", "torchvision.transforms"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, functional.__name__, functional)
    predictor: type[Any] = importlib.import_module("segment_anything.predictor").SamPredictor
    return predictor
