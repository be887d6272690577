"""What can go wrong with a project on disk, each as one sentence with a way out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infosam_studio.errors import StudioError


class ProjectError(StudioError):
    """A project that cannot be used as asked."""


class ProjectLocked(ProjectError):
    """The project is already open for writing, here or on another machine."""


class ProjectTooNew(ProjectError):
    """The project was written by a newer version of the app."""


class ProjectDamaged(ProjectError):
    """The project file fails its check or is no project file."""


class ProjectReadOnly(ProjectError):
    """The project lies where nothing can be written, or was opened for reading only."""


class DiskFull(ProjectError):
    """There was no room for an edit; the project is as it was before it."""


class StorageFailed(ProjectError):
    """The drive refused to read or write; the project is as it was before."""


_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def from_sqlite(error: sqlite3.Error, path: Path) -> ProjectError | None:
    """The sentence for an error of SQLite about the file ``path``; None for bugs of our own."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    code &= 0xFF
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(
            f"There is no room left on the drive of {path}: the last change was not saved; "
            "free some space and repeat it."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return ProjectDamaged(
            f"{path} is damaged ({error}); restore the project folder from a backup."
        )
    if code == sqlite3.SQLITE_READONLY:
        return ProjectReadOnly(
            f"{path} cannot be written; open the project for reading only or copy its folder "
            "to a place of your own."
        )
    if code in _BUSY:
        return ProjectLocked(f"Another program is using {path}; close it there and try again.")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ProjectError(
            f"The change does not fit what {path} holds now ({error}), so nothing was changed; "
            "reload the image."
        )
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return StorageFailed(
            f"{path} could not be read or written ({error}), so nothing was changed; "
            "check the drive and its permissions."
        )
    return None


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors about ``path`` as sentences for the user; bugs pass unchanged."""
    try:
        yield
    except sqlite3.Error as error:
        told = from_sqlite(error, path)
        if told is None:
            raise
        raise told from error
