"""Exports into folders that hold files: all of the new ones or none, killed or on a full drive."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from label_projects import add, contents, disc, write_images

from infosam_studio.annotation.project import Project
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.interchange import merging
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.merging import NOTE, Unfinished
from infosam_studio.interchange.registry import exporter, importer
from infosam_studio.interchange.target import ExportExists

FORCE = ExportOptions(overwrite=True)
MOVES = 8  # more renamings than the exports below make


needs_kill = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="no process can be killed like this"
)
KILLED = """
import os, signal, sys
from pathlib import Path
from infosam_studio.annotation.project import Project
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.registry import exporter

folder, format, *outs = sys.argv[1:]
real = os.replace

def export(out, left):
    def replace(source, target):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        real(source, target)

    os.replace = replace
    with Project.open(Path(folder), read_only=True) as project:
        exporter(format)(project, Path(out), options=ExportOptions(overwrite=True))
    os._exit(0)

for moves, out in enumerate(outs):
    if not (child := os.fork()):
        export(out, moves)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, status
    print(int(status != 0))
"""


def killed(project: Project, format: str, outs: list[Path]) -> list[bool]:
    """Export to each place in a process of its own, the one of place n killed at renaming n."""
    arguments = [str(project.folder), format, *map(str, outs)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], check=True, capture_output=True, text=True
    )
    return [line == "1" for line in done.stdout.split()]


@needs_kill
def test_a_killed_export_of_one_file_changes_nothing(project: Project, tmp_path: Path) -> None:
    outs = [tmp_path / "out 0.json", tmp_path / "out 1.json"]
    for out in outs:
        exporter("coco")(project, out)
    before = outs[0].read_bytes()
    add(project, "b.png", disc(12, 10, 9, 2, 2))
    assert killed(project, "coco", outs) == [True, False]  # the one renaming was the export
    assert outs[0].read_bytes() == before
    assert outs[1].read_bytes() != before
    assert [p.name.startswith(".out 0.json") for p in tmp_path.glob(".*")] == [True]
    exporter("coco")(project, outs[0], options=FORCE)
    assert not list(tmp_path.glob(".*"))


@needs_kill
@pytest.mark.parametrize("format", ["png", "yolo", "labelme"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_killed_export_never_leaves_a_mixture_that_looks_whole(
    project: Project, tmp_path: Path, format: str, inside: bool
) -> None:
    """Killed at any renaming: told by a note, refused by imports, finished by the next export."""
    exporter(format)(project, tmp_path / "before")
    (tmp_path / "before" / "notes.txt").write_text("mine")
    outs = [tmp_path / f"out {k}" for k in range(MOVES)]
    for out in outs:
        real = tmp_path / "elsewhere" / out.name if inside else out
        shutil.copytree(tmp_path / "before", real)
        if inside:  # a link, so that what is aside lies within
            out.symlink_to(real, target_is_directory=True)
    add(project, "b.png", disc(12, 10, 9, 2, 2))
    add(project, "a.png", disc(12, 10, 9, 2, 2), name="other")
    exporter(format)(project, tmp_path / "wanted")
    wanted = contents(tmp_path / "wanted") | {"notes.txt": b"mine"}

    ends = killed(project, format, outs)
    assert ends == sorted(ends, reverse=True)
    assert (ends[0], ends[-1]) == (True, False)
    for out, was_killed in zip(outs, ends, strict=True):
        if was_killed:
            assert_unfinished(project, out, format, began=out != outs[0])
        with pytest.raises(Cancelled):  # before it comes to its own files
            exporter(format)(project, out, options=FORCE, cancelled=lambda: True)
        assert contents(out) == wanted
    for folder in (tmp_path, *outs):
        assert not list(folder.glob(".*"))


def assert_unfinished(project: Project, out: Path, format: str, *, began: bool) -> None:
    assert (out / NOTE).is_file()
    described = out / {"png": "classes.json", "yolo": "data.yaml"}.get(format, "a.json")
    if format != "labelme":
        assert described.exists() != began
    with pytest.raises(Unfinished, match="interrupted"):
        importer(format)(project, out)
    with pytest.raises(Unfinished):
        importer(format).preview(project, described if not began and format == "png" else out)
    with pytest.raises(ExportExists):
        exporter(format)(project, out)


@pytest.mark.parametrize("moves", range(8))
@pytest.mark.parametrize("format", ["png", "yolo"])
def test_a_drive_that_fills_up_changes_nothing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, moves: int
) -> None:
    out = tmp_path / "out"
    exporter(format)(project, out)
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    write_images(project.images_root, {"sub/c.png": (8, 8)})
    project.scan()
    add(project, "sub/c.png", disc(8, 8, 5, 5, 2))
    real, left = os.replace, moves

    def replace(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(StudioError, match="No space left"):
        exporter(format)(project, out, options=FORCE)
    assert contents(out) == before
    assert not list(out.rglob("sub"))
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_put_back_is_finished_by_the_next_export(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    exporter("png")(project, out)
    (out / "notes.txt").write_text("mine")
    add(project, "b.png", disc(12, 10, 9, 2, 2))
    real, left = os.replace, 4

    def replace(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EIO, "Input/output error")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(StudioError, match="Input/output error"):
            exporter("png")(project, out, options=FORCE)
    with pytest.raises(Unfinished):
        importer("png")(project, out)
    exporter("png")(project, tmp_path / "wanted")
    with pytest.raises(Cancelled):
        exporter("png")(project, out, options=FORCE, cancelled=lambda: True)
    assert contents(out) == contents(tmp_path / "wanted") | {"notes.txt": b"mine"}


@pytest.mark.skipif(sys.platform == "win32", reason="asks a process of this machine")
def test_an_export_under_way_elsewhere_is_waited_for(project: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    exporter("png")(project, out)
    mine = merging.new_part(tmp_path, out)
    other = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-"))
    other.mkdir()
    (out / NOTE).write_text(merging._NOTE_TEXT + other.name + "\n")
    before = contents(out)
    with pytest.raises(StudioError, match="under way"):
        exporter("png")(project, out, options=FORCE)
    assert contents(out) == before


@pytest.mark.parametrize("text", ["", "mine", "../..", ".out.a-1-b.part", "/", "\udcff"])
def test_a_note_of_anything_else_does_no_harm(project: Project, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    exporter("png")(project, out)
    (out / NOTE).write_text(merging._NOTE_TEXT + text, errors="surrogateescape")
    exporter("png")(project, out, options=FORCE)
    assert NOTE not in contents(out)


def test_a_file_where_the_export_needs_a_folder_changes_nothing(
    project: Project, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "labels").mkdir(parents=True)
    (out / "labels" / "train").write_text("mine")
    before = contents(out)
    with pytest.raises(StudioError, match="could not be written"):
        exporter("yolo")(project, out, options=FORCE)
    (out / "data.yaml").mkdir()
    with pytest.raises(StudioError, match=r"data\.yaml is a folder"):
        exporter("yolo")(project, out, options=FORCE)
    assert contents(out) == before
