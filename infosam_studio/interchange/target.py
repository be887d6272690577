"""Where an export lands: written aside, checked, then renamed into place.

Nothing that was there is touched before the new files are complete, an export over existing
files has to be asked for, and the project's images are never overwritten, asked for or not.

A file, or a folder that was not there, appears in one step. Where a folder holds files already,
the new ones are moved over them one by one, each whole, those that describe the others last;
should the process be killed in these moments, a note in the folder says so, and the next export
there puts it right. What a killed export left aside goes with the next one, too.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from infosam_studio.errors import StudioError

NOTE = "EXPORT-UNFINISHED.txt"
_NOTE_TEXT = (
    "An export into this folder was interrupted, so some files are of the export before it.\n"
    "Export again to put it right; this note goes away then.\n"
)
# Files that describe others: a reader should not find the new list with the old files.
_DESCRIBING = frozenset({"classes.json", "data.yaml", "labelmap.txt", "classes.txt"})
_STALE_SECONDS = 86_400
# Which machine made a part: only there the process that made it can be asked for.
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"


class ExportExists(StudioError):
    """The export would overwrite something; `path` is what is in the way."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} {what}; choose another place, or --force to replace it.")
        self.path = path


class Target:
    """One export's place: a file or a folder.

    Inside `with Target(...) as target:` write to `target.work` (a file path, or an existing
    folder); `target.commit()` renames it to `out`. Leaving without a commit removes it.
    """

    def __init__(
        self, out: Path, *, folder: bool, overwrite: bool = False, protected: frozenset[Path]
    ) -> None:
        self.out = out.absolute()
        self.folder = folder
        self.overwrite = overwrite
        self.left_over = 0  # files of a folder that were there before and stay
        self._protected = protected
        self._refuse_clash()
        number = f"{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.work = self.out.with_name(f".{self.out.name[:80]}.{number}.part")

    def _refuse_clash(self) -> None:
        if self.out in self._protected:
            raise StudioError(f"{self.out} is one of the project's own files; choose another name.")
        if not self.out.exists():
            return
        if self.folder and not self.out.is_dir():
            raise StudioError(f"{self.out} is a file, and this format needs a folder.")
        if not self.folder and self.out.is_dir():
            raise StudioError(f"{self.out} is a folder; name a file for this format.")
        if self.overwrite:
            return
        if not self.folder:
            raise ExportExists(self.out, "is there already")
        if any(self.out.iterdir()):
            raise ExportExists(self.out, "is a folder with files in it")

    def __enter__(self) -> Target:
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._clear_away()
            if self.folder:
                self.work.mkdir()
        except OSError as error:
            raise StudioError(f"{self.out} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        _remove(self.work)
        if isinstance(error, OSError):
            raise StudioError(f"{self.out} could not be written: {error.strerror}.") from error

    def _clear_away(self) -> None:
        """Remove what exports to this place left aside when they were killed."""
        start = f".{self.out.name[:80]}."
        for path in self.out.parent.iterdir():
            if path.name.startswith(start) and path.name.endswith(".part") and _is_stale(path):
                _remove(path)

    def commit(self) -> None:
        """Rename into place; every file appears at once and whole."""
        if self.folder and self.out.is_dir() and any(self.out.iterdir()):
            self._merge()
        elif self.folder:
            if self.out.is_dir():
                self.out.rmdir()
            os.replace(self.work, self.out)
        else:
            os.replace(self.work, self.out)

    def _merge(self) -> None:
        """Move the new files over those of the same name; what else is there stays."""
        new = sorted(p.relative_to(self.work) for p in _files(self.work))
        own = {p.resolve() for p in self._protected}
        for relative in new:
            place = self.out / relative
            if place in self._protected or place.resolve() in own:
                raise StudioError(f"{place} is an image of the project; choose another folder.")
        note = self.out / NOTE
        old = {p.relative_to(self.out) for p in _files(self.out)} - {Path(NOTE)}
        self.left_over = len(old - set(new))
        note.write_text(_NOTE_TEXT, encoding="utf-8")
        for relative in sorted(new, key=lambda p: (p.name in _DESCRIBING, p)):
            (self.out / relative).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.work / relative, self.out / relative)
        note.unlink(missing_ok=True)


def _is_stale(part: Path) -> bool:
    """Whether the process that wrote it has ended: known by its number here, by age elsewhere."""
    host, _, rest = part.name.removesuffix(".part").rpartition(".")[2].partition("-")
    pid = rest.partition("-")[0]
    if host == _HOST and pid.isdigit() and sys.platform != "win32":
        try:
            os.kill(int(pid), 0)  # asks, and does nothing
        except ProcessLookupError:
            return True
        except (PermissionError, OverflowError):
            return False
        return False
    with contextlib.suppress(OSError):
        newest = max(p.stat().st_mtime for p in (part, *_files(part)))
        return time.time() - newest > _STALE_SECONDS
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    for base, _, names in os.walk(folder):
        for name in names:
            yield Path(base) / name
