"""Many edits as one transaction and one step."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import tracemalloc
from typing import Any

import pytest
from annotation_helpers import make_object

from infosam_studio.annotation.history import ROW_CHANGES
from infosam_studio.annotation.places import DATABASE
from infosam_studio.annotation.project import DiskFull, Project, ProjectError


def everything(project: Project) -> tuple[object, ...]:
    return project.images(), project.classes(), project.objects()


def history_rows(project: Project, column: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(project.folder / DATABASE)) as db:
        return db.execute(f"SELECT {column} FROM history").fetchall()


def fill(project: Project) -> None:
    leaf = project.add_class("leaf")
    added = project.add_objects([make_object(1, leaf.id, k) for k in range(3)])
    changed = project.update_object(added[0].id, clicks=8)
    assert project.object(added[0].id) == changed
    project.add_objects([make_object(2, leaf.id)])
    project.update_image(2, state="done")
    project.delete_objects([added[1].id])


def test_a_bulk_is_one_step(project: Project) -> None:
    project.add_objects([make_object(3, 1)])
    before, steps = everything(project), len(project.history())
    with project.bulk("Import labels.json"):
        fill(project)
    after = everything(project)

    assert [e.name for e in project.history()[steps:]] == ["Import labels.json"]
    undone = project.undo()
    assert undone is not None
    assert undone.name == "Import labels.json"
    assert undone.images == {1, 2}
    assert undone.image_id is None
    assert undone.classes
    assert everything(project) == before
    assert project.redo() == undone
    assert everything(project) == after
    project.add_class("next")
    bulk = project.history()[steps].id
    assert len(project.go_to(bulk - 1)) == 2
    assert everything(project) == before
    assert [e.name for e in project.go_to(bulk)] == ["Import labels.json"]
    assert everything(project) == after
    assert project.can_redo()


def test_a_huge_step_is_taken_back_in_little_memory(project: Project) -> None:
    """Its rows are read one by one: the peak is that of a row, however many there are."""
    many = 20 * ROW_CHANGES
    with project.bulk("Import"):
        for start in range(0, many, ROW_CHANGES):
            project.add_objects([make_object(1, 1, start)] * ROW_CHANGES)
    before = everything(project)
    stored = sum(size for (size,) in history_rows(project, "LENGTH(changes)"))
    tracemalloc.start()
    undone = project.undo()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert undone is not None
    assert undone.image_id == 1
    assert undone.changes == many + 1  # and the image's state
    assert project.objects() == []
    assert peak < stored / 2
    assert project.redo() == undone
    assert everything(project) == before


def test_no_row_of_the_history_is_huge(project: Project) -> None:
    """A class with very many objects is deleted as one step of many rows."""
    count = 2 * ROW_CHANGES + 10
    project.add_objects([make_object(1 + k % 4, 1, k) for k in range(count)], "Add many")
    before, steps = everything(project), len(project.history())
    project.delete_class(1)

    assert project.objects() == []
    assert {image.state for image in project.images()} == {"untouched"}
    assert len(project.history()) == steps + 1
    longest = max(len(json.loads(text)) for (text,) in history_rows(project, "changes"))
    assert longest <= ROW_CHANGES
    project.undo()
    assert everything(project) == before
    project.undo()
    assert project.objects() == []
    project.redo()
    assert everything(project) == before


def test_an_undone_bulk_is_dropped_whole(project: Project) -> None:
    with project.bulk("Import"):
        fill(project)
    project.undo()
    with project.bulk("Import again"):
        fill(project)

    assert [e.name for e in project.history()] == ["Add class cell", "Import again"]
    project.undo()
    assert project.objects() == []


def test_a_failed_bulk_has_not_happened(project: Project) -> None:
    before = everything(project), project.history()

    def fail() -> None:
        with project.bulk("Import"):
            fill(project)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (everything(project), project.history()) == before
    project.add_class("after")
    assert project.history()[-1].name == "Add class after"


def test_a_refused_part_leaves_the_rest(project: Project) -> None:
    with project.bulk("Import"):
        with pytest.raises(ProjectError):
            project.change_objects("Both", add=[make_object(1, 1)], delete=[99])
        project.add_objects([make_object(2, 1)])

    assert project.object_counts() == {2: 1}
    project.undo()
    assert project.objects() == []
    assert [c.name for c in project.classes()] == ["cell"]


def test_an_empty_bulk_leaves_no_trace(project: Project) -> None:
    with project.bulk("Import"):
        pass

    assert len(project.history()) == 1
    with pytest.raises(RuntimeError), project.bulk("a"), project.bulk("b"):
        pass


def test_a_full_disk_ends_a_bulk_even_if_its_part_is_forgiven(project: Project) -> None:
    before = everything(project), project.history()
    writer = project._store._write
    assert writer is not None
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 3}")

    def forgive() -> None:
        with project.bulk("Import"):
            project.add_objects([make_object(1, 1)])
            with contextlib.suppress(DiskFull):
                project.add_objects([make_object(2, 1, k) for k in range(500)])
            project.add_objects([make_object(3, 1)])

    with pytest.raises(ProjectError):
        forgive()
    writer.execute("PRAGMA max_page_count = 1000000")

    assert (everything(project), project.history()) == before


def test_others_see_nothing_of_a_bulk_before_its_end(project: Project) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(len(project.objects()))

    with project.bulk("Import"):
        project.add_objects([make_object(1, 1)])
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(20)
        assert len(project.objects()) == 1

    assert seen == [0]
