"""The quick encoder attention, decoder and enlarging against upstream's own modules."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from infosam_studio.segmentation import (
    fast_attention,
    fast_decoder,
    fast_linear,
    piecewise_attention,
    windows,
)
from infosam_studio.segmentation.adapter_layers import LoraLinear
from infosam_studio.segmentation.architectures import BUILDERS
from infosam_studio.segmentation.enlarge import enlarge
from infosam_studio.segmentation.fast_attention import FastAttention, install, prepare, uninstall
from infosam_studio.segmentation.starter import build_starter
from infosam_studio.segmentation.upstream import segment_anything_modules

# Width and heads of ViT-B, ViT-L and ViT-H; the depth is cut to one windowed and one global block.
VITS = {"vit_b": (768, 12), "vit_l": (1024, 16), "vit_h": (1280, 16)}


def vit(dim: int, heads: int, *, img_size: int = 256, rel_pos: bool = True) -> Any:
    torch.manual_seed(1)
    encoder = segment_anything_modules().ImageEncoderViT(
        depth=2,
        embed_dim=dim,
        img_size=img_size,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=heads,
        use_rel_pos=rel_pos,
        window_size=14,
        global_attn_indexes=(1,),
    )
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                value.normal_(0, 0.2)
    return encoder.eval()


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_layers_in_bf16_are_rounded_once(gelu: bool, bias: bool) -> None:
    torch.manual_seed(2)
    layer = torch.nn.Linear(48, 80, bias=bias)
    x = torch.randn(2, 3, 5, 48)
    with torch.inference_mode():
        low = copy.deepcopy(layer).bfloat16().double()
        exact = low(x.bfloat16().double())
        exact = F.gelu(exact) if gelu else exact
        with torch.autocast("cpu", torch.bfloat16):
            made = fast_linear.linear(layer, x, gelu=gelu)
    assert made.dtype == torch.bfloat16
    assert made.shape == exact.shape
    # Half a unit in the last of eight bits, and what fp32 sums leave.
    torch.testing.assert_close(made.double(), exact, rtol=2**-8, atol=1e-5)


def test_what_is_more_than_a_linear_layer_is_run_as_it_is() -> None:
    layer = torch.nn.Linear(8, 8)
    layer.register_forward_hook(lambda _layer, _inputs, output: output + 100)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert float(fast_linear.linear(layer, torch.zeros(1, 8)).min()) > 90
    x = torch.zeros(1, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        fast_linear.linear(torch.nn.Linear(8, 8), x, gelu=True).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("name", list(VITS))
def test_encoder_equals_upstream(name: str) -> None:
    encoder = vit(*VITS[name])
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        plain = encoder(x)
        assert install(encoder) == 2
        assert install(encoder) == 0
        fast = encoder(x)
        with torch.autocast("cpu", torch.bfloat16):
            low = encoder(x)
        assert uninstall(encoder) == 2
        again = encoder(x)
    torch.testing.assert_close(fast, plain, atol=2e-5, rtol=0)
    assert torch.equal(again, plain)
    assert (low - plain).abs().mean() < 0.01 * plain.abs().mean()


def test_without_position_bias() -> None:
    encoder = vit(32, 2, rel_pos=False)
    x = torch.randn(2, 3, 256, 256)
    with torch.inference_mode():
        plain = encoder(x)
        install(encoder)
        torch.testing.assert_close(encoder(x), plain, atol=2e-5, rtol=0)


def test_tables_of_another_size_are_stretched() -> None:
    """As upstream does for checkpoints that were trained at another resolution."""
    encoder = vit(32, 2)
    for block in encoder.blocks:
        for name in ("rel_pos_h", "rel_pos_w"):
            table = torch.nn.Parameter(torch.randn(21, 16))
            setattr(block.attn, name, table)
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        plain = encoder(x)
        install(encoder)
        torch.testing.assert_close(encoder(x), plain, atol=2e-5, rtol=0)


def test_gradients_equal_upstream() -> None:
    encoder = vit(32, 2)
    fast = copy.deepcopy(encoder)
    install(fast)
    x = torch.randn(2, 3, 256, 256)
    weight = torch.randn(2, 256, 16, 16)
    for network in (encoder, fast):
        (network(x) * weight).sum().backward()
    for (name, one), (_, two) in zip(
        encoder.named_parameters(), fast.named_parameters(), strict=True
    ):
        assert one.grad is not None
        assert two.grad is not None
        scale = float(one.grad.abs().max())
        assert float((one.grad - two.grad).abs().max()) <= 1e-4 * scale, name


def test_copies_hooks_and_lora_go_on_working() -> None:
    encoder = vit(32, 2)
    seen: list[Tensor] = []
    encoder.blocks[0].attn.register_forward_hook(lambda m, i, o: seen.append(o))
    attention = encoder.blocks[1].attn
    attention.qkv = LoraLinear(attention.qkv, torch.randn(4, 32), torch.randn(96, 4), 0.5)
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        plain = encoder(x)
        twin = copy.deepcopy(encoder)
        install(encoder)
        torch.testing.assert_close(encoder(x), plain, atol=1e-4, rtol=0)
        assert install(twin) == 2
        torch.testing.assert_close(twin(x), plain, atol=1e-4, rtol=0)
    assert len(seen) == 3
    assert isinstance(attention, FastAttention)
    assert list(twin.state_dict()) == list(encoder.state_dict())


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest result of any operation."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple) else (result,):
            if isinstance(item, Tensor) and item.untyped_storage():
                size = item.untyped_storage().nbytes() // item.element_size()
                self.elements = max(self.elements, size)
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_matrix_of_all_pairs_is_held(dtype: torch.dtype) -> None:
    encoder = vit(32, 2, img_size=1024)
    install(encoder)
    attention = encoder.blocks[1].attn.to(dtype)
    pairs = 4096**2
    with torch.inference_mode(), LargestTensor() as largest:
        attention(torch.randn(1, 64, 64, 32, dtype=dtype))
    assert largest.elements < pairs / 8


def test_other_architectures_are_left_alone() -> None:
    for build in (BUILDERS["mobile_sam"], BUILDERS["starter"]):
        with torch.device("meta"):
            assert install(build().image_encoder) == 0


def test_preparing_changes_the_order_of_weights_not_their_values() -> None:
    encoder = build_starter().image_encoder
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        plain = encoder(x)
        assert prepare(encoder) == torch.channels_last
        quick = encoder(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(quick, plain, atol=1e-4, rtol=0)
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
    assert prepare(vit(32, 2)) == torch.contiguous_format


def test_best_precision_is_one_the_predictor_knows() -> None:
    assert fast_attention.best_precision("cpu") in ("fp32", "bf16")
    assert fast_attention.best_precision("mps") == "fp32"


@pytest.mark.parametrize("prompts", [1, 3])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("which", ["tiny", "starter"])
def test_decoder_equals_upstream(
    make_sam: Callable[..., Any], prompts: int, with_mask: bool, multimask: bool, which: str
) -> None:
    torch.manual_seed(7)
    sam = make_sam() if which == "tiny" else build_starter()
    side = sam.prompt_encoder.image_embedding_size[0]
    masks = torch.randn(prompts, 1, 4 * side, 4 * side) if with_mask else None
    with torch.inference_mode():
        sparse, dense = sam.prompt_encoder(
            points=(torch.rand(prompts, 2, 2) * 200, torch.ones(prompts, 2)),
            boxes=torch.rand(prompts, 4) * 200,
            masks=masks,
        )
        features, position = torch.randn(1, 256, side, side), sam.prompt_encoder.get_dense_pe()
        low_res, scores = sam.mask_decoder(
            image_embeddings=features,
            image_pe=position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )
        ours = fast_decoder.decode(
            sam.mask_decoder,
            features=features,
            position=position,
            sparse=sparse,
            dense=dense,
            multimask=multimask,
        )
    assert ours[0].shape == low_res.shape
    torch.testing.assert_close(ours[0], low_res, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(ours[1], scores, atol=2e-5, rtol=1e-5)


def smooth_logits(seed: int, size: int = 64, detail: int = 7) -> np.ndarray[Any, Any]:
    torch.manual_seed(seed)
    coarse = torch.randn(1, 1, detail, detail) * 3
    return F.interpolate(coarse, (size, size), mode="bicubic")[0, 0].numpy()


@pytest.mark.parametrize(
    ("size", "input_size"),
    [
        ((300, 400), (192, 256)),
        ((1500, 2000), (192, 256)),
        ((97, 333), (75, 256)),
        ((50, 40), (256, 205)),
        ((256, 256), (256, 256)),
        ((1, 700), (1, 256)),
        ((700, 3), (256, 1)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_enlarging_equals_upstream(
    make_sam: Callable[..., Any], size: tuple[int, int], input_size: tuple[int, int], seed: int
) -> None:
    low_res = smooth_logits(seed) - seed
    logits = make_sam().postprocess_masks(torch.from_numpy(low_res)[None, None], input_size, size)
    expected = logits[0, 0].numpy()
    for threshold in (0.0, 1.5):
        mask = enlarge(low_res, img_size=256, input_size=input_size, size=size, threshold=threshold)
        assert mask.dtype == np.bool_
        assert mask.shape == size
        sure = np.abs(expected - threshold) > 1e-4
        np.testing.assert_array_equal(mask[sure], (expected > threshold)[sure])


@pytest.mark.parametrize("place", [(0, 0), (0, 63), (63, 0), (63, 63), (31, 17)])
def test_a_mask_of_one_sample_is_not_cut(
    make_sam: Callable[..., Any], place: tuple[int, int]
) -> None:
    low_res = np.full((64, 64), -3.0, dtype=np.float32)
    low_res[place] = 9.0
    logits = make_sam().postprocess_masks(
        torch.from_numpy(low_res)[None, None], (256, 256), (611, 611)
    )
    expected = logits[0, 0].numpy()
    mask = enlarge(low_res, img_size=256, input_size=(256, 256), size=(611, 611))
    sure = np.abs(expected) > 1e-4
    np.testing.assert_array_equal(mask[sure], (expected > 0)[sure])
    assert mask.any()


def test_empty_and_full_masks() -> None:
    for value in (-1.0, 1.0):
        low_res = np.full((64, 64), value, dtype=np.float32)
        mask = enlarge(low_res, img_size=256, input_size=(192, 256), size=(75, 100))
        assert mask.all() if value > 0 else not mask.any()


def parts_of_attention(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(5)
    rows, columns, size = 6, 5, 16
    widths = (size, size, size, rows, columns)
    parts = [torch.randn(2, 2, rows * columns, width).to(dtype) for width in widths]
    return [part.requires_grad_(True) for part in parts]


def written_out(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    scores = 0.7 * q @ k.transpose(-2, -1)
    grid = by_row[..., :, None] + by_column[..., None, :]
    return torch.softmax(scores + grid.flatten(-2), -1) @ v


def test_pieces_in_bf16_round_only_what_meets_the_values() -> None:
    q, k, v, *bias = parts = parts_of_attention(torch.bfloat16)
    exact = written_out(*(part.float() for part in parts))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = piecewise_attention.attend(q, k, v, (bias[0], bias[1]), scale=0.7)
    assert made.dtype == torch.bfloat16
    torch.testing.assert_close(made.float(), exact, rtol=0.01, atol=0.01)


@pytest.mark.parametrize("piece", [1, 2 * 7 * 30, 2 * 40 * 30, 2**20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [True, False])
def test_pieces_have_the_gradient_of_what_is_written_out(
    monkeypatch: pytest.MonkeyPatch, piece: int, dtype: torch.dtype, biased: bool
) -> None:
    monkeypatch.setattr(piecewise_attention, "PIECE", piece)
    parts = parts_of_attention(dtype)
    q, k, v, *bias = parts
    known = parts if biased else [q, k, v, *(torch.zeros_like(part) for part in bias)]
    exact = written_out(*(part.float() for part in known))
    made = piecewise_attention.attend(q, k, v, (bias[0], bias[1]) if biased else None, scale=0.7)
    weight = torch.randn(exact.shape)
    wanted = parts if biased else [q, k, v]
    expected = torch.autograd.grad((exact * weight).sum(), wanted)
    got = torch.autograd.grad((made.float() * weight).sum(), wanted)
    exactness = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(made.float(), exact, rtol=exactness, atol=exactness)
    for one, two in zip(got, expected, strict=True):
        assert one.dtype == dtype
        scale = float(two.abs().max())
        assert float((one - two).abs().max()) <= exactness * scale


@pytest.mark.parametrize("size", [4, 7, 8])
def test_windows_are_upstreams(size: int) -> None:
    x = torch.randn(2, 8, 11, 3)
    image_encoder = importlib.import_module(
        segment_anything_modules().modeling.__name__ + ".image_encoder"
    )
    expected, _ = image_encoder.window_partition(x, size)
    made = windows.into_windows(x, size, torch.zeros(3))
    assert torch.equal(made.flatten(0, 2), expected)
    assert torch.equal(windows.out_of_windows(made, 8, 11), x)


def test_windows_beyond_the_image_hold_what_upstreams_zeros_become() -> None:
    encoder = vit(32, 2)
    fast = copy.deepcopy(encoder)
    install(fast)
    for network in (encoder, fast):
        with torch.no_grad():
            network.blocks[0].attn.qkv.bias.normal_(
                0, 3, generator=torch.Generator().manual_seed(1)
            )
    seen: list[int] = []
    fast.blocks[0].attn.qkv.register_forward_hook(lambda m, i, o: seen.append(o[..., 0].numel()))
    x = torch.randn(1, 3, 256, 256)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), encoder(x), atol=1e-4, rtol=0)
    # Every token once (upstream: 784 of them), and one zero.
    assert sorted(seen) == [1, 256]
