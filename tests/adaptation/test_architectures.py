"""Both recipes on every architecture: trained, written, read back, and offered on their base alone.

The ViTs have the depth and the attention layout of ViT-B, ViT-L and ViT-H, and a small width.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from infosam_studio.adaptation.adapters import Student, make_student
from infosam_studio.adaptation.encoders import split_encoder
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.adapter_folder import AdapterManifest, apply_to, write_adapter
from infosam_studio.segmentation.architectures import BUILDERS
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.fast_attention import install
from infosam_studio.segmentation.upstream import segment_anything_modules

# Depth, heads, and the blocks that look at the whole image.
VITS = {
    "vit_b": (12, 12, (2, 5, 8, 11)),
    "vit_l": (24, 16, (5, 11, 17, 23)),
    "vit_h": (32, 16, (7, 15, 23, 31)),
}
SIZE = 128


def model(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    if name not in VITS:
        return BUILDERS[name]().requires_grad_(False)
    depth, heads, whole = VITS[name]
    upstream, side = segment_anything_modules(), SIZE // 16
    encoder = upstream.ImageEncoderViT(
        depth=depth,
        embed_dim=2 * heads,
        img_size=SIZE,
        mlp_ratio=4,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=heads,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=whole,
        window_size=3,
    )
    for key, value in encoder.named_parameters():
        if "rel_pos" in key or "pos_embed" in key:
            torch.nn.init.normal_(value, 0, 0.2)
    prompts = upstream.PromptEncoder(256, (side, side), (SIZE, SIZE), 16)
    decoder = upstream.MaskDecoder(
        transformer_dim=256,
        transformer=upstream.TwoWayTransformer(2, 256, 8, 64),
        num_multimask_outputs=3,
    )
    return upstream.Sam(encoder, prompts, decoder).eval().requires_grad_(False)


def embed(sam: Any, size: int) -> Tensor:
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        features: Tensor = sam.image_encoder(pixels)
    return features


def disturb(student: Student) -> None:
    """Stand in for training."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in student.parameters().values():
            value.add_(torch.randn(value.shape, generator=generator) * 0.05)


def written(student: Student, base: LoadedModel, path: Path) -> Any:
    manifest = AdapterManifest(
        name=path.name,
        checkpoint=base.info.name,
        checkpoint_sha256=base.info.sha256,
        recipe=student.recipe,
        acts_on_encoder=student.acts_on_encoder,
    )
    return write_adapter(path, student.tensors(), manifest, student.peft_config, None)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("recipe", ["studio", "paper"])
@pytest.mark.parametrize("name", [*VITS, "starter", "mobile_sam"])
def test_recipe_on_architecture(name: str, recipe: str, fast: bool, tmp_path: Path) -> None:
    if name == "mobile_sam" and (recipe == "paper" or fast):
        pytest.skip("refused, and without fast attention of its own: see below")
    sam, other = model(name), model(name, seed=1)
    size = SIZE if name in VITS else 256
    base, stranger = (LoadedModel.from_sam(one, architecture=name) for one in (sam, other))
    if fast:
        install(sam.image_encoder)
    before = embed(sam, size)
    split = split_encoder(sam)
    first = 2 if recipe == "paper" else split.default_first
    student = make_student(sam, recipe=recipe, rank=2, first_block=first, seed=0)
    disturb(student)
    trained = embed(sam, size)
    assert not torch.equal(trained, before)
    expected = len(split.blocks) - first
    if recipe == "studio" and name != "mobile_sam":
        assert len(student.encoder_parameters()) == 2 * expected
    elif recipe == "paper":
        # Two adapters of four tensors and two norms of two per block.
        assert len(student.encoder_parameters()) == 12 * expected
    adapter = written(student, base, tmp_path / "v1")
    student.detach()
    assert torch.equal(embed(sam, size), before)
    undo = apply_to(sam, adapter, base=base.info)
    torch.testing.assert_close(embed(sam, size), trained, atol=0, rtol=0)
    undo.undo()
    assert torch.equal(embed(sam, size), before)
    with pytest.raises(StudioError):
        apply_to(other, adapter, base=stranger.info)


def test_the_paper_is_refused_on_mobile_sam_with_a_sentence() -> None:
    """Its blocks have no norms of their own around attention and MLP."""
    with pytest.raises(StudioError, match="use recipe studio"):
        make_student(model("mobile_sam"), recipe="paper", rank=2, first_block=2, seed=0)
