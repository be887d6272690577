"""`evaluate`, `predict`, `segment`, `models` with the starter model, as programs call them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from infosam_studio import cli
from infosam_studio.annotation.project import Project
from infosam_studio.commands.predict import close_region, output_names
from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation.prompts import Prompt

pytestmark = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(), reason="no starter model yet"
)
EVALUATION = ["model", "adapter", "images", "objects", "miou_at", "noc85", "noc90", "box_miou",
              "seconds"]  # fmt: skip


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOSAM_STUDIO_MODELS", str(tmp_path / "models"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two plain scenes: dark discs on a light ground, the first image labelled."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    rows, columns = np.mgrid[:96, :128]
    for name in ("a", "b"):
        pixels = np.full((96, 128, 3), 200, np.uint8)
        values = np.zeros((96, 128), np.uint8)
        for number, (x, y) in enumerate([(35, 40), (90, 60)], start=1):
            inside = (columns - x) ** 2 + (rows - y) ** 2 < 20**2
            pixels[inside], values[inside] = (60, 30, 90), number
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
        if name == "a":
            Image.fromarray(values).save(tmp_path / "masks" / "a.png")
    arguments = ["init", str(tmp_path / "p"), "--images", str(tmp_path / "images")]
    assert cli.main([*arguments, "--labels", str(tmp_path / "masks"), "--format", "png"]) == 0
    return tmp_path / "p"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    capsys.readouterr()
    status = cli.main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    result = json.loads(captured.out)
    assert isinstance(result, dict)
    return result


def test_evaluate(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    result = call(capsys, "evaluate", project, "--clicks", 2, "--model", "starter")
    assert list(result) == EVALUATION
    assert (result["model"], result["adapter"]) == ("starter", None)
    assert (result["images"], result["objects"]) == (1, 2)
    ious = result["miou_at"]
    assert isinstance(ious, list)
    assert len(ious) == 2
    assert ious[-1] > 0.4
    assert cli.main(["evaluate", str(project), "--split", "val"]) == 1


def test_predict(capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path) -> None:
    prompts = {
        "a.png": [{"points": [[35, 40, 1]]}, {"box": [70, 40, 110, 80]}],
        "b": [{"points": [[35, 40, 1], [90, 60, 0]], "box": [10, 10, 60, 70]}],
    }
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    images, out = project.parent / "images", tmp_path / "out"
    arguments = ["predict", images, "--prompts", tmp_path / "prompts.json", "--out", out]
    result = call(capsys, *arguments)
    assert (result["images"], result["masks"]) == (2, 3)
    for relative in ("a/0.png", "a/1.png", "b/0.png"):
        with Image.open(out / relative) as mask:
            assert (mask.mode, mask.size) == ("L", (128, 96))
            assert set(np.unique(np.asarray(mask)).tolist()) <= {0, 255}
    listed = json.loads((out / "predictions.json").read_text())["images"]
    assert [m["file"] for m in listed["a.png"]] == ["a/0.png", "a/1.png"]
    with Image.open(out / "a" / "1.png") as mask:
        assert np.asarray(mask)[60, 90] == 255


def test_predict_sees_the_channels_that_are_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The disc is in the second channel alone, in its lowest values."""
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 60_000, (2, 96, 128)).astype(np.uint16)
    rows, columns = np.mgrid[:96, :128]
    disc = (columns - 64) ** 2 + (rows - 48) ** 2 < 25**2
    pixels[1] = np.where(disc, 300, 100)
    pixels[1, 0, :4] = 60_000
    tifffile.imwrite(images / "a.tif", pixels, metadata={"axes": "CYX"})
    (tmp_path / "prompts.json").write_text('{"a.tif": [{"points": [[64, 48, 1]]}]}')
    found = {}
    for name, more in (("blind", ()), ("seen", ("--channels", "2", "--window", "0:400"))):
        arguments = ["predict", images, "--prompts", tmp_path / "prompts.json"]
        call(capsys, *arguments, "--out", tmp_path / name, *more)
        with Image.open(tmp_path / name / "a" / "0.png") as mask:
            inside = np.asarray(mask) > 0
        found[name] = (inside & disc).sum() / (inside | disc).sum()
    assert found["seen"] > 0.9
    assert found["seen"] > found["blind"]
    wrong = [*map(str, arguments), "--out", str(tmp_path / "no"), "--window", "9:1"]
    assert cli.main(wrong) == 1
    assert "is no window" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a prompt file"),
        ('{"a.png": 3}', "not a list"),
        ('{"a.png": [{}]}', "neither"),
        ('{"a.png": [{"points": [[1, 2]]}]}', "points are"),
        ('{"a.png": [{"box": [1, 2]}]}', "four finite numbers"),
        ('{"zzz.png": [{"box": [1, 2, 3, 4]}]}', "no image called zzz.png"),
    ],
)
def test_prompts_that_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], project: Path, tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "prompts.json").write_text(content)
    images = str(project.parent / "images")
    arguments = ["predict", images, "--prompts", str(tmp_path / "prompts.json"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "out")]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prediction_folders_of_images_that_share_a_stem(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "a.jpg", "sub/a.png", "b.png")]
    names = output_names(paths, tmp_path)
    assert [names[p] for p in paths] == ["a.png", "a.jpg", "sub/a", "b"]


def test_a_region_is_a_square_around_the_prompt() -> None:
    small = Prompt.from_clicks([[3990, 10, 1]])
    region = close_region(small, (3000, 4000), 512)
    assert region == (3488, 0, 4000, 512)
    assert close_region(small, (500, 600), 512) is None
    wide = Prompt.from_clicks([], box=[0, 0, 2000, 1500])
    assert close_region(wide, (3000, 4000), 512) is None


def test_segment(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    arguments = ["segment", project, "--points", 4, "--min-score", 0.3]
    result = call(capsys, *arguments)
    assert result["images"] == 1
    with Project.open(project, read_only=True) as opened:
        found = [o for o in opened.objects() if o.source == "suggestion"]
        assert len(found) == result["suggestions"]
        assert {opened.image(o.image_id).path for o in found} <= {"b.png"}
        assert opened.images()[1].state == "untouched"
    assert call(capsys, *arguments)["suggestions"] == result["suggestions"]
    with Project.open(project, read_only=True) as opened:
        again = [o for o in opened.objects() if o.source == "suggestion"]
        assert len(again) == len(found)


def test_segment_follows_the_accepted_objects_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    like = call(capsys, "segment", project, "--min-score", 0.0)
    assert like["like_accepted"] is True
    with Project.open(project, read_only=True) as opened:
        found = [o for o in opened.objects() if o.source == "suggestion"]
        labels = [o for o in opened.objects() if o.source != "suggestion"]
        assert {o.class_id for o in found} <= {o.class_id for o in labels}
        assert all(0 <= o.extra["score"] <= 1 for o in found)
    grid = call(capsys, "segment", project, "--everything", "--points", 4, "--min-score", 0.3)
    assert grid["like_accepted"] is False


def test_models(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = call(capsys, "models")["models"]
    assert isinstance(rows, list)
    assert [r["name"] for r in rows][:2] == ["starter", "mobile_sam"]
    assert rows[0]["state"] == "ready"
    starter = resource_path("models", "starter.safetensors")
    result = call(capsys, "models", "add", "mine", starter, "--architecture", "starter")
    assert result["architecture"] == "starter"
    assert call(capsys, "models", "verify", "mine")["models"] == [{"name": "mine", "ok": True}]
    call(capsys, "models", "remove", "mine")
    assert starter.is_file()
    assert cli.main(["models", "get", "mine"]) == 1
    assert "no model mine" in capsys.readouterr().err


def test_bench_compares_with_plain_segment_anything(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("bench", "--no-adapt", "--repeat", 1, "--image-size", "96x64")
    result = call(capsys, *arguments)
    assert (result["model"], result["image"], result["adapt_step_s"]) == ("starter", [96, 64], {})
    for name in ("encode_s", "click_s", "plain_encode_s", "plain_click_s", "memory_mb"):
        value = result[name]
        assert isinstance(value, float)
        assert value > 0
    assert cli.main(["bench", "--image-size", "large"]) == 1
