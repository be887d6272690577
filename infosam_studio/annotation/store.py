"""The database file of a project: connections, transactions, and when they reach the drive.

A commit appends to the write-ahead log without waiting for the drive (``synchronous=NORMAL``): a
killed process loses nothing, because the log is in the operating system's hands by then. A thread
with a connection of its own brings the log to the drive every second, so that a power cut costs
at most that second, and the thread that edits never waits for it.

Never open ``project.db`` itself with ``open()`` in this process: closing such a handle would drop
SQLite's own locks on it (a rule of POSIX).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from infosam_studio.annotation.schema import SCHEMA_VERSION, create_schema, migrate, read_version
from infosam_studio.annotation.store_errors import (
    ProjectDamaged,
    ProjectError,
    from_sqlite,
    storage_errors,
)

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS: Final = 1.0
_BUSY_SECONDS: Final = 5.0
_ROLLBACK_PART: Final = ["ROLLBACK TO part", "RELEASE part"]
_LOG_LIMIT: Final = 64 * 2**20  # the write-ahead log is cut back to this once it is done with


class Store:
    """The open database; use from any thread. Reads never wait for a write in progress."""

    def __init__(
        self,
        path: Path,
        *,
        read: sqlite3.Connection,
        write: sqlite3.Connection | None,
        wal: bool,
    ) -> None:
        self.path = path
        self.wal = wal
        self._read = read
        self._write = write
        self._write_lock = threading.RLock()
        self._writing_thread: int | None = None
        # Without the log a second connection would only get in the first one's way.
        self._read_lock = self._write_lock if write is read else threading.RLock()
        self._checkpoints: _Checkpoints | None = None
        if write is not None and wal:
            self._checkpoints = _Checkpoints(path)
            self._checkpoints.start()

    @classmethod
    def create(cls, path: Path) -> None:
        """Make the file with all tables; it appears under its name only when it is whole."""
        aside = path.with_name(path.name + ".new")
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
        with storage_errors(path):
            db = sqlite3.connect(aside, isolation_level=None)
            try:
                db.execute("BEGIN")
                create_schema(db)
                db.execute("COMMIT")
            finally:
                db.close()
        os.replace(aside, path)

    @classmethod
    def open_for_writing(cls, path: Path, *, wal: bool) -> Store:
        """Open, check and migrate; the caller holds the project's lock."""
        with storage_errors(path), contextlib.ExitStack() as undo:
            db = _connect(path, "rw")
            undo.callback(db.close)
            if not wal:
                # A file that was last used with the log can be opened without the memory it
                # shares between processes, which this drive lacks, only if nobody else is let in.
                db.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Nothing is written before it is known to be a sound project of a known version.
            version = read_version(db, path)
            _quick_check(db, path)
            wal = _set_journal(db, wal)
            db.execute(f"PRAGMA synchronous = {'NORMAL' if wal else 'FULL'}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
            if version < SCHEMA_VERSION:
                _migrate_file(db, path, version)
            read = _connect(path, "ro") if wal else db
            undo.pop_all()
            return cls(path, read=read, write=db, wal=wal)

    @classmethod
    def open_for_reading(cls, path: Path) -> Store:
        """Open without any writing, while another process may write."""
        with storage_errors(path):
            db, shared = _connect_read_only(path)
            try:
                version = read_version(db, path)
                if version < SCHEMA_VERSION:
                    # An older file may not be changed here.
                    db, shared = _loaded(db), False
                    db.execute("BEGIN")
                    migrate(db, version)
                    db.execute("COMMIT")
                wal = shared and db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
                db.execute("PRAGMA query_only = ON")
            except BaseException:
                db.close()
                raise
            return cls(path, read=db, write=None, wal=wal)

    def snapshot(self) -> Store:
        """A second store that stays as this one is now, whatever is written meanwhile."""
        with storage_errors(self.path):
            if self.wal:
                db = _connect(self.path, "ro")
                db.execute("PRAGMA query_only = ON")
                # A transaction sees the state at its first read.
                db.execute("BEGIN")
                db.execute("SELECT COUNT(*) FROM settings").fetchone()
            else:
                # Without the log an open read transaction would keep the writer waiting.
                db = self._memory_copy()
                db.execute("PRAGMA query_only = ON")
            return Store(self.path, read=db, write=None, wal=self.wal)

    def _memory_copy(self) -> sqlite3.Connection:
        db = _in_memory()
        with self._read_lock:
            self._read.backup(db)
        return db

    @property
    def writable(self) -> bool:
        """Whether ``transaction`` may be used."""
        return self._write is not None

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query; within a transaction of this thread, as that has left them."""
        with storage_errors(self.path):
            if self._writing_thread == threading.get_ident() and self._write is not None:
                return self._write.execute(sql, values).fetchall()
            with self._read_lock:
                return self._read.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: committed at the end, and undone where anything is raised.

        One within another belongs to it, and is undone alone where only it fails.
        """
        db = self._write
        if db is None:
            raise ProjectError(f"{self.path} is open for reading only; open it for writing first.")
        with self._write_lock, storage_errors(self.path):
            outer = self._writing_thread is None
            self._writing_thread = threading.get_ident()
            try:
                if not outer:
                    self._require_transaction(db)
                db.execute("BEGIN IMMEDIATE" if outer else "SAVEPOINT part")
                yield db
                self._require_transaction(db)
                db.execute("COMMIT" if outer else "RELEASE part")
            except BaseException:
                # A failing rollback would hide the reason.
                with contextlib.suppress(sqlite3.Error):
                    if db.in_transaction:
                        for statement in ["ROLLBACK"] if outer else _ROLLBACK_PART:
                            db.execute(statement)
                raise
            finally:
                if outer:
                    self._writing_thread = None
        if outer and self._checkpoints is not None:
            self._checkpoints.pending.set()

    def _require_transaction(self, db: sqlite3.Connection) -> None:
        # A full disk may end it from below; then nothing more may be written on its own.
        if not db.in_transaction:
            raise ProjectError(f"The work on {self.path} failed before; repeat all of it.")

    def storage_problem(self) -> str | None:
        """Why the last edits could not be brought to the drive, or None when all is well."""
        return None if self._checkpoints is None else self._checkpoints.problem

    def check(self, *, full: bool, stopped: threading.Event | None = None) -> list[str]:
        """SQLite's own check, quick or full, on a connection of its own; the problems found."""
        with storage_errors(self.path):
            db = _connect(self.path, "ro") if self.wal else self._memory_copy()
            if stopped is not None:
                db.set_progress_handler(lambda: int(stopped.is_set()), 100_000)
            try:
                return _check(db, full=full)
            except sqlite3.OperationalError:
                if stopped is not None and stopped.is_set():
                    return []
                raise
            except sqlite3.DatabaseError as error:
                return [str(error)]
            finally:
                db.close()

    def close(self) -> None:
        """Bring everything into the file and let go of it; safe to call twice."""
        if self._checkpoints is not None:
            self._checkpoints.stop()
        with self._write_lock, self._read_lock:
            self._read.close()
            # The last connection to close empties the log into the file and removes it.
            if self._write is not None:
                self._write.close()


class _Checkpoints(threading.Thread):
    """Brings the write-ahead log to the drive every second in which something was written."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="project-checkpoints", daemon=True)
        self.pending = threading.Event()
        self.problem: str | None = None
        self._path = path
        self._stopped = threading.Event()

    def run(self) -> None:
        db = None
        while not self._stopped.wait(CHECKPOINT_SECONDS):
            if not self.pending.is_set():
                continue
            self.pending.clear()
            try:
                if db is None:
                    db = _connect(self._path, "rw")
                self._checkpoint(db)
                self.problem = None
            except (sqlite3.Error, OSError) as error:
                told = from_sqlite(error, self._path) if isinstance(error, sqlite3.Error) else None
                self.problem = str(told or error)
                log.warning("checkpoint of %s failed: %s", self._path, error)
                self.pending.set()
        if db is not None:
            db.close()

    def _checkpoint(self, db: sqlite3.Connection) -> None:
        _, written, brought_home = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if written != brought_home:
            # A reader still needs the old pages, so they stay, and SQLite has not waited for the
            # drive either: see to it that at least the log is there.
            _sync_file(_log_of(self._path))

    def stop(self) -> None:
        self._stopped.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        if sys.platform == "darwin":
            import fcntl

            # On macOS fsync leaves data in the drive's own cache.
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
        else:
            os.fsync(handle)
    finally:
        os.close(handle)


def _connect(path: Path, mode: str, **options: int) -> sqlite3.Connection:
    query = "&".join([f"mode={mode}", *(f"{k}={v}" for k, v in options.items())])
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?{query}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    return _configured(db)


def _in_memory() -> sqlite3.Connection:
    return _configured(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))


def _configured(db: sqlite3.Connection) -> sqlite3.Connection:
    db.row_factory = sqlite3.Row
    for setting in (
        "foreign_keys = ON",
        "fullfsync = ON",  # macOS: durable means through the drive's own cache
        "checkpoint_fullfsync = ON",
        "temp_store = MEMORY",
        "trusted_schema = OFF",  # a project may come from a stranger
        "cell_size_check = ON",
    ):
        db.execute(f"PRAGMA {setting}")
    return db


def _set_journal(db: sqlite3.Connection, wal: bool) -> bool:
    """Choose the journal; True where the write-ahead log is in use."""
    if wal:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
            if mode == "wal":
                return True
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_IOERR:
                raise
            log.info("no write-ahead log here: %s", error)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = DELETE").fetchone()
    db.execute("PRAGMA locking_mode = NORMAL")
    # Only the next access lets go of the exclusive lock.
    db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
    return False


def _quick_check(db: sqlite3.Connection, path: Path) -> None:
    problems = _check(db, full=False)
    if problems:
        raise ProjectDamaged(
            f"{path} is damaged ({problems[0]}); restore the project folder from a backup."
        )


def _check(db: sqlite3.Connection, *, full: bool) -> list[str]:
    pragma = "integrity_check" if full else "quick_check"
    found = [str(row[0]) for row in db.execute(f"PRAGMA {pragma}(20)")]
    found = [text for text in found if text != "ok"]
    if full:
        for row in db.execute("PRAGMA foreign_key_check"):
            found.append(f"row {row[1]} of {row[0]} names a missing row of {row[2]}")
    return found


def _migrate_file(db: sqlite3.Connection, path: Path, version: int) -> None:
    """Migrate in one transaction, keeping the file of before beside the new one."""
    kept = path.with_name(f"{path.stem}-format{version}{path.suffix}")
    copy = sqlite3.connect(kept)
    try:
        db.backup(copy)
    finally:
        copy.close()
    db.execute("BEGIN IMMEDIATE")
    try:
        migrate(db, version)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    log.info(
        "project brought from format %d to %d; the old file is %s", version, SCHEMA_VERSION, kept
    )


def _connect_read_only(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A reading connection, and whether it is to the file itself (or to a copy in memory)."""
    try:
        db = _connect(path, "ro")
        db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        return db, True
    except sqlite3.OperationalError as error:
        unable = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if error.sqlite_errorcode & 0xFF not in unable or not path.exists():
            raise
    # Nothing can be written there, so SQLite cannot make the memory that readers of the log
    # share; and a log that a killed writer left behind has to be taken in somewhere else.
    with tempfile.TemporaryDirectory(prefix="infosam-studio-") as aside:
        copy = Path(aside, path.name)
        for source, target in ((path, copy), (_log_of(path), _log_of(copy))):
            if source.exists():
                shutil.copyfile(source, target)
        return _loaded(_connect(copy, "rw")), False


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _loaded(source: sqlite3.Connection) -> sqlite3.Connection:
    """A copy in memory; the source is closed."""
    copy = _in_memory()
    try:
        source.backup(copy)
    finally:
        source.close()
    return copy
