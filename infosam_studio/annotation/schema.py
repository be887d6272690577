"""The tables of ``project.db``, their version, and the way from older versions to it.

A released version is never changed: a new one gets a number, a function in ``_STEPS``, and a test
that starts from a file of the version before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infosam_studio.annotation.store_errors import ProjectDamaged, ProjectTooNew

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x49534D53  # "ISMS", so that `file` and other programs can tell

_IMAGE = "path sha256 width height page state fully_labelled excluded split problem view"
_CLASS = "name color supercategory"
_OBJECT = (
    "image_id class_id height width counts prompts clicks seconds adapter hand_corrected excluded "
    "source z extra"
)
# What an edit may name; anything else in a stored edit is refused.
DOCUMENT_COLUMNS: Final = {
    "images": frozenset(_IMAGE.split()),
    "classes": frozenset(_CLASS.split()),
    "objects": frozenset(_OBJECT.split()),
}

# AUTOINCREMENT: an id in the history must never come to mean another row.
_TABLES: Final = """
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL,
    page INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'untouched',
    fully_labelled INTEGER NOT NULL DEFAULT 0,
    excluded INTEGER NOT NULL DEFAULT 0,
    split TEXT,
    problem TEXT,
    view TEXT NOT NULL DEFAULT '',
    file_size INTEGER NOT NULL DEFAULT -1,
    file_mtime INTEGER NOT NULL DEFAULT -1,
    UNIQUE (path, page)
);
CREATE INDEX images_sha256 ON images (sha256);
CREATE TABLE classes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    color TEXT NOT NULL,
    supercategory TEXT NOT NULL DEFAULT ''
);
CREATE TABLE objects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    image_id INTEGER NOT NULL REFERENCES images (id) DEFERRABLE INITIALLY DEFERRED,
    class_id INTEGER NOT NULL REFERENCES classes (id) DEFERRABLE INITIALLY DEFERRED,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    counts TEXT NOT NULL,
    prompts TEXT NOT NULL DEFAULT '{}',
    clicks INTEGER NOT NULL DEFAULT 0,
    seconds REAL NOT NULL DEFAULT 0,
    adapter TEXT,
    hand_corrected INTEGER NOT NULL DEFAULT 0,
    excluded INTEGER NOT NULL DEFAULT 0,
    source TEXT NOT NULL DEFAULT 'user',
    z INTEGER NOT NULL DEFAULT 0,
    extra TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX objects_image ON objects (image_id, z, id);
CREATE INDEX objects_class ON objects (class_id);
CREATE TABLE history (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    changes TEXT NOT NULL,
    created REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0,
    continues INTEGER NOT NULL DEFAULT 0 -- whether this goes on with the step of the row before
);
CREATE INDEX history_undone ON history (undone, id);
CREATE TABLE draft (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    image_id INTEGER NOT NULL REFERENCES images (id),
    data TEXT NOT NULL
);
"""


def create_schema(db: sqlite3.Connection) -> None:
    """Make all tables in an empty database, within the caller's transaction."""
    for statement in _TABLES.split(";"):
        if statement.strip():
            db.execute(statement)
    _stamp(db, SCHEMA_VERSION)


def read_version(db: sqlite3.Connection, path: Path) -> int:
    """The schema version; ProjectDamaged for a foreign file, ProjectTooNew for a newer one."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID or version < 1:
        raise ProjectDamaged(
            f"{path} is not a project of this app; choose another folder or restore it from a "
            "backup."
        )
    if version > SCHEMA_VERSION:
        raise ProjectTooNew(
            f"{path} was written by a newer version of InfoSAM Studio (format {version}, this "
            f"one knows {SCHEMA_VERSION}); update the app to open it."
        )
    return version


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring the tables from ``version`` to the newest, within the caller's transaction."""
    for step in range(version, SCHEMA_VERSION):
        _STEPS[step](db)
    _stamp(db, SCHEMA_VERSION)


def _stamp(db: sqlite3.Connection, version: int) -> None:
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version}")


def _from_1_to_2(db: sqlite3.Connection) -> None:
    """The unfinished object, views, foreign fields, large steps, changed image files."""
    for statement in (
        "ALTER TABLE images ADD COLUMN view TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE images ADD COLUMN file_size INTEGER NOT NULL DEFAULT -1",
        "ALTER TABLE images ADD COLUMN file_mtime INTEGER NOT NULL DEFAULT -1",
        "ALTER TABLE classes ADD COLUMN supercategory TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE objects ADD COLUMN extra TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE history ADD COLUMN continues INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX objects_class ON objects (class_id)",
        "CREATE INDEX images_sha256 ON images (sha256)",
        "CREATE TABLE draft (id INTEGER PRIMARY KEY CHECK (id = 1), "
        "image_id INTEGER NOT NULL REFERENCES images (id), data TEXT NOT NULL)",
    ):
        db.execute(statement)


_STEPS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {1: _from_1_to_2}
