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


def commit(db: sqlite3.Connection, edit: Edit) -> None:
    """Make the edit and enter it in the history; edits without changes leave no trace."""
    if not edit.changes:
        return
    _make(db, edit)
    db.execute("DELETE FROM history WHERE undone = 1")
    db.execute(
        "INSERT INTO history (name, changes, created) VALUES (?, ?, ?)",
        (edit.name, edit.to_json(), time.time()),
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
    row = _newest_done(db)
    if row is None:
        return None
    edit = Edit.from_json(row["name"], row["changes"])
    _make(db, edit.inverse())
    db.execute("UPDATE history SET undone = 1 WHERE id = ?", (row["id"],))
    return edit


def redo(db: sqlite3.Connection) -> Edit | None:
    """Make the oldest edit taken back again; None where there is none."""
    row = _oldest_undone(db)
    if row is None:
        return None
    edit = Edit.from_json(row["name"], row["changes"])
    _make(db, edit)
    db.execute("UPDATE history SET undone = 0 WHERE id = ?", (row["id"],))
    return edit


def go_to(db: sqlite3.Connection, entry_id: int) -> list[Edit]:
    """Undo or redo until ``entry_id`` is the newest edit that holds; the edits on the way."""
    way: list[Edit | None] = []
    while (row := _newest_done(db)) is not None and row["id"] > entry_id:
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
