"""The project file: who may open it when, and what happens when something is wrong with it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from annotation_helpers import make_object, write_images

from infosam_studio.annotation.project import (
    DiskFull,
    Project,
    ProjectDamaged,
    ProjectError,
    ProjectLocked,
    ProjectTooNew,
)
from infosam_studio.annotation.schema import SCHEMA_VERSION
from infosam_studio.annotation.store import Store

HERE = Path(__file__).parent


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def test_a_second_writer_is_told_who_holds_the_project(project: Project) -> None:
    with pytest.raises(ProjectLocked, match=rf"process {os.getpid()} on "):
        Project.open(project.folder)
    with pytest.raises(ProjectLocked):
        Project.for_path(project.images_root)
    program = (
        "import sys; from infosam_studio.annotation.project import *\n"
        "try: Project.open(__import__('pathlib').Path(sys.argv[1]))\n"
        "except ProjectLocked as error: print(error)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(project.folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert f"process {os.getpid()} on " in done.stdout
    assert len(done.stdout.splitlines()) == 1

    project.close()
    with Project.open(project.folder) as again:
        assert len(again.images()) == 4


def test_another_process_reads_while_this_one_writes(project: Project) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    reader = subprocess.Popen(
        [sys.executable, str(HERE / "read_meanwhile.py"), str(project.folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    for step in range(300):
        project.add_objects([make_object(1, 1, step), make_object(2, 1, step)])
        if step % 5 == 4:
            project.undo()
    project.add_class("end")
    out, err = reader.communicate(timeout=60)

    assert reader.returncode == 0, err
    seen = json.loads(out)
    assert len(seen) > 1
    assert all(count % 2 == 0 for count in seen)


def test_readers_cannot_write(project: Project) -> None:
    with Project.open(project.folder, read_only=True) as reader:
        assert reader.read_only
        assert not project.read_only
        for write in (
            lambda: reader.add_class("leaf"),
            lambda: reader.undo(),
            lambda: reader.save_draft(1, {}),
            lambda: reader.scan(),
        ):
            with pytest.raises(ProjectError, match="reading only"):
                write()
        project.add_class("leaf")
        assert [c.name for c in reader.classes()] == ["cell", "leaf"]


@pytest.mark.parametrize("wal", [True, False])
def test_a_snapshot_stays_as_it_was(images: Path, wal: bool, monkeypatch: object) -> None:
    folder = images.with_name("p.infosam")
    Project.create(folder, images).close()
    store = Store.open_for_writing(folder / "project.db", wal=wal)
    project = Project(folder, store, lock=None, images_root=images)
    project.scan()
    project.add_class("cell")
    with project.snapshot() as snapshot, Project.open(folder, read_only=True) as reader:
        started = time.monotonic()
        project.add_objects([make_object(1, 1)])
        project.delete_class(1)
        with reader.snapshot() as newer:
            project.add_class("leaf")
            assert newer.classes() == []
        # Nobody waited for the readers to go (SQLite's patience is five seconds).
        assert time.monotonic() - started < 4
        assert [c.name for c in snapshot.classes()] == ["cell"]
        assert snapshot.objects() == []
        assert snapshot.read_only
        assert [c.name for c in reader.classes()] == ["leaf"]
        assert project.check(full=True) == snapshot.check(full=True) == []
    project.close()


def test_network_drives_get_a_plain_journal_and_lose_nothing(images: Path) -> None:
    folder = images.with_name("p.infosam")
    with Project.create(folder, images) as project:
        project.scan()
        project.add_class("cell")
    for wal in (False, True, False):
        store = Store.open_for_writing(folder / "project.db", wal=wal)
        assert store.wal == wal
        project = Project(folder, store, lock=None, images_root=images)
        project.add_objects([make_object(1, 1)])
        assert store.rows("PRAGMA journal_mode")[0][0] == ("wal" if wal else "delete")
        project.close()
    with Project.open(folder, read_only=True) as reader:
        assert len(reader.objects()) == 3


def test_edits_reach_the_drive_every_second(project: Project) -> None:
    database = project.folder / "project.db"
    wait_for(lambda: not project._store._checkpoints.pending.is_set())  # type: ignore[union-attr]
    before = database.read_bytes() if sys.platform == "win32" else database.stat().st_mtime_ns
    started = time.monotonic()
    project.add_objects([make_object(1, 1, k) for k in range(100)])

    wait_for(
        lambda: (
            (database.read_bytes() if sys.platform == "win32" else database.stat().st_mtime_ns)
            != before
        )
    )
    assert time.monotonic() - started < 15
    # A reader that still needs older pages keeps them from leaving the log; that is no problem.
    with project.snapshot():
        project.add_objects([make_object(1, 1)])
        wait_for(lambda: not project._store._checkpoints.pending.is_set())  # type: ignore[union-attr]
        assert project.storage_problem() is None


def test_closing_leaves_one_file(project: Project) -> None:
    project.add_objects([make_object(1, 1)])
    project.close()
    project.close()

    assert sorted(p.name for p in project.folder.iterdir()) == ["project.db", "project.lock"]
    assert (project.folder / "project.lock").read_text() == ""


def test_a_newer_project_is_refused_and_left_alone(project: Project) -> None:
    project.close()
    database = project.folder / "project.db"
    db = sqlite3.connect(database)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = database.read_bytes()

    for read_only in (False, True):
        with pytest.raises(ProjectTooNew, match="update the app"):
            Project.open(project.folder, read_only=read_only)
    assert database.read_bytes() == before


def damage_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 600] = bytes(600)
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("not a database " * 500),
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeroed pages": damage_page,
    "foreign": lambda path: (path.unlink(), sqlite3.connect(path).execute("CREATE TABLE a (b)")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_project_is_refused_and_left_alone(project: Project, kind: str) -> None:
    project.add_objects([make_object(1, 1, k) for k in range(400)])
    project.close()
    database = project.folder / "project.db"
    DAMAGE[kind](database)
    before = database.read_bytes()

    with pytest.raises(ProjectDamaged, match="backup") as told:
        Project.open(project.folder)
    assert str(database) in str(told.value)
    assert database.read_bytes() == before
    # The lock was not kept by the failed attempt.
    with pytest.raises(ProjectDamaged):
        Project.open(project.folder)


def test_the_full_check_finds_what_the_quick_one_does_not(project: Project) -> None:
    project.add_objects([make_object(1, 1)])
    project.close()
    db = sqlite3.connect(project.folder / "project.db")
    db.execute("DELETE FROM classes")
    db.commit()
    db.close()
    found: list[list[str]] = []
    told = threading.Event()

    def done(problems: list[str]) -> None:
        found.append(problems)
        told.set()

    with Project.open(project.folder) as again:
        assert again.check() == []
        assert any("classes" in problem for problem in again.check(full=True))
        again.check_in_background(done)
        assert told.wait(20)
        assert found[0] == again.check(full=True)


def test_closing_stops_the_background_check(project: Project) -> None:
    project.add_objects([make_object(1 + k % 4, 1, k) for k in range(500)])
    called = []
    project.check_in_background(called.append)
    project.close()

    assert called in ([], [[]])


def test_a_full_disk_changes_nothing(project: Project) -> None:
    project.add_objects([make_object(1, 1, k) for k in range(50)])
    before = project.objects(), project.images(), project.history()
    writer = project._store._write
    assert writer is not None
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 3}")
    for _ in range(2):
        with pytest.raises(DiskFull, match="free some space"):
            project.add_objects([make_object(2, 1, k) for k in range(500)])
        assert (project.objects(), project.images(), project.history()) == before
    assert project.check(full=True) == []
    writer.execute("PRAGMA max_page_count = 1000000")
    project.add_objects([make_object(2, 1, k) for k in range(500)])

    assert len(project.objects()) == 550
    project.undo()
    assert project.objects() == before[0]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tiny drive, as Linux allows")
def test_a_drive_that_runs_full(tmp_path: Path, run_script: Callable) -> None:
    done = run_script("tiny_drive.py", tmp_path, namespace=True)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["accepted"] > 0
    assert all("no room left" in text for text in told["refusals"])


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a read-only drive, as Linux allows")
def test_a_place_where_nothing_can_be_written(tmp_path: Path, run_script: Callable) -> None:
    drive = tmp_path / "drive"
    for name in ("images", "live"):
        write_images(drive / name, 4)
        project = Project.for_path(drive / name)
        project.scan()
        project.add_class("cell")
        project.add_objects([make_object(1, 1)])
        if name == "images":
            project.close()
    # What a killed writer leaves: the newest edits are in the log only.
    shutil.copytree(project.folder, drive / "killed.infosam", ignore=shutil.ignore_patterns("*shm"))
    assert (drive / "killed.infosam" / "project.db-wal").stat().st_size > 0
    project.close()
    write_images(drive / "new", 2)
    done = run_script("read_only_place.py", drive, namespace=True)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert "cannot be written" in told["refused"]
    assert told["images"] == told["killed"] == [4, 1]
    assert told["elsewhere"] == told["again"]
    assert told["elsewhere"][1] == 2
    assert not told["elsewhere"][0].startswith(str(drive))


def test_threads_share_a_project(project: Project) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for seed in range(20):
                (added,) = project.add_objects([make_object(1 + number, 1, seed)])
                project.update_object(added.id, clicks=seed)
                assert len(project.objects(1 + number)) == seed + 1
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert project.object_counts() == dict.fromkeys(range(1, 5), 20)
    assert len({o.id for o in project.objects()}) == 80
