"""One writer per project, held by a lock of the operating system.

The lock ends with the process, however it ends: a file that merely names a process would stay
behind after a crash. The lock file's text only serves the message for the next one who asks.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import IO

from infosam_studio.annotation.store_errors import ProjectLocked, ProjectReadOnly

# Windows refuses others the locked bytes even for reading: lock one far behind the text.
_LOCKED_BYTE = 1 << 30

if sys.platform == "win32":
    import msvcrt

    def _try_lock(stream: IO[str]) -> bool:
        stream.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(stream: IO[str]) -> None:
        stream.seek(_LOCKED_BYTE)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(stream: IO[str]) -> bool:
        # flock, not lockf: its locks belong to the open file, so that a second opening in the
        # same process is refused too and closing another handle does not end the lock.
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(stream: IO[str]) -> None:
        fcntl.flock(stream, fcntl.LOCK_UN)


class ProjectLock:
    """The right to write a project folder, from creation until ``release``."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; ProjectLocked where another holds it, ProjectReadOnly without access."""
        path = folder / "project.lock"
        try:
            # "a+" creates the file without emptying what its holder wrote.
            self._stream = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise ProjectReadOnly(
                f"{folder} cannot be written ({error.strerror}); open the project for reading "
                "only or copy its folder to a place of your own."
            ) from error
        try:
            if not _try_lock(self._stream):
                raise ProjectLocked(_locked_message(folder, self._stream))
            self._describe({"pid": os.getpid(), "host": platform.node()})
        except OSError as error:
            self._stream.close()
            raise ProjectReadOnly(
                f"{folder} lies on a drive without file locks ({error.strerror}), so two windows "
                "could overwrite each other; copy the folder to another drive."
            ) from error
        except ProjectLocked:
            self._stream.close()
            raise

    def _describe(self, holder: dict[str, object]) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._stream.write(json.dumps(holder) if holder else "")
        self._stream.flush()

    def release(self) -> None:
        """Let others write; safe to call twice."""
        if self._stream.closed:
            return
        # The file stays: removing it could let two processes hold locks on different files.
        self._describe({})
        _unlock(self._stream)
        self._stream.close()


def _locked_message(folder: Path, stream: IO[str]) -> str:
    stream.seek(0)
    try:
        holder = json.loads(stream.read(4096))
        who = f"by process {int(holder['pid'])} on {holder['host']}"
    except (ValueError, KeyError, TypeError):
        who = "elsewhere"
    return (
        f"The project {folder} is already open for writing ({who}); close it there, "
        "or open it for reading only."
    )
