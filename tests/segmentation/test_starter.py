"""The starter model: its size, its shapes and its released weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from infosam_studio.segmentation.starter import StarterEncoder, build_starter

MODELS = Path(__file__).parents[2] / "resources" / "models"
WEIGHTS = MODELS / "starter.safetensors"
released = pytest.mark.skipif(not WEIGHTS.is_file(), reason="no released weights yet")


def test_size_and_parts() -> None:
    sam = build_starter()
    assert sum(p.numel() for p in sam.parameters()) < 7_500_000
    assert not sam.training
    batch_norms = [m for m in sam.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert not batch_norms
    names = dict(sam.image_encoder.named_modules())
    assert isinstance(names["blocks.5.attn.qkv"], nn.Linear)
    assert sam.image_encoder.img_size == 512
    assert sam.prompt_encoder.mask_input_size == (128, 128)


def test_answers_a_click_like_any_sam() -> None:
    torch.manual_seed(0)
    sam = build_starter()
    record = {
        "image": torch.rand(3, 512, 384) * 255,
        "original_size": (600, 450),
        "point_coords": torch.tensor([[[100.0, 200.0]], [[30.0, 40.0]]]),
        "point_labels": torch.ones(2, 1),
        "mask_inputs": torch.zeros(2, 1, 128, 128),
    }
    answer = sam([record], multimask_output=True)[0]
    assert answer["masks"].shape == (2, 3, 600, 450)
    assert answer["low_res_logits"].shape == (2, 3, 128, 128)
    assert answer["iou_predictions"].shape == (2, 3)


@pytest.mark.parametrize("size", [256, 384])
def test_encoder_takes_smaller_images_for_training(size: int) -> None:
    encoder = StarterEncoder().eval()
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, size, size)).shape == (1, 256, size // 16, size // 16)


def test_parts_give_the_whole() -> None:
    torch.manual_seed(0)
    encoder = StarterEncoder().eval()
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        tokens, skip = encoder.stem(image)
        for block in encoder.blocks:
            tokens = block(tokens)
        assert torch.equal(encoder.neck(tokens, skip), encoder(image))


def test_attention_is_the_same_with_and_without_gradient() -> None:
    torch.manual_seed(0)
    encoder = StarterEncoder().eval()
    image = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        frozen = encoder(image)
    assert torch.allclose(encoder(image), frozen, atol=1e-4)


def test_checkpoint_is_strict(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam = build_starter()
    path = tmp_path / "starter.safetensors"
    save_file({k: v.half().contiguous() for k, v in sam.state_dict().items()}, str(path))
    again = build_starter(path)
    key = "image_encoder.blocks.0.attn.qkv.weight"
    assert torch.equal(again.state_dict()[key], sam.state_dict()[key].half().float())
    short = load_file(str(path))
    del short[key]
    save_file(short, str(path))
    with pytest.raises(RuntimeError, match=r"blocks\.0\.attn\.qkv\.weight"):
        build_starter(path)


@released
def test_released_weights() -> None:
    manifest = json.loads((MODELS / "starter.json").read_text())
    content = WEIGHTS.read_bytes()
    assert len(content) < 15_000_000
    assert hashlib.sha256(content).hexdigest() == manifest["sha256"]
    weights = load_file(str(WEIGHTS))
    assert {value.dtype for value in weights.values()} == {torch.float16}
    sam = build_starter(WEIGHTS)
    assert sum(p.numel() for p in sam.parameters()) <= manifest["architecture"]["parameters"]


@released
def test_released_weights_segment_a_disc() -> None:
    sam = build_starter(WEIGHTS)
    ys, xs = torch.meshgrid(torch.arange(512), torch.arange(512), indexing="ij")
    disc = (xs - 200) ** 2 + (ys - 300) ** 2 < 70**2
    image = torch.where(disc, 60.0, 190.0).expand(3, 512, 512).contiguous()
    record = {
        "image": image,
        "original_size": (512, 512),
        "boxes": torch.tensor([[130.0, 230.0, 270.0, 370.0]]),
    }
    mask = sam([record], multimask_output=False)[0]["masks"][0, 0]
    iou = (mask & disc).sum() / (mask | disc).sum()
    assert iou > 0.6
