"""Keeping a folder of a project's cache below its limit: the least recently used files go."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

log = logging.getLogger(__name__)

PART = ".part"
ABANDONED_S = 3600.0


def prune_folder(folder: Path, suffix: str, limit: int, *, keep: Path | None = None) -> int:
    """Delete the oldest files with this ``suffix`` above ``limit`` bytes, never ``keep``.

    Abandoned ``.part`` files go too. A file that cannot be deleted stays and is logged. Returns
    the bytes that stay.
    """
    files: list[tuple[int, int, Path]] = []
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            if path.suffix == suffix:
                files.append((status.st_mtime_ns, status.st_size, path))
            elif path.suffix == PART and time.time() - status.st_mtime > ABANDONED_S:
                path.unlink()
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files, key=lambda item: item[0]):
        if total <= limit:
            break
        if path == keep:
            continue
        try:
            path.unlink(missing_ok=True)
            total -= size
        except OSError as error:  # open elsewhere, as Windows does not allow
            log.info("not deleted: %s: %s", path.name, error)
    return total
