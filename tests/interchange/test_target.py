"""Where exports land: whole or not at all, never over something unasked, never over an image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from label_projects import contents

from infosam_studio.annotation.project import Project
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.registry import EXPORTERS, exporter
from infosam_studio.interchange.target import ExportExists

FORCE = ExportOptions(overwrite=True)


@pytest.mark.parametrize("format", EXPORTERS)
def test_nothing_is_overwritten_unasked(project: Project, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    exporter(format)(project, out)
    before = contents(tmp_path)
    with pytest.raises(ExportExists, match="--force"):
        exporter(format)(project, out)
    assert contents(tmp_path) == before
    exporter(format)(project, out, options=FORCE)


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_cancelled_export_leaves_nothing(
    project: Project, tmp_path: Path, format: str, stop_after: int
) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        exporter(format)(project, tmp_path / "out", cancelled=lambda: next(asked) >= stop_after)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_progress_rises_to_its_total(project: Project, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    exporter("png")(project, tmp_path / "o", progress=lambda d, t: seen.append((d, t)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_images_are_never_overwritten(project: Project) -> None:
    before = contents(project.images_root)
    for options in (ExportOptions(), FORCE):
        with pytest.raises(StudioError):
            exporter("png")(project, project.images_root, options=options)
        with pytest.raises(StudioError):
            exporter("coco")(project, project.images_root / "a.png", options=options)
    assert contents(project.images_root) == before


def test_a_link_to_the_folder_of_images_is_seen_through(project: Project, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(project.images_root, target_is_directory=True)
    before = contents(project.images_root)
    with pytest.raises(StudioError, match="own files"):
        exporter("png")(project, link, options=FORCE)
    assert contents(project.images_root) == before


def test_the_project_file_is_never_overwritten(project: Project) -> None:
    with pytest.raises(StudioError, match="own files"):
        exporter("coco")(project, project.folder / "project.db", options=FORCE)


def test_other_files_in_the_folder_stay(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter("png")(project, out)
    (out / "notes.txt").write_text("mine")
    (out / "a.png").write_bytes(b"old")
    report = exporter("png")(project, out, options=FORCE)
    assert report.summary.endswith("1 other file in the folder was left alone.")
    assert (out / "notes.txt").read_text() == "mine"
    assert (out / "a.png").read_bytes() != b"old"
    (out / "gone.png").write_bytes(b"labels of an image that is gone")
    report = exporter("png")(project, out, options=FORCE)
    assert report.summary.endswith(
        "2 other files in the folder were left alone, "
        "1 of them like the new ones (of an earlier export?)."
    )


@pytest.mark.parametrize("way", ["dots", "link", "target"])
def test_an_image_is_not_overwritten_by_any_way(project: Project, tmp_path: Path, way: str) -> None:
    root = project.images_root
    place = root / "a.png"
    if way == "dots":
        (root / "sub").mkdir()
        place = root / "sub" / ".." / "a.png"
    elif way == "target":  # the image itself is a link to the original
        place = tmp_path / "original.png"
        (root / "a.png").rename(place)
        (root / "a.png").symlink_to(place)
    else:
        (tmp_path / "link").symlink_to(root, target_is_directory=True)
        place = tmp_path / "link" / "a.png"
    before = place.read_bytes()
    with pytest.raises(StudioError, match="own files"):
        exporter("coco")(project, place, options=FORCE)
    assert place.read_bytes() == before


def test_what_others_write_aside_stays(project: Project, tmp_path: Path) -> None:
    """An export of another process to the same place may still be under way."""
    mine = tmp_path / ".out.json.0123-77-abc.part"
    old = tmp_path / ".out.json.0123-78-abc.part"
    strange = tmp_path / ".out.json.part-of-something"
    for path in (mine, old, strange):
        path.write_text("x")
    os.utime(old, (0, 0))
    exporter("coco")(project, tmp_path / "out.json")
    assert (mine.exists(), old.exists(), strange.exists()) == (True, False, True)


def test_an_empty_folder_may_be_used(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And stays the same folder, as somebody may work in it."""
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert exporter("png")(project, Path()).different == 0
    assert sorted(os.listdir()) == ["a.png", "b.png", "classes.json"]


def test_a_file_where_a_folder_belongs_and_the_other_way_round(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StudioError, match="needs a folder"):
        exporter("png")(project, tmp_path / "file", options=FORCE)
    with pytest.raises(StudioError, match="is a folder"):
        exporter("coco")(project, tmp_path / "folder", options=FORCE)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_says_so(project: Project, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StudioError, match="cannot be written"):
        exporter("coco")(project, tmp_path / "locked" / "c.json")


def test_the_check_sees_what_is_different(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that loses a pixel is found out before the export is in place."""
    from infosam_studio.interchange import label_maps

    real = label_maps.write_index_png

    def lossy(path: Path, values: object) -> None:
        values[5, 5] = 0  # type: ignore[index]
        real(path, values)  # type: ignore[arg-type]

    monkeypatch.setattr(label_maps, "write_index_png", lossy)
    report = exporter("png")(project, tmp_path / "out")
    assert report.summary == "2 objects on 2 images, 2 different."
