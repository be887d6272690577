"""Whole runs on a small project with the shipped starter model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from infosam_studio import cli
from infosam_studio.adaptation import versions
from infosam_studio.adaptation.adapt import AdaptResult, run_adapt
from infosam_studio.adaptation.evaluation import EvaluateOptions, evaluate_project
from infosam_studio.adaptation.plan import AdaptOptions, studio_plan, with_method, with_steps_for
from infosam_studio.annotation.project import Project
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.events import CHILD_VARIABLE, Control, Event, parse_line
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from tests.adaptation.tiny import project_of

PROMISED = {
    "adapter",
    "method",
    "recipe",
    "promoted",
    "before",
    "after",
    "steps",
    "seconds",
    "peak_memory_mb",
    "train_images",
    "train_objects",
    "val_objects",
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AdaptResult, list[Event]]:
    """A project of five images after one short instant run."""
    folder = project_of(tmp_path_factory.mktemp("adapted"), 5)
    events: list[Event] = []
    options = AdaptOptions(folder, method="infosam", speed="instant", epochs=2, name="first")
    return folder, run_adapt(options, events.append), events


def test_result_and_events(adapted: tuple[Path, AdaptResult, list[Event]]) -> None:
    folder, result, events = adapted
    out = json.loads(json.dumps(result.to_json()))
    assert set(out) >= PROMISED
    assert set(out["before"]) == set(out["after"]) == {"miou_at", "noc85", "noc90", "box_miou"}
    assert len(out["after"]["miou_at"]) == 8
    assert (out["train_images"], out["train_objects"], out["val_objects"]) == (4, 12, 3)
    assert out["steps"] == 4
    kinds = [event.kind for event in events]
    assert kinds.index("started") < kinds.index("validation")
    stages = [e.data["stage"] for e in events if e.kind == "progress"]
    assert list(dict.fromkeys(stages)) == ["load", "before", "encode", "train", "after", "write"]
    assert all(parse_line(event.to_line()) is not None for event in events)
    losses = next(e.data["losses"] for e in events if e.data.get("stage") == "train")
    assert {"total", "mask", "iou", "compression", "distillation"} <= set(losses)
    assert not list(folder.glob("cache/adapt/*"))


def test_folder_and_manifest(adapted: tuple[Path, AdaptResult, list[Event]]) -> None:
    folder, result, _ = adapted
    manifest = AdapterFolder.read(folder / "adapters" / "first").manifest
    assert manifest.method == "infosam"
    assert not manifest.acts_on_encoder
    assert manifest.after == result.after
    assert len(manifest.training_hash) == 64
    assert len(manifest.split["train"]) == 4
    assert manifest.per_class["after"]["disk"]["objects"] == 3
    assert manifest.notes["plan"]["recipe"] == "studio"
    assert manifest.notes["train_objects"] == result.train_objects
    assert manifest.notes["compared_with"] is None  # the base model
    names = {path.name for path in (folder / "adapters" / "first").iterdir()}
    assert names == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "relation.safetensors",
        "manifest.json",
    }


def test_evaluation_agrees_with_the_gate(
    adapted: tuple[Path, AdaptResult, list[Event]],
) -> None:
    folder, result, _ = adapted
    out = evaluate_project(EvaluateOptions(folder, adapter="first", split="val"))
    assert {key: out[key] for key in result.after} == result.after
    assert (out["adapter"], out["model"], out["objects"]) == ("first", "starter", 3)
    base = evaluate_project(EvaluateOptions(folder, adapter="none", split="val", clicks=2))
    assert base["adapter"] is None
    assert base["miou_at"] == result.before["miou_at"][:2]
    with pytest.raises(StudioError, match="no version nothing"):
        evaluate_project(EvaluateOptions(folder, adapter="nothing"))


def test_versions(adapted: tuple[Path, AdaptResult, list[Event]], tmp_path: Path) -> None:
    folder, _, _ = adapted
    with Project.open(folder) as project:
        assert [v.name for v in versions.versions(project)] == ["first"]
        assert versions.use(project, "first") is None
        versions.rename(project, "first", "renamed")
        assert versions.in_use(project) == "renamed"
        assert versions.find(project, "renamed").manifest.name == "renamed"
        zipped = versions.export(project, "renamed", tmp_path / "out.zip")
        plain = versions.export(project, "renamed", tmp_path / "plain")
        assert versions.import_version(project, zipped) == "renamed 2"
        assert versions.import_version(project, plain) == "renamed 3"
        one = AdapterFolder.read(project.adapters_dir / "renamed")
        two = AdapterFolder.read(project.adapters_dir / "renamed 2")
        assert all(torch.equal(one.tensors[key], two.tensors[key]) for key in one.tensors)
        with pytest.raises(StudioError, match="already a version"):
            versions.rename(project, "renamed 2", "renamed")
        with pytest.raises(StudioError, match="cannot be the name"):
            versions.rename(project, "renamed 2", "../evil")
        versions.delete(project, "renamed 3")
        versions.delete(project, "renamed 2")
        (plain / "adapter_model.safetensors").write_bytes(b"torn")
        with pytest.raises(StudioError, match="damaged"):
            versions.import_version(project, plain)
        assert [v.name for v in versions.versions(project)] == ["renamed"]
        versions.use(project, "none")
        versions.rename(project, "renamed", "first")
        assert not [p for p in project.adapters_dir.iterdir() if p.name.startswith(".")]


def test_cancel_is_quick_and_leaves_nothing_then_resume_goes_on(tmp_path: Path) -> None:
    folder = project_of(tmp_path, 2, objects=2)
    control = Control()
    asked: list[float] = []

    def stop(event: Event) -> None:
        if event.kind == "progress" and event.data["stage"] == "train" and not asked:
            asked.append(time.monotonic())
            control.cancel()

    options = AdaptOptions(folder, speed="full", epochs=3, name="v1", gate=False)
    with pytest.raises(Cancelled):
        run_adapt(options, stop, control)
    # A second for a machine that does nothing else; this one may be busy with other tests.
    assert time.monotonic() - asked[0] < 5
    assert not list(folder.glob("adapters/*"))
    assert not list(folder.glob("adapters/.*"))
    assert list(folder.glob("cache/adapt/v1.state"))
    events: list[Event] = []
    result = run_adapt(AdaptOptions(**{**vars(options), "resume": True}), events.append)
    steps = [e.data["step"] for e in events if e.data.get("stage") == "train"]
    assert steps == [2, 3]
    assert result.decision is None
    assert not result.promoted
    manifest = AdapterFolder.read(result.path).manifest
    assert manifest.acts_on_encoder
    assert manifest.encoder_sha256
    with pytest.raises(StudioError, match="already a version v1"):
        run_adapt(options)


def test_one_label_is_trained_and_said_to_prove_nothing(tmp_path: Path) -> None:
    folder = project_of(tmp_path, 1, objects=1)
    events: list[Event] = []
    options = AdaptOptions(folder, method="infosam", speed="instant", epochs=1)
    result = run_adapt(options, events.append)
    codes = {event.data["code"] for event in events if event.kind == "warning"}
    assert {"information-off", "unproven"} <= codes
    assert not result.promoted
    assert result.decision is not None
    assert "no object to test on" in result.decision.reason
    assert result.adapter == "v1"


def test_one_image_bears_few_steps_and_many_images_all(tmp_path: Path) -> None:
    for speed, usual in (("instant", 80), ("full", 160)):
        plan = studio_plan(
            method="lora", speed=speed, first_block=2, image_size=512, precision="fp32", seed=0
        )
        steps = [with_steps_for(plan, images).steps for images in (0, 1, 2, 4, 100)]
        assert steps == [15, 15, 60, usual, usual]
    run = run_adapt(AdaptOptions(project_of(tmp_path, 1), method="decoder", gate=False))
    assert 1 <= run.steps <= 15


@pytest.mark.slow
def test_minutes_are_kept(tmp_path: Path) -> None:
    folder = project_of(tmp_path, 5)
    start = time.monotonic()
    result = run_adapt(AdaptOptions(folder, speed="instant", minutes=0.5), started=start)
    assert result.steps >= 1
    assert 0.8 * 30 <= result.seconds <= 1.1 * 30


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project_of(tmp_path, 1)
    arguments = ["adapt", str(folder), "--speed", "instant", "--epochs", "1", "--json"]
    assert cli.main([*arguments, "--method", "decoder", "--name", "mine"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert set(out) >= PROMISED
    assert out["adapter"] == "mine"
    assert cli.main(["adapters", str(folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [version["name"] for version in listed["adapters"]] == ["mine"]
    assert (listed["in_use"] == "mine") == out["promoted"]
    assert cli.main(["adapters", str(folder), "use", "mine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in_use"] == "mine"
    assert cli.main(["adapters", str(folder), "delete", "mine"]) == 0
    assert cli.main(["adapt", str(folder), "--minutes", "-1"]) == 1
    assert "positive" in capsys.readouterr().err
    assert cli.main(["adapt", str(folder), "--speed", "fast"]) == 2


def test_events_of_a_child_whose_parent_goes_away(tmp_path: Path) -> None:
    folder = project_of(tmp_path, 2)
    command = [sys.executable, "-m", "infosam_studio", "adapt", str(folder), "--events"]
    child = subprocess.Popen(
        [*command, "--speed", "instant", "--epochs", "50"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, CHILD_VARIABLE: "1", "OMP_NUM_THREADS": "1"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    for line in child.stdout:
        event = parse_line(line)
        if event is not None and event.data.get("stage") == "train":
            break
    child.stdin.close()
    lines = [parse_line(line) for line in child.stdout]
    assert child.wait(timeout=60) == 1
    child.stdout.close()
    assert lines[-1] is not None
    assert lines[-1].kind == "failed"
    assert lines[-1].data["cancelled"] is True
    assert not list(folder.glob("adapters/*"))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"recipe": "paper"}, "with --speed full"),
        ({"method": "magic"}, "unknown"),
        ({"name": "a/b"}, "cannot be the name"),
        ({"train_images": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_one_sentence(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(StudioError, match=text):
        AdaptOptions(Path("p"), **wrong)  # type: ignore[arg-type]


def test_the_method_of_auto_is_what_the_study_found_best() -> None:
    def chosen(images: int, **choices: Any) -> str:
        return with_method(AdaptOptions(Path("p"), **choices), images).method

    assert {chosen(number) for number in (0, 1, 2)} == {"lora"}
    assert {chosen(number) for number in (3, 7, 8, 300)} == {"infosam"}
    assert {chosen(number, speed="full") for number in (8, 10, 90)} == {"lora"}
    assert {chosen(number, speed="full") for number in (0, 1, 2)} == {"infosam"}
    assert {chosen(number, speed="full") for number in (3, 5, 7)} == {"decoder"}
    assert chosen(4, speed="full", recipe="paper") == "infosam"
    assert chosen(4, method="decoder") == "decoder"
