"""`init`, `import`, `export`, `relocate` as another program calls them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infosam_studio import cli
from infosam_studio.annotation.project import Project
from infosam_studio.resource_files import resource_path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two images with index maps, and a broken image."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a.jpg", "b.png"):
        Image.fromarray(np.full((20, 30, 3), 99, np.uint8)).save(tmp_path / "images" / name)
        values = np.zeros((20, 30), np.uint8)
        values[2:6, 2:6], values[10:15, 10:15] = 1, 2
        Image.fromarray(values).save(tmp_path / "masks" / name.replace("jpg", "png"))
    (tmp_path / "images" / "broken.png").write_bytes(b"no image")
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    status = cli.main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    result = json.loads(captured.out)
    assert isinstance(result, dict)
    return result


def init(capsys: pytest.CaptureFixture[str], data: Path, *more: object) -> dict[str, object]:
    return call(capsys, "init", data / "p", "--images", data / "images", *more)


def test_init_with_index_maps(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    result = init(capsys, data, "--labels", data / "masks", "--format", "png")
    assert (result["images"], result["objects"], result["classes"]) == (3, 4, ["object"])
    assert [u["image"] for u in result["unreadable"]] == ["broken.png"]  # type: ignore[index, union-attr]


def test_init_of_the_sample_images(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    samples = resource_path("samples")
    result = call(
        capsys, "init", tmp_path / "p", "--images", samples / "images",
        "--labels", samples / "masks", "--format", "png",
    )  # fmt: skip
    assert result["objects"]
    assert result["problem_count"] == 0


def test_there_and_back_by_every_format(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    init(capsys, data, "--labels", data / "masks", "--format", "png", "--class", "cell")
    for format, back in (("coco", "coco"), ("png", "png"), ("yolo", "yolo"), ("png-binary", "png")):
        out = data / f"out-{format}"
        result = call(capsys, "export", data / "p", out, "--format", format)
        assert result["summary"] == "4 objects on 2 images, 0 different."
        result = call(capsys, "import", data / "p", out, "--format", back)
        assert (result["objects"], result["already_there"]) == (0, 4)
        result = call(
            capsys, "import", data / "p", out, "--format", back, "--on-conflict", "replace",
            "--map", "cell=Zelle",
        )  # fmt: skip
        assert (result["objects"], result["replaced"]) == (4, 4)
        call(capsys, "import", data / "p", out, "--format", back, "--on-conflict", "replace")


def test_export_asks_before_it_overwrites(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    init(capsys, data, "--labels", data / "masks", "--format", "png")
    arguments = ["export", str(data / "p"), str(data / "c.json"), "--format", "coco"]
    assert cli.main(arguments) == 0
    assert cli.main(arguments) == 1
    assert "--force" in capsys.readouterr().err
    assert cli.main([*arguments, "--force"]) == 0


def test_labels_of_which_nothing_fits_are_a_failure(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    init(capsys, data)
    (data / "m").mkdir()
    Image.fromarray(np.ones((5, 5), np.uint8)).save(data / "m" / "a.png")
    assert cli.main(["import", str(data / "p"), str(data / "m"), "--format", "png"]) == 1
    assert "No labels came in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [["--labels", "x"], ["--format", "png"], ["--labels", "missing", "--format", "png"],
     ["--map", "cell"]],
)  # fmt: skip
def test_init_that_cannot_be_meant_makes_nothing(data: Path, more: list[str]) -> None:
    project = data / "p"
    assert cli.main(["init", str(project), "--images", str(data / "images"), *more]) == 1
    assert not project.exists()


def test_init_over_a_project_says_so(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    init(capsys, data)
    assert cli.main(["init", str(data / "p"), "--images", str(data / "images")]) == 1
    assert "already" in capsys.readouterr().err


def test_relocate(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    init(capsys, data)
    os.rename(data / "images", data / "moved")
    result = call(capsys, "relocate", data / "p", data / "moved")
    assert (result["found"], result["missing"]) == (3, [])
    with Project.open(data / "p", read_only=True) as project:
        assert project.image_path(project.images()[0]).parent == data / "moved"


@pytest.mark.parametrize(
    ("domain", "objects"),
    [("wbc", 60), ("coffee_leaf", 372), ("cracks", 60), ("skin_lesion", 59), ("ultrasound", 143)],
)
def test_real_domains(
    capsys: pytest.CaptureFixture[str], data_dir: Path, tmp_path: Path, domain: str, objects: int
) -> None:
    folder = data_dir / domain
    result = call(
        capsys, "init", tmp_path / "p", "--images", folder / "images",
        "--labels", folder / "masks", "--format", "png",
    )  # fmt: skip
    assert (result["objects"], result["problem_count"]) == (objects, 0)
    result = call(capsys, "export", tmp_path / "p", tmp_path / "c.json", "--format", "coco")
    assert (result["objects"], result["different"]) == (objects, 0)


def test_init_of_a_list_of_images(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    (data / "list.txt").write_text("images/b.png\n")
    masks = ("--labels", data / "masks", "--format", "png")
    result = call(capsys, "init", data / "p", "--images", data / "list.txt", *masks)
    assert (result["images"], result["objects"]) == (1, 2)
    with Project.open(data / "p") as project:
        project.scan()
        assert [i.path for i in project.images()] == ["b.png"]


def test_window_and_channels_from_the_command_line(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    call(
        capsys, "init", data / "p", "--images", data / "images",
        "--window", "1%:99%", "--channels", "3,2,1",
    )  # fmt: skip
    with Project.open(data / "p") as project:
        assert {i.view for i in project.images()} == {
            '{"channels":[2,1,0],"percentiles":[1.0,99.0]}'
        }
    changed = call(capsys, "view", data / "p", "--window", "10:200", "--only", "*.jpg")
    assert changed["changed"] == 1
    with Project.open(data / "p") as project:
        assert (
            next(i.view for i in project.images() if i.path == "a.jpg") == '{"window":[10.0,200.0]}'
        )
    assert call(capsys, "view", data / "p")["changed"] == 3  # all as they are read by themselves
    assert cli.main(["view", str(data / "p"), "--channels", "7"]) == 1
    assert "has only 3 channels" in capsys.readouterr().err
    assert cli.main(["view", str(data / "p"), "--only", "*.gif"]) == 1
