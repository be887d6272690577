"""Kill a process that edits a project, at random instants, and look at what is left.

Usage: kill_rounds.py PROJECT ROUNDS SEED. Prints one JSON object. One interpreter forks a child
per round, because starting one afresh takes longer than the round itself.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from annotation_helpers import make_object

from infosam_studio.annotation import store
from infosam_studio.annotation.edits import Edit
from infosam_studio.annotation.model import class_row, image_row, object_row
from infosam_studio.annotation.project import Project

LONGEST_SECONDS = 0.02
# Checkpoints are to be hit too, in a child that lives a fraction of a second.
store.CHECKPOINT_SECONDS = 0.05  # type: ignore[misc]


def edit_for_ever(folder: Path, pipe: int, chance: random.Random) -> None:
    """Random edits; after each commit the history's newest entry and what was undone go out."""
    project = Project.open(folder)
    os.write(pipe, b"open\n")
    while True:
        kind = chance.random()
        objects = project.object_counts()
        if kind < 0.5 or not objects:
            many = chance.choice([1, 1, 1, 3, 60])
            project.add_objects([make_object(1 + k % 4, 1, k) for k in range(many)])
        elif kind < 0.7:
            some = chance.choice(project.objects(chance.choice(sorted(objects))))
            project.update_object(some.id, seconds=chance.random(), mask=make_object(1, 1, 3).mask)
        elif kind < 0.8:
            image = chance.choice(sorted(objects))
            project.delete_objects([o.id for o in project.objects(image)])
        elif kind < 0.95:
            project.undo()
        else:
            project.redo()
        history = project.history()
        undone = sum(entry.undone for entry in history)
        os.write(pipe, f"{len(history) and history[-1].id} {undone}\n".encode())


def kill_one(folder: Path, chance: random.Random) -> list[str]:
    """Fork an editing child, kill it at a random instant, and return the lines it wrote."""
    reading, writing = os.pipe()
    seed = chance.random()
    # Most kills are to hit edits, not the opening, however slow the machine is: so many reports
    # are waited for, and then a part of the time that an edit takes.
    reports, wait = chance.choice([0, *range(2, 8)]), chance.random() * LONGEST_SECONDS
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            edit_for_ever(folder, writing, random.Random(seed))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(9)
    os.close(writing)
    told = b""
    while told.count(b"\n") < reports and (more := os.read(reading, 4096)):
        told += more
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as stream:
        told += stream.read()
    if not os.WIFSIGNALED(status):
        raise RuntimeError(f"the child ended by itself, status {status}, after {told!r}")
    return told.decode().split("\n")[:-1]


def replay(project: Project, start: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
    """The tables as the history says they should be."""
    tables = {name: {key: dict(row) for key, row in rows.items()} for name, rows in start.items()}
    rows = project._store.rows("SELECT name, changes FROM history WHERE undone = 0 ORDER BY id")
    for row in rows:
        for change in Edit.from_json(row["name"], row["changes"]).changes:
            table = tables[change.table]
            if change.after is None:
                del table[change.key]
            else:
                table[change.key] = {**table.get(change.key, {}), **change.after}
    return tables


def tables_of(project: Project) -> dict[str, dict[int, Any]]:
    return {
        "images": {r.id: image_row(r) for r in project.images()},
        "classes": {r.id: class_row(r) for r in project.classes()},
        "objects": {r.id: object_row(r) for r in project.objects()},
    }


def main(folder: Path, rounds: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    with Project.open(folder) as project:
        # Every edit is in the history, so the state before the first one is known.
        project.go_to(0)
        start = tables_of(project)
        while project.redo():
            pass
        newest, undone = project.history()[-1].id, 0
    told = {"rounds": rounds, "edits": 0, "beyond": 0, "while_opening": 0}
    for number in range(rounds):
        lines = kill_one(folder, chance)
        told["while_opening"] += not lines
        told["edits"] += max(0, len(lines) - 1)
        if len(lines) > 1:
            newest, undone = map(int, lines[-1].split())
        with Project.open(folder) as project:
            problems = project.check(full=True)
            assert not problems, (number, problems)
            history = project.history()
            state = (history[-1].id if history else 0, sum(e.undone for e in history))
            # The child may have been killed between one more commit and its report.
            told["beyond"] += state != (newest, undone)
            one_more = {(newest, undone + 1), (newest, undone - 1)}
            appended = state[0] > newest and state[1] == 0
            assert state == (newest, undone) or state in one_more or appended, (number, state)
            assert not appended or state[0] - newest == 1, (number, state, newest)
            assert tables_of(project) == replay(project, start), number
            newest, undone = state
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
