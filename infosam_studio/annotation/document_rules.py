"""What must hold in the document, looked up and worked out within the caller's transaction."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from infosam_studio.annotation.edits import Change
from infosam_studio.annotation.model import (
    CLASS_COLORS,
    OBJECT_SOURCES,
    ClassRecord,
    ObjectRecord,
)
from infosam_studio.annotation.store_errors import ProjectError


def get_row(db: sqlite3.Connection, table: str, key: int, columns: str = "*") -> sqlite3.Row:
    """One row; ProjectError where there is none of that id."""
    sql = f"SELECT {columns} FROM {table} WHERE id = ?"
    row: sqlite3.Row | None = db.execute(sql, (key,)).fetchone()
    if row is None:
        raise ProjectError(f"There is no row {key} in {table} of this project; reload the list.")
    return row


def next_id(db: sqlite3.Connection, table: str) -> int:
    """The id of the next row, never one that was given before."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 1 if row is None else int(row["seq"]) + 1


def free_color(used: Sequence[str]) -> str:
    """The palette's colour used least so far, the earliest of these."""
    return min(CLASS_COLORS, key=lambda color: (used.count(color), CLASS_COLORS.index(color)))


def check_class(db: sqlite3.Connection, record: ClassRecord, also: Sequence[str]) -> None:
    """ProjectError where a class's name is empty, taken or in ``also``, or its colour is none."""
    if not record.name:
        raise ProjectError("A class needs a name; type one.")
    taken = db.execute(
        "SELECT 1 FROM classes WHERE name = ? AND id <> ?", (record.name, record.id)
    ).fetchone()
    if taken or record.name in also:
        raise ProjectError(
            f"There is already a class called {record.name}; choose another name or merge the two."
        )
    if not re.fullmatch("#[0-9a-fA-F]{6}", record.color):
        raise ProjectError(f"{record.color} is not a colour; give it as #rrggbb.")


def check_object(db: sqlite3.Connection, record: ObjectRecord) -> None:
    """ProjectError where an object's image or class is unknown or its mask has another size."""
    if record.source not in OBJECT_SOURCES:
        raise ValueError(f"unknown source {record.source!r}")
    image = get_row(db, "images", record.image_id)
    get_row(db, "classes", record.class_id)
    if (record.mask.height, record.mask.width) != (image["height"], image["width"]):
        raise ProjectError(
            f"A mask of {record.mask.width} x {record.mask.height} pixels does not fit "
            f"{image['path']} of {image['width']} x {image['height']}; check that it belongs to it."
        )


def placed(db: sqlite3.Connection, objs: Sequence[ObjectRecord]) -> list[ObjectRecord]:
    """New objects with the ids and the places in the stack they are to have."""
    tops: dict[int, int] = {}
    ready = []
    checked: set[tuple[int, int, int, int, str]] = set()
    for number, obj in enumerate(objs, next_id(db, "objects")):
        kind = (obj.image_id, obj.class_id, obj.mask.height, obj.mask.width, obj.source)
        if kind not in checked:
            check_object(db, obj)
            checked.add(kind)
        if obj.image_id not in tops:
            row = db.execute("SELECT MAX(z) FROM objects WHERE image_id = ?", (obj.image_id,))
            tops[obj.image_id] = row.fetchone()[0] or 0
        z = obj.z or tops[obj.image_id] + 1
        tops[obj.image_id] = max(tops[obj.image_id], z)
        ready.append(replace(obj, id=number, z=z))
    return ready


def begun(db: sqlite3.Connection, added: Sequence[ObjectRecord]) -> list[Change]:
    """The images that are in progress now."""
    changes = []
    for image_id in sorted({o.image_id for o in added if o.source != "suggestion"}):
        state = get_row(db, "images", image_id)["state"]
        if state in ("untouched", "empty"):
            now = {"state": "in_progress"}
            changes.append(Change("images", image_id, {"state": state}, now))
    return changes


def emptied(
    db: sqlite3.Connection, removals: Sequence[Change], added: Sequence[ObjectRecord] = ()
) -> list[Change]:
    """The images in progress that lose their last object; suggestions are none."""
    lost: dict[int, int] = {}
    for change in removals:
        if change.before is not None and change.before["source"] != "suggestion":
            image_id = int(change.before["image_id"])
            lost[image_id] = lost.get(image_id, 0) + 1
    kept = {o.image_id for o in added if o.source != "suggestion"}
    changes = []
    for image_id, count in sorted(lost.items()):
        row = db.execute(
            "SELECT COUNT(*) FROM objects WHERE image_id = ? AND source <> 'suggestion'",
            (image_id,),
        )
        state = get_row(db, "images", image_id)["state"]
        if row.fetchone()[0] == count and image_id not in kept and state == "in_progress":
            now = {"state": "untouched"}
            changes.append(Change("images", image_id, {"state": state}, now))
    return changes
