"""The history: edits carried out on the tables, entered, taken back and made again.

All functions work within the caller's transaction. A step of any size is read and carried out a
row of the history at a time, and no row holds more than ``ROW_CHANGES`` changes, so that taking
back the import of 200,000 objects needs no more memory than that of a thousand.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infosam_studio.annotation.edits import Change, Edit, EditConflict
from infosam_studio.annotation.schema import DOCUMENT_COLUMNS

ROW_CHANGES: Final = 1000


@dataclass(frozen=True)
class HistoryEntry:
    """One step of the history; ``created`` in seconds since 1970."""

    id: int
    name: str
    created: float
    undone: bool


@dataclass(frozen=True)
class Step:
    """What was taken back or made again: its name, and what it touched.

    ``images`` are the images whose objects or own fields changed, ``changes`` counts rows.
    """

    name: str
    changes: int
    images: frozenset[int]
    classes: bool = False

    @property
    def image_id(self) -> int | None:
        """The image it is about, None where it is about several or none."""
        return next(iter(self.images)) if len(self.images) == 1 else None


class _Summary:
    """Adds up what the rows of a step do, without keeping them."""

    def __init__(self) -> None:
        self.changes = 0
        self.images: set[int] = set()
        self.classes = False

    def add(self, db: sqlite3.Connection, edit: Edit) -> None:
        """Look at one row, before it is carried out or afterwards."""
        self.changes += len(edit.changes)
        for change in edit.changes:
            if change.table == "classes":
                self.classes = True
            elif change.table == "images":
                self.images.add(change.key)
            else:
                for side in (change.before, change.after):
                    if side is not None and "image_id" in side:
                        self.images.add(int(side["image_id"]))
                if "image_id" not in (change.after or change.before or {}):
                    found = db.execute("SELECT image_id FROM objects WHERE id = ?", (change.key,))
                    self.images.update(int(row[0]) for row in found)

    def step(self, name: str | None) -> Step | None:
        """The step of that name; None where nothing was added."""
        if name is None:
            return None
        return Step(name, self.changes, frozenset(self.images), self.classes)


def commit(db: sqlite3.Connection, edit: Edit, *, continues: bool = False) -> None:
    """Make the edit and enter it in the history; edits without changes leave no trace.

    ``continues``: as part of the step before it, to be undone together with that.
    """
    if not edit.changes:
        return
    _make(db, edit)
    db.execute("DELETE FROM history WHERE undone = 1")
    for start in range(0, len(edit.changes), ROW_CHANGES):
        part = Edit(edit.name, edit.changes[start : start + ROW_CHANGES])
        db.execute(
            "INSERT INTO history (name, changes, created, continues) VALUES (?, ?, ?, ?)",
            (edit.name, part.to_json(), time.time(), int(continues or start > 0)),
        )


def _newest_done(db: sqlite3.Connection) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM history WHERE undone = 0 ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return row


def _oldest_undone(db: sqlite3.Connection) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM history WHERE undone = 1 ORDER BY id LIMIT 1"
    ).fetchone()
    return row


def undo(db: sqlite3.Connection) -> Step | None:
    """Take back the newest step that holds; None where there is none."""
    found, name = _Summary(), None
    while (row := _newest_done(db)) is not None:
        name = row["name"]
        edit = Edit.from_json(name, row["changes"])
        found.add(db, edit)
        _make(db, edit.inverse())
        db.execute("UPDATE history SET undone = 1 WHERE id = ?", (row["id"],))
        if not row["continues"]:
            break
    return found.step(name)


def redo(db: sqlite3.Connection) -> Step | None:
    """Make the oldest step taken back again; None where there is none."""
    found, name = _Summary(), None
    while (row := _oldest_undone(db)) is not None and (row["continues"] or name is None):
        name = row["name"]
        edit = Edit.from_json(name, row["changes"])
        _make(db, edit)
        found.add(db, edit)
        db.execute("UPDATE history SET undone = 0 WHERE id = ?", (row["id"],))
    return found.step(name)


# Steps of this many bytes and more are not carried out in a moment.
_LONG_BYTES: Final = 400_000
_LONG_ROWS: Final = 20

Query = Callable[[str, Sequence[Any]], list[sqlite3.Row]]
"""Gives the rows of an SQL text and its values."""


def is_long_undo(query: Query) -> bool:
    """Whether taking back the newest step may take longer than a moment."""
    first = "SELECT MAX(id) FROM history WHERE undone = 0 AND continues = 0"
    return _is_long(query, f"undone = 0 AND id >= ({first})", ())


def is_long_redo(query: Query) -> bool:
    """Whether making the oldest step taken back again may take longer than a moment."""
    first = "SELECT MIN(id) FROM history WHERE undone = 1"
    after = f"SELECT MIN(id) FROM history WHERE continues = 0 AND id > ({first})"
    return _is_long(query, f"undone = 1 AND id < COALESCE(({after}), 1 << 62)", ())


def is_long_way(query: Query, entry_id: int) -> bool:
    """Whether `go_to` may take longer than a moment."""
    way = "(undone = 0 AND id > ?) OR (undone = 1 AND id <= ?)"
    return _is_long(query, way, (entry_id, entry_id))


def _is_long(query: Query, which: str, values: Sequence[Any]) -> bool:
    sql = f"SELECT id FROM history WHERE {which} LIMIT {_LONG_ROWS}"
    found = [int(row[0]) for row in query(sql, values)]
    if len(found) == _LONG_ROWS:
        return True
    size = "SELECT LENGTH(CAST(changes AS BLOB)) FROM history WHERE id = ?"
    return sum(int(query(size, (key,))[0][0]) for key in found) > _LONG_BYTES


def _step_id(db: sqlite3.Connection, row: sqlite3.Row) -> int:
    """The id of the row that the step of ``row`` begins with, by which the step is known."""
    found = db.execute(
        "SELECT MAX(id) FROM history WHERE continues = 0 AND id <= ?", (row["id"],)
    ).fetchone()
    return int(found[0] or 0)


def go_to(db: sqlite3.Connection, entry_id: int) -> list[Step]:
    """Undo or redo until ``entry_id`` is the newest step that holds; the steps on the way."""
    way: list[Step | None] = []
    while (row := _newest_done(db)) is not None and _step_id(db, row) > entry_id:
        way.append(undo(db))
    while (row := _oldest_undone(db)) is not None and row["id"] <= entry_id:
        way.append(redo(db))
    return [step for step in way if step is not None]


def _make(db: sqlite3.Connection, edit: Edit) -> None:
    """Carry out every change, each only on a row that is as the change says it was."""
    for change in edit.changes:
        columns = DOCUMENT_COLUMNS.get(change.table)
        named = change.before if change.after is None else change.after
        # Names go into the SQL text, and a history may come from a stranger's file.
        if columns is None or named is None or not named.keys() <= columns:
            raise EditConflict(
                f"“{edit.name}” changes things this version does not know; update the app."
            )
        try:
            done = _make_change(db, change)
        except sqlite3.IntegrityError:
            done = 0
        if done != 1:
            raise EditConflict(
                f"“{edit.name}” does not fit the project any more, so nothing was changed; "
                "reload the image."
            )


def _make_change(db: sqlite3.Connection, change: Change) -> int:
    before, after = change.before, change.after
    if after is not None and before is None:
        names = ", ".join(after)
        marks = ", ".join("?" * (len(after) + 1))
        sql = f"INSERT INTO {change.table} (id, {names}) VALUES ({marks})"
        return db.execute(sql, (change.key, *after.values())).rowcount
    assert before is not None
    as_was = "".join(f" AND {column} IS ?" for column in before)
    if after is None:
        sql = f"DELETE FROM {change.table} WHERE id = ?{as_was}"
        return db.execute(sql, (change.key, *before.values())).rowcount
    sets = ", ".join(f"{column} = ?" for column in after)
    sql = f"UPDATE {change.table} SET {sets} WHERE id = ?{as_was}"
    return db.execute(sql, (*after.values(), change.key, *before.values())).rowcount
