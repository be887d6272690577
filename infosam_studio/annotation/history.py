"""The history: edits carried out on the tables, entered, taken back and made again.

All functions work within the caller's transaction.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from infosam_studio.annotation.edits import Change, Edit, EditConflict
from infosam_studio.annotation.schema import DOCUMENT_COLUMNS


@dataclass(frozen=True)
class HistoryEntry:
    """One step of the history; ``created`` in seconds since 1970."""

    id: int
    name: str
    created: float
    undone: bool


def commit(db: sqlite3.Connection, edit: Edit, *, continues: bool = False) -> None:
    """Make the edit and enter it in the history; edits without changes leave no trace.

    ``continues``: as part of the step before it, to be undone together with that.
    """
    if not edit.changes:
        return
    _make(db, edit)
    db.execute("DELETE FROM history WHERE undone = 1")
    db.execute(
        "INSERT INTO history (name, changes, created, continues) VALUES (?, ?, ?, ?)",
        (edit.name, edit.to_json(), time.time(), int(continues)),
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


def undo(db: sqlite3.Connection) -> Edit | None:
    """Take back the newest edit that holds; None where there is none."""
    taken: list[Edit] = []
    while (row := _newest_done(db)) is not None:
        edit = Edit.from_json(row["name"], row["changes"])
        _make(db, edit.inverse())
        db.execute("UPDATE history SET undone = 1 WHERE id = ?", (row["id"],))
        taken.insert(0, edit)
        if not row["continues"]:
            break
    return _whole(taken)


def redo(db: sqlite3.Connection) -> Edit | None:
    """Make the oldest edit taken back again; None where there is none."""
    made: list[Edit] = []
    while (row := _oldest_undone(db)) is not None and (row["continues"] or not made):
        edit = Edit.from_json(row["name"], row["changes"])
        _make(db, edit)
        db.execute("UPDATE history SET undone = 0 WHERE id = ?", (row["id"],))
        made.append(edit)
    return _whole(made)


def _whole(parts: list[Edit]) -> Edit | None:
    """The edit that a step's rows make together."""
    if len(parts) < 2:
        return parts[0] if parts else None
    return Edit(parts[0].name, tuple(change for part in parts for change in part.changes))


def _step_id(db: sqlite3.Connection, row: sqlite3.Row) -> int:
    """The id of the row that the step of ``row`` begins with, by which the step is known."""
    found = db.execute(
        "SELECT MAX(id) FROM history WHERE continues = 0 AND id <= ?", (row["id"],)
    ).fetchone()
    return int(found[0] or 0)


def go_to(db: sqlite3.Connection, entry_id: int) -> list[Edit]:
    """Undo or redo until ``entry_id`` is the newest edit that holds; the edits on the way."""
    way: list[Edit | None] = []
    while (row := _newest_done(db)) is not None and _step_id(db, row) > entry_id:
        way.append(undo(db))
    while (row := _oldest_undone(db)) is not None and row["id"] <= entry_id:
        way.append(redo(db))
    return [edit for edit in way if edit is not None]


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
