"""MobileSAM's encoder: its layout is checked in test_checkpoints, its arithmetic here.

The numbers of the whole encoder were compared with the published code once (random weights,
1024 px: largest difference 3.3e-7); that code is not part of this repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infosam_studio.segmentation.architectures import build_empty
from infosam_studio.segmentation.architectures.mobile_sam import (
    AttentionBlock,
    ConvNorm,
    InvertedBottleneck,
    Merging,
    TinyViT,
    WindowAttention,
    build_mobile_sam,
)
from infosam_studio.segmentation.checkpoints import load_checkpoint


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        if "running_var" in name or ("norm" in name and "weight" in name):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(0, 0.3)
    return module.eval()


def by_hand(attention: WindowAttention, window: Tensor) -> Tensor:
    """One window [N,C], position by position."""
    x = F.layer_norm(window, window.shape[-1:], attention.norm.weight, attention.norm.bias)
    rows = F.linear(x, attention.qkv.weight, attention.qkv.bias)
    size = window.shape[-1] // attention.heads
    outputs = []
    for head in range(attention.heads):
        own = rows[:, head * 3 * size : (head + 1) * 3 * size]
        q, k, v = own[:, :size], own[:, size : 2 * size], own[:, 2 * size :]
        scores = q @ k.T / size**0.5
        for one in range(len(window)):
            for two in range(len(window)):
                dy = abs(one // attention.window - two // attention.window)
                dx = abs(one % attention.window - two % attention.window)
                index = dy * attention.window + dx
                scores[one, two] += attention.attention_biases[head, index]
        outputs.append(scores.softmax(-1) @ v)
    return F.linear(torch.cat(outputs, -1), attention.proj.weight, attention.proj.bias)


def test_attention_by_hand() -> None:
    attention = randomised(WindowAttention(12, 3, 3))
    assert isinstance(attention, WindowAttention)
    windows = torch.randn(2, 9, 12)
    expected = torch.stack([by_hand(attention, window) for window in windows])
    torch.testing.assert_close(attention(windows), expected, atol=1e-5, rtol=1e-5)


def test_padding_takes_part_in_attention() -> None:
    block = randomised(AttentionBlock(8, 2, 4))
    assert isinstance(block, AttentionBlock)
    x = torch.randn(1, 5, 6, 8)
    padded = torch.zeros(1, 8, 8, 8)
    padded[:, :5, :6] = x
    expected = torch.zeros_like(padded)
    for top in (0, 4):
        for left in (0, 4):
            window = padded[0, top : top + 4, left : left + 4].reshape(16, 8)
            answer = by_hand(block.attn, window).reshape(4, 4, 8)
            expected[0, top : top + 4, left : left + 4] = answer
    result = block._in_windows(x)
    torch.testing.assert_close(result, expected[:, :5, :6], atol=1e-5, rtol=1e-5)


def test_convolutions_are_normalised_by_the_running_statistics() -> None:
    layer = randomised(ConvNorm(3, 5, 3, stride=2))
    assert isinstance(layer, ConvNorm)
    x = torch.randn(2, 3, 9, 9)
    y = F.conv2d(x, layer.c.weight, stride=2, padding=1)
    assert layer.bn.running_mean is not None
    assert layer.bn.running_var is not None
    scale = layer.bn.weight / torch.sqrt(layer.bn.running_var + 1e-5)
    shift = layer.bn.bias - layer.bn.running_mean * scale
    expected = y * scale[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)
    assert layer(x).shape == (2, 5, 5, 5)


def test_bottleneck_and_merging() -> None:
    x = torch.randn(1, 6, 10, 10)
    block = randomised(InvertedBottleneck(6))
    assert isinstance(block, InvertedBottleneck)
    inner = F.gelu(block.conv2(F.gelu(block.conv1(x))))
    torch.testing.assert_close(block(x), F.gelu(x + block.conv3(inner)))
    assert randomised(Merging(6, 9, 2))(x).shape == (1, 9, 5, 5)
    assert randomised(Merging(6, 9, 1))(x).shape == (1, 9, 10, 10)


def test_the_statistics_never_drift() -> None:
    encoder = TinyViT().train()
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert encoder.training
    assert norms
    assert not any(module.training for module in norms)


def test_a_file_of_the_published_layout_loads_strictly_and_encodes(tmp_path: Path) -> None:
    encoder = randomised(build_mobile_sam(), seed=3)
    state = encoder.state_dict()
    path = tmp_path / "mobile_sam.pt"
    torch.save(state, path)
    model = load_checkpoint(path)
    assert model.info.architecture == "mobile_sam"
    loaded = model.sam.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert loaded["image_encoder.patch_embed.seq.0.bn.num_batches_tracked"].dtype == torch.int64
    small = torch.randn(1, 3, 256, 256)
    assert model.sam.image_encoder(small).shape == (1, 256, 16, 16)


def test_the_full_size_has_the_shape_sam_expects() -> None:
    sam = build_empty("mobile_sam")
    features = sam.image_encoder(torch.empty(1, 3, 1024, 1024, device="meta"))
    assert features.shape == (1, 256, 64, 64)
    assert sam.image_encoder.img_size == 1024
