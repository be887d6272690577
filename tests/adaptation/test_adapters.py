"""What students change, what they leave alone, and what plain peft makes of their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from infosam_studio.adaptation.adapters import Student, make_student
from infosam_studio.adaptation.encoders import split_encoder
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.adapter_folder import (
    AdapterFolder,
    AdapterManifest,
    apply_to,
    write_adapter,
)
from infosam_studio.segmentation.architectures import build_empty
from infosam_studio.segmentation.starter import build_starter

KINDS = ["decoder", "lora", "paper"]


@pytest.fixture
def sam() -> Any:
    torch.manual_seed(1)
    return build_starter().requires_grad_(False)


def student_of(sam: Any, kind: str, seed: int = 0) -> Student:
    return make_student(
        sam,
        recipe="paper" if kind == "paper" else "studio",
        rank=4,
        first_block=None if kind == "decoder" else 3,
        seed=seed,
    )


def disturb(student: Student) -> None:
    """Stand in for training: every trained number moves."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in student.parameters().values():
            value.add_(torch.randn(value.shape, generator=generator) * 0.02)


def embed(sam: Any, seed: int = 3) -> Tensor:
    pixels = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        features: Tensor = sam.image_encoder(pixels)
    return features


def decoded(sam: Any, decoder: nn.Module, features: Tensor) -> tuple[Tensor, Tensor]:
    sparse = torch.randn(1, 2, 256, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        pe = sam.prompt_encoder.pe_layer(features.shape[-2:]).unsqueeze(0)
        dense = torch.zeros_like(features)
        logits, scores = decoder.predict_masks(features, pe, sparse, dense)  # type: ignore[operator]
    return logits, scores


@pytest.mark.parametrize("kind", KINDS)
def test_starts_as_the_base_and_leaves_no_trace(sam: Any, kind: str) -> None:
    keys, before = list(sam.state_dict()), embed(sam)
    masks = decoded(sam, sam.mask_decoder, before)
    student = student_of(sam, kind)
    assert torch.equal(embed(sam), before)
    assert torch.equal(decoded(sam, student.decoder, before)[0], masks[0])
    disturb(student)
    changed = embed(sam)
    assert torch.equal(changed, before) == (not student.acts_on_encoder)
    with student.base_model():
        assert torch.equal(embed(sam), before)
    assert torch.equal(embed(sam), changed)
    student.detach()
    assert list(sam.state_dict()) == keys
    assert torch.equal(embed(sam), before)
    assert all(
        torch.equal(a, b)
        for a, b in zip(decoded(sam, sam.mask_decoder, before), masks, strict=True)
    )
    assert not any(value.requires_grad for value in sam.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_trains_what_it_should(sam: Any, kind: str) -> None:
    student = student_of(sam, kind)
    trained = sum(value.numel() for value in student.parameters().values())
    decoder = sum(value.numel() for value in sam.mask_decoder.parameters())
    assert all(value.requires_grad for value in student.parameters().values())
    if kind == "decoder":
        assert trained == decoder
    elif kind == "lora":
        assert len(student.encoder_parameters()) == 2 * 3
        assert sum(v.numel() for v in student.encoder_parameters().values()) == 3 * 4 * (224 * 4)
    else:
        adapter = 224 * 56 * 2 + 224 + 56
        assert sum(v.numel() for v in student.encoder_parameters().values()) == 3 * (
            2 * adapter + 4 * 224
        )


@pytest.mark.parametrize("kind", KINDS)
def test_folder_gives_the_student_back(sam: Any, kind: str, tmp_path: Path) -> None:
    student = student_of(sam, kind)
    disturb(student)
    features = embed(sam)
    wanted = decoded(sam, student.decoder, features)
    tensors = student.tensors()
    student.detach()
    manifest = AdapterManifest(
        name="v1",
        checkpoint="starter",
        checkpoint_sha256="0" * 64,
        recipe=student.recipe,
        acts_on_encoder=student.acts_on_encoder,
    )
    folder = write_adapter(tmp_path / "v1", tensors, manifest, student.peft_config, None)
    undo = apply_to(sam, folder)
    again = embed(sam)
    assert torch.equal(again, features)
    assert all(
        torch.equal(a, b)
        for a, b in zip(decoded(sam, sam.mask_decoder, again), wanted, strict=True)
    )
    assert undo.acts_on_encoder == student.acts_on_encoder
    undo.undo()
    assert AdapterFolder.read(tmp_path / "v1").manifest == manifest


@pytest.mark.parametrize("kind", ["decoder", "lora"])
def test_plain_peft_reads_the_folder(sam: Any, kind: str, tmp_path: Path) -> None:
    from peft import PeftModel

    student = student_of(sam, kind)
    disturb(student)
    features = embed(sam)
    wanted = decoded(sam, student.decoder, features)
    save_file(student.tensors(), str(tmp_path / "adapter_model.safetensors"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(student.peft_config))
    student.detach()
    model = PeftModel.from_pretrained(sam, str(tmp_path))
    again = embed(model)
    assert torch.equal(again, features)
    found = decoded(sam, model.mask_decoder, again)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_load_gives_the_weights_back(sam: Any) -> None:
    student = student_of(sam, "lora")
    disturb(student)
    kept = student.tensors()
    features = embed(sam)
    disturb(student)
    student.load(kept)
    assert torch.equal(embed(sam), features)


@pytest.mark.parametrize("kind", ["decoder", "lora"])
def test_blending_goes_from_the_base_to_the_student(sam: Any, kind: str) -> None:
    before = embed(sam)
    masks = decoded(sam, sam.mask_decoder, before)
    student = student_of(sam, kind)
    disturb(student)
    trained = student.tensors()
    whole = student.blended(trained, 1.0)
    for key, value in trained.items():
        torch.testing.assert_close(whole[key], value, rtol=0, atol=1e-6)
    student.load(student.blended(trained, 0.0))
    assert torch.equal(embed(sam), before)
    assert torch.equal(decoded(sam, student.decoder, before)[0], masks[0])
    student.load(student.blended(trained, 0.5))
    assert torch.equal(embed(sam), before) == (kind == "decoder")
    assert not torch.equal(decoded(sam, student.decoder, before)[0], masks[0])


def test_official_initialisation_is_not_the_identity(sam: Any) -> None:
    before = embed(sam)
    make_student(sam, recipe="paper", rank=4, first_block=2, seed=0, official_init=True)
    assert not torch.allclose(embed(sam), before, atol=1e-2)


@pytest.mark.parametrize("first", [0, 2, 6])
def test_cut_encoder_is_the_encoder(sam: Any, first: int) -> None:
    split = split_encoder(sam)
    pixels = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        whole = sam.image_encoder(pixels)
        assert torch.equal(split.suffix(split.prefix(pixels, first), first), whole)


def test_mobile_sam_is_cut_between_stages() -> None:
    torch.manual_seed(0)
    sam = build_empty("mobile_sam")
    sam = sam.to_empty(device="cpu")
    with torch.no_grad():
        for value in (*sam.parameters(), *sam.buffers()):
            if value.is_floating_point():
                torch.nn.init.normal_(value, std=0.02) if value.ndim > 1 else value.fill_(0.5)
    sam.requires_grad_(False)
    before = embed(sam)
    split = split_encoder(sam)
    pixels = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(split.suffix(split.prefix(pixels, 2), 2), before)
    student = make_student(sam, recipe="studio", rank=2, first_block=split.default_first, seed=0)
    assert len(student.encoder_parameters()) == 2 * len(split.targets(2))
    assert torch.equal(embed(sam), before)
    disturb(student)
    assert not torch.equal(embed(sam), before)
    student.detach()
    assert torch.equal(embed(sam), before)
    with pytest.raises(StudioError, match="ViT blocks"):
        make_student(sam, recipe="paper", rank=2, first_block=2, seed=0)
