"""Whole runs on labels nobody would wish for: a good adapter, or one clear sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from infosam_studio.adaptation.adapt import AdaptResult, run_adapt
from infosam_studio.adaptation.plan import AdaptOptions
from infosam_studio.annotation import masks
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.events import Event
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from tests.adaptation.tiny import project_of, small_checkpoint

Masks = dict[str, list[Any]]


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return small_checkpoint(tmp_path, monkeypatch)


def project_with(folder: Path, found: Masks) -> Path:
    """A project of noise images with these masks, one class per image."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, own in found.items():
        noise = rng.integers(0, 255, (*own[0].shape, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / name)
    with Project.create(folder / "project", folder / "images") as project:
        records = project.add_images(sorted((folder / "images").iterdir()))
        for record in records:
            kind = project.add_class(record.path)
            project.add_objects(
                [
                    ObjectRecord(0, record.id, kind.id, masks.encode(mask), hand_corrected=True)
                    for mask in found[record.path]
                ]
            )
        project.ensure_split()
    return folder / "project"


def blank(height: int, width: int, *part: slice) -> Any:
    mask = np.zeros((height, width), dtype=bool)
    if part:
        mask[part] = True
    return mask


def run(folder: Path, model: str, **options: Any) -> tuple[AdaptResult, list[Event]]:
    events: list[Event] = []
    options = {"speed": "instant", "epochs": 1, **options}
    return run_adapt(AdaptOptions(folder, model=model, **options), events.append), events


def assert_good(folder: Path, result: AdaptResult, events: list[Event]) -> None:
    """The adapter is complete and finite, and every step was."""
    written = AdapterFolder.read(folder / "adapters" / result.adapter)
    assert all(bool(torch.isfinite(value).all()) for value in written.tensors.values())
    assert "not-finite" not in {event.data.get("code") for event in events}


@pytest.mark.parametrize("speed", ["instant", "full"])
def test_objects_of_every_size_on_images_of_every_size(
    tmp_path: Path, model: str, speed: str
) -> None:
    found: Masks = {
        "pixel.png": [blank(64, 64, slice(5, 6), slice(7, 8))],
        "whole.png": [blank(40, 50, slice(None), slice(None))],
        "wide.png": [blank(9, 900, slice(2, 5), slice(0, 900)), blank(9, 900, slice(0, 1))],
        "large.png": [blank(700, 500, slice(100, 600), slice(20, 480))],
        "edge.png": [blank(80, 60, slice(79, 80), slice(59, 60))],
        "dot.png": [blank(1, 1, slice(0, 1))],
        "many.png": [blank(90, 90, slice(9 * k, 9 * k + 6), slice(0, 80)) for k in range(9)],
    }
    folder = project_with(tmp_path, found)
    result, events = run(folder, model, speed=speed)
    assert_good(folder, result, events)
    assert result.steps >= 1


def test_objects_nobody_can_learn_from(tmp_path: Path, model: str) -> None:
    folder = project_with(tmp_path, {"a.png": [blank(30, 30)], "b.png": [blank(30, 30)]})
    with pytest.raises(StudioError, match="no labelled object"):
        run(folder, model)
    with Project.open(folder) as project:
        image, kind = project.images()[0], project.classes()[0]
        good = masks.encode(blank(30, 30, slice(5, 20), slice(5, 20)))
        project.add_objects([ObjectRecord(0, image.id, kind.id, good, hand_corrected=True)])
    result, events = run(folder, model)
    assert_good(folder, result, events)
    texts = [event.data["text"] for event in events if event.kind == "warning"]
    assert "2 empty masks were left out." in texts
    assert any("only one labelled object" in text for text in texts)


def test_no_labels_at_all(tmp_path: Path, model: str) -> None:
    folder = project_of(tmp_path / "p", 2, objects=0)
    with pytest.raises(StudioError, match="label at least one first"):
        run(folder, model)
    assert not list(folder.glob("adapters/*"))


def test_a_class_with_one_object_and_objects_left_out(tmp_path: Path, model: str) -> None:
    folder = project_of(tmp_path / "p", 5)
    with Project.open(folder) as project:
        rare = project.add_class("rare")
        first, second, third, *_ = project.objects()
        project.update_object(first.id, class_id=rare.id)
        project.update_object(second.id, excluded=True)
        project.update_object(third.id, excluded=True)
    result, events = run(folder, model)
    assert_good(folder, result, events)
    assert result.train_objects + result.val_objects == 13


def test_missing_and_changed_files(tmp_path: Path, model: str) -> None:
    folder = project_of(tmp_path / "p", 6)
    with Project.open(folder, read_only=True) as project:
        trained = [image for image in project.images() if image.split != "val"]
        paths = [Path(project.image_path(image)) for image in trained]
    paths[0].unlink()
    Image.fromarray(np.zeros((96, 128, 3), dtype=np.uint8)).save(paths[1])
    paths[2].write_bytes(b"this is no picture")
    result, events = run(folder, model)
    assert_good(folder, result, events)
    assert result.train_images == len(trained) - 3
    texts = [event.data["text"] for event in events if event.kind == "warning"]
    assert all(any(path.name in text for text in texts) for path in paths[:3])
    for path in paths:
        path.unlink(missing_ok=True)
    for image in (tmp_path / "p" / "images").glob("*.png"):
        image.unlink()
    with pytest.raises(StudioError, match="No image to learn from can be read"):
        run(folder, model)


def test_only_validation_files_are_left(tmp_path: Path, model: str) -> None:
    folder = project_of(tmp_path / "p", 5)
    with Project.open(folder, read_only=True) as project:
        for image in project.images():
            if image.split != "val":
                Path(project.image_path(image)).unlink()
    with pytest.raises(StudioError, match="No image to learn from can be read"):
        run(folder, model)


def test_never_more_threads_than_given(tmp_path: Path, model: str) -> None:
    folder = project_of(tmp_path / "p", 1)
    seen: set[tuple[int, int]] = set()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def look(event: Event) -> None:
        seen.add((torch.get_num_threads(), cv2.getNumThreads()))
        if event.kind == "started":
            assert event.data["threads"] == 1

    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(cores)
        cv2.setNumThreads(cores)
        options = {"model": model, "speed": "instant", "epochs": 1, "threads": 1, "gate": False}
        run_adapt(AdaptOptions(folder, **options), look)  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
    assert seen == {(1, 1)}
