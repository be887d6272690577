"""Images that were moved are found by their content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from label_projects import MakeProject, add, disc, labels, write_images

from infosam_studio.errors import StudioError
from infosam_studio.interchange.relocate import relocate


def test_a_moved_folder_with_other_names(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.png": (12, 10), "b.png": (12, 10)})
    add(project, "a.png", disc(12, 10, 5, 5, 3))
    new = tmp_path / "elsewhere"
    (new / "deep").mkdir(parents=True)
    os.rename(project.images_root / "a.png", new / "deep" / "renamed.png")
    os.rename(project.images_root / "b.png", new / "b.png")
    report = relocate(project, new)
    assert (report.found, report.missing) == (2, [])
    assert len(labels(project)["deep/renamed.png", 0]) == 1
    assert project.read_view(project.images()[0]).shape == (10, 12, 3)


def test_what_is_still_missing_is_named(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.png": (12, 10), "b.png": (12, 10)})
    new = tmp_path / "elsewhere"
    new.mkdir()
    os.rename(project.images_root / "a.png", new / "a.png")
    (project.images_root / "b.png").unlink()
    report = relocate(project, new)
    assert report.found == 1
    assert [Path(p).name for p in report.missing] == ["b.png"]
    assert "1 still missing" in report.summary


def test_a_wrong_folder_changes_nothing(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.png": (12, 10)})
    write_images(tmp_path / "other", {"a.png": (30, 20)})
    before = project.images(), project.images_root
    with pytest.raises(StudioError, match="None of the project's"):
        relocate(project, tmp_path / "other")
    assert (project.images(), project.images_root) == before
