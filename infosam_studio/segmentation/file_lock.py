"""An open file held by one process at a time, through the operating system's own locks."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, Any

# Windows refuses others the locked bytes even for reading: lock one far behind the content.
FAR = 1 << 40

if sys.platform == "win32":
    import msvcrt

    def _try_lock(stream: IO[Any]) -> bool:
        try:
            stream.seek(FAR)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            stream.seek(0)
        return True

    def _unlock(stream: IO[Any]) -> None:
        stream.seek(FAR)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(stream: IO[Any]) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # A drive without locks: two downloads there are the lesser evil.
        return True

    def _unlock(stream: IO[Any]) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_UN)


@contextlib.contextmanager
def exclusive(stream: IO[Any]) -> Iterator[bool]:
    """Within this the file is ours, or the value is False where another process has it."""
    held = _try_lock(stream)
    try:
        yield held
    finally:
        if held:
            _unlock(stream)
