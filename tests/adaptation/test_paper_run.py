"""Recipe ``paper`` from a project's labels to a gated adapter, on a small model of ViT layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infosam_studio.adaptation.adapt import run_adapt
from infosam_studio.adaptation.evaluation import EvaluateOptions, evaluate_project
from infosam_studio.adaptation.plan import AdaptOptions
from infosam_studio.annotation.project import Project
from infosam_studio.events import Event
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from tests.adaptation.tiny import project_of, small_checkpoint


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project_of(tmp_path, 10)
    model = small_checkpoint(tmp_path, monkeypatch)
    events: list[Event] = []
    options = AdaptOptions(
        folder, model=model, recipe="paper", speed="full", epochs=2, name="paper"
    )
    result = run_adapt(options, events.append)
    # Eight training images in batches of four, twice.
    assert (result.steps, result.train_images) == (4, 8)
    losses = [e.data["losses"] for e in events if e.data.get("stage") == "train"]
    assert all({"compression", "distillation", "mask"} <= set(step) for step in losses)
    assert not [event for event in events if event.kind == "validation"]
    written = AdapterFolder.read(folder / "adapters" / "paper")
    check_folder(written)
    # No object chose anything in this recipe, so all of them may judge.
    assert written.manifest.notes["holdout"] == {
        "chose": 0,
        "judged": 6,
        "apart": "images",
        "note": None,
    }
    again = evaluate_project(
        EvaluateOptions(folder, model=model, adapter="paper", split="val", max_objects=None)
    )
    # Judged in fp32 like the training, evaluated in the app's precision (bf16 where there is some).
    for key, told in result.after.items():
        assert again[key] == pytest.approx(told, abs=1e-3)
    assert result.before != result.after


def check_folder(folder: AdapterFolder) -> None:
    assert folder.manifest.recipe == "paper"
    assert folder.manifest.acts_on_encoder
    assert not (folder.path / "adapter_config.json").exists()
    keys = set(folder.tensors)
    for number in (2, 3):
        for part in ("attn_adapter.down.weight", "mlp_adapter.up.bias", "norm1.weight"):
            assert f"image_encoder.blocks.{number}.{part}" in keys
    assert not any("blocks.1." in key for key in keys)
    assert any(key.startswith("mask_decoder.") for key in keys)
    assert folder.relation


def test_few_images_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project_of(tmp_path, 2)
    model = small_checkpoint(tmp_path, monkeypatch)
    events: list[Event] = []
    options = AdaptOptions(folder, model=model, recipe="paper", speed="full", epochs=1)
    result = run_adapt(options, events.append)
    texts = [event.data["text"] for event in events if event.kind == "warning"]
    assert any("with 2 the batch is 2" in text for text in texts)
    assert result.steps == 1
    with Project.open(folder, read_only=True) as project:
        assert (project.adapters_dir / result.adapter / "manifest.json").is_file()
