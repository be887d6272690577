"""Images named one by one, in a list or chosen together."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_helpers import write_images

from infosam_studio.annotation.file_lists import expand, read_file_list
from infosam_studio.annotation.images import ImageError
from infosam_studio.annotation.project import Project, ProjectError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_lists_are_read_as_people_write_them(tmp_path: Path, encoding: str) -> None:
    images = write_images(tmp_path / "Bilder ü", 3)
    lines = [
        "# my images",
        "Bilder ü/0.png",
        f'  "{images[1]}"  ',
        "",
        "Bilder ü/../Bilder ü/0.png",
        "gone.png",
    ]
    (tmp_path / "list.txt").write_bytes("\r\n".join(lines).encode(encoding))
    assert read_file_list(tmp_path / "list.txt") == [images[0], images[1], tmp_path / "gone.png"]


def test_folders_and_addresses_in_a_list(tmp_path: Path) -> None:
    images = write_images(tmp_path / "some folder", 3)
    (tmp_path / "list.lst").write_text(f"{images[2].as_uri()}\nsome folder\n")
    assert read_file_list(tmp_path / "list.lst") == [images[2], *images[:2]]
    assert expand([images[1], images[1].parent]) == [images[1], images[0], images[2]]


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n", b"a.png\0b.png"])
def test_what_is_no_list_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(ImageError, match=r"^list.txt .*; .*\.$"):
        read_file_list(tmp_path / "list.txt")


def test_a_project_of_a_list_has_its_images_alone(tmp_path: Path) -> None:
    images = write_images(tmp_path / "a", 4) + write_images(tmp_path / "b", 2, first=10)
    (tmp_path / "mine.txt").write_text("a/1.png\nb/10.png\n")
    with Project.for_path(tmp_path / "mine.txt") as project:
        project.add_images(read_file_list(tmp_path / "mine.txt"))
        report = project.scan()
        assert (report.added, report.missing) == ([], [])
        assert [i.path for i in project.images()] == ["a/1.png", "b/10.png"]
        assert project.folder == tmp_path / "mine.infosam"
        assert project.images_root == tmp_path

        # Files that were moved are found by their content all the same.
        images[1].rename(tmp_path / "b" / "elsewhere.png")
        assert project.scan().moved == [("a/1.png", "b/elsewhere.png")]
        assert len(project.images()) == 2
        images[4].unlink()
        assert project.scan().missing == ["b/10.png"]
    with Project.for_path(tmp_path / "mine.txt") as project:
        assert len(project.images()) == 2


def test_files_chosen_together_are_one_project(tmp_path: Path) -> None:
    images = write_images(tmp_path / "a", 3)
    with Project.for_files([images[2], images[0]]) as project:
        project.add_images([images[2], images[0]])
        place = project.folder
        assert place.parent == tmp_path
        assert [i.path for i in project.images()] == ["0.png", "2.png"]
    with Project.for_files([images[0], images[2]]) as project:
        assert project.folder == place
        assert len(project.images()) == 2
    with pytest.raises(ProjectError, match="no images"):
        Project.for_files([])


def test_pipes_hold_nobody_up(tmp_path: Path) -> None:
    import os

    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    images = write_images(tmp_path / "a", 1)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.mkfifo(tmp_path / "a" / "pipe")
    with Project.for_path(tmp_path / "a") as project:
        project.scan()
        found = {i.path: i.problem for i in project.images()}
    assert found == {images[0].name: None, "pipe.png": "it is no ordinary file"}
