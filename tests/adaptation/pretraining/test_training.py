"""The training loop: resuming equals going on, bad files give one sentence, decoding is SAM's."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infosam_studio.adaptation.losses import click_mask_loss
from infosam_studio.adaptation.pretraining.__main__ import _phases
from infosam_studio.adaptation.pretraining.cache import save_prepared
from infosam_studio.adaptation.pretraining.decoding import decode, encode_prompts, mixed_precision
from infosam_studio.adaptation.pretraining.losses import soft_iou
from infosam_studio.adaptation.pretraining.optimizers import QuickMuon
from infosam_studio.adaptation.pretraining.prompts import corrective_click
from infosam_studio.adaptation.pretraining.release import release
from infosam_studio.adaptation.pretraining.scenes import make_scene
from infosam_studio.adaptation.pretraining.settings import Phase, Settings
from infosam_studio.adaptation.pretraining.state import STATE_FILE
from infosam_studio.adaptation.pretraining.textures import RealPatches
from infosam_studio.adaptation.pretraining.training import Run
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.fast_attention import best_precision
from infosam_studio.segmentation.starter import StarterEncoder, build_starter

SETTINGS = Settings(
    steps=3,
    phases=(Phase(0.0, 64, 2),),
    prompts=2,
    rounds=2,
    workers=0,
    evaluate_images=1,
    warmup_steps=1,
    device="cpu",
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("prepared")
    for number in range(3):
        scene = make_scene(1, number, RealPatches([]), "skin")
        save_prepared(folder / f"scene-{number}.npz", scene)
    return sorted(folder.glob("*.npz"))


def tiny() -> Any:
    """The starter with a much smaller encoder."""
    torch.manual_seed(1)
    sam = build_starter()
    sam.image_encoder = StarterEncoder((8, 8, 32), (1, 1, 1), num_heads=1, mlp_ratio=1)
    return sam


def test_resumed_run_equals_an_uninterrupted_one(files: list[Path], tmp_path: Path) -> None:
    whole = Run(tiny(), files, tmp_path / "whole", SETTINGS)
    whole.train()
    first = Run(tiny(), files, tmp_path / "parts", SETTINGS)
    original = first._train_step

    def one_step(batch: Any) -> None:
        original(batch)
        if first.step == 1:
            first.stop()

    first._train_step = one_step  # type: ignore[method-assign]
    first.train()
    assert first.step == 1
    second = Run(tiny(), files, tmp_path / "parts", SETTINGS)
    second.resume()
    assert second.step == 1
    second.train()
    assert second.images == whole.images
    for key, value in whole.sam.state_dict().items():
        assert torch.equal(value, second.sam.state_dict()[key]), key
        assert torch.equal(whole.average[key], second.average[key]), key


@pytest.mark.parametrize("content", [None, b"", b"not a state", "cut"])
def test_bad_resume_file_is_one_sentence(
    content: bytes | str | None, files: list[Path], tmp_path: Path
) -> None:
    run = Run(tiny(), files, tmp_path, SETTINGS)
    path = tmp_path / STATE_FILE
    if content == "cut":
        run.save()
        path.write_bytes(path.read_bytes()[:1000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(StudioError) as caught:
        run.resume()
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_release_without_a_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudioError):
        release(tmp_path, tmp_path / "models")


def test_batched_decoding_equals_upstream() -> None:
    torch.manual_seed(0)
    sam = build_starter()
    embedding = torch.randn(2, 256, 32, 32)
    points, labels = torch.rand(6, 2, 2) * 512, torch.tensor([[1, 0]] * 6)
    masks = torch.randn(6, 1, 128, 128)
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    shares = torch.cat([(points + 0.5) / 512, torch.zeros(6, 1, 2)], dim=1)
    padded = torch.cat([labels, -torch.ones(6, 1, dtype=torch.long)], dim=1)
    with torch.no_grad():
        sparse, dense = encode_prompts(sam, shares, padded, masks, (32, 32))
        logits, scores = decode(sam, embedding, sparse, dense, owner)
        for image in range(2):
            mine = owner == image
            upstream = sam.prompt_encoder((points[mine], labels[mine]), None, masks[mine])
            expected, expected_scores = sam.mask_decoder.predict_masks(
                embedding[image : image + 1], sam.prompt_encoder.get_dense_pe(), *upstream
            )
            assert torch.allclose(logits[mine], expected, atol=1e-4)
            assert torch.allclose(scores[mine], expected_scores, atol=1e-4)


def test_losses_prefer_the_right_mask() -> None:
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:9, 4:9] = 1
    right = (target * 2 - 1) * 8
    logits = torch.cat([right, -right, torch.full_like(right, -8.0)], dim=1)
    loss, iou = click_mask_loss(logits, target)[0], soft_iou(logits, target)[0]
    assert loss.argmin() == 0
    assert loss[0] < 0.05
    assert iou[0] == pytest.approx(1.0)
    assert iou[2] == 0


def test_corrective_click_lies_in_the_error() -> None:
    target = np.zeros((40, 40), bool)
    target[5:25, 5:25] = True
    prediction = np.zeros_like(target)
    prediction[5:25, 5:10] = True
    for seed in range(20):
        click = corrective_click(target, prediction, np.random.default_rng(seed))
        assert click is not None
        x, y, label = click
        assert label == 1
        assert target[int(y * 40), int(x * 40)]
        assert not prediction[int(y * 40), int(x * 40)]
    assert corrective_click(target, target, np.random.default_rng(0)) is None


def test_phases_from_the_command_line() -> None:
    assert _phases("0:256:8,0.4:512:4") == (Phase(0.0, 256, 8), Phase(0.4, 512, 4))
    for wrong in ("", "256:8", "0.1:256:8", "0:256:8,0.9:512:4,0.5:192:8", "0:100:8"):
        with pytest.raises(argparse.ArgumentTypeError):
            _phases(wrong)


def test_mixed_precision_only_where_the_processor_has_it() -> None:
    with mixed_precision(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert (product.dtype == torch.bfloat16) == (best_precision("cpu") == "bf16")


def test_muon_in_fp32_steps_as_pytorchs() -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((8, 24), (24, 8), (8, 24))]
    made = {}
    for kind in (torch.optim.Muon, QuickMuon):
        parameters = [torch.nn.Parameter(value.clone()) for value in start]
        optimizer = kind(parameters, lr=0.01, adjust_lr_fn="match_rms_adamw", ns_steps=3)
        for number in range(3):
            for k, parameter in enumerate(parameters):
                generator = torch.Generator().manual_seed(10 * number + k)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
        made[kind] = [p.detach() - s for p, s in zip(parameters, start, strict=True)]
    for one, two in zip(*made.values(), strict=True):
        assert (one - two).norm() < 0.02 * one.norm()  # PyTorch rounds to bf16
