"""New files moved into a folder that holds others: all of them, or none.

The new files lie complete and checked in a folder aside. A note in the folder says that they are
being moved and where from; then every old file in the way goes into a second folder aside and the
new one takes its place, files that describe the others last. An error puts everything back. Where
the process is killed in these moments the note stays: importers refuse such a folder, and
`settle`, which every export there begins with, moves what is left.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import re
import shutil
import sys
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from infosam_studio.errors import StudioError

NOTE = "EXPORT-UNFINISHED.txt"
_NOTE_TEXT = (
    "An export into this folder was interrupted, so some files are of the export before it.\n"
    "Export into it again to put it right; this note goes away then.\n"
    "The other files lie in: "
)
# Files that describe others: a reader should not find the new list with the old files.
_DESCRIBING = frozenset({"classes.json", "data.yaml", "labelmap.txt", "classes.txt"})
_STALE_SECONDS = 86_400
# Which machine made a part: only there the process that made it can be asked for.
_HOST = f"{zlib.crc32(platform.node().encode()):08x}"


class Unfinished(StudioError):
    """The folder holds files of two exports."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"An export into {folder} was interrupted, so its files do not belong together; "
            f"export into it again, or delete {NOTE} there to read it as it is."
        )


def part_stem(out: Path) -> str:
    """What the names of all that lies aside for exports to `out` begin with."""
    return f".{out.name[:80]}."


def new_part(folder: Path, out: Path) -> Path:
    """A name in `folder` for what is written aside for `out`, told apart from all others."""
    return folder / f"{part_stem(out)}{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"


def is_part(name: str, out: Path) -> bool:
    """Whether a file or folder of that name was written aside for `out`, and not for another."""
    pattern = re.escape(part_stem(out)) + r"[0-9a-z]+-\d+-[0-9a-z]+\.(part|old)"
    return re.fullmatch(pattern, name) is not None


def old_of(part: Path) -> Path:
    """Where the files go that those of `part` replace."""
    return part.with_suffix(".old")


class Merge:
    """One move of the files below `work` into `out`; both lie on one file system."""

    def __init__(self, work: Path, out: Path, new: Iterable[Path]) -> None:
        """`new` are the files, relative to `work`."""
        self._work, self._out = work, out
        self._new = _in_order(new)
        self._old = old_of(work)
        self._made: list[Path] = []

    def run(self) -> None:
        """Move all files; where that fails the folder is as it was before, and OSError rises.

        Where not even that is possible the note stays, for `settle`.
        """
        self._refuse_folders()
        note = self._out / NOTE
        try:
            # What needs room on the drive comes first: a full one changes nothing then.
            for relative in self._new:
                self._make_folder((self._out / relative).parent)
                (self._old / relative).parent.mkdir(parents=True, exist_ok=True)
            note.write_text(_NOTE_TEXT + self._work.name + "\n", encoding="utf-8")
            for relative in reversed(self._new):
                if relative.name in _DESCRIBING:
                    self._set_aside(relative)
            for relative in self._new:
                self._set_aside(relative)
                os.replace(self._work / relative, self._out / relative)
        except BaseException:
            self._put_back()
            raise
        note.unlink()

    def _refuse_folders(self) -> None:
        for relative in self._new:
            place = self._out / relative
            if place.is_dir() and not place.is_symlink():
                raise StudioError(f"{place} is a folder, and a file has to go there; move it away.")

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            one.mkdir()
            self._made.append(one)

    def _set_aside(self, relative: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._out / relative, self._old / relative)

    def _put_back(self) -> None:
        for relative in self._new:
            if not (self._work / relative).is_file():
                os.replace(self._out / relative, self._work / relative)
            with contextlib.suppress(FileNotFoundError):
                os.replace(self._old / relative, self._out / relative)
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        (self._out / NOTE).unlink(missing_ok=True)


def _in_order(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda p: (p.name in _DESCRIBING, p))


def is_unfinished(out: Path) -> bool:
    """Whether the files of two exports are mixed in the folder."""
    return (out / NOTE).is_file()


def refuse_unfinished(source: Path) -> None:
    """Raise `Unfinished` where labels would be read from a folder of two exports."""
    if source.is_file() and source.name not in _DESCRIBING:
        return  # a file of its own is whole
    folder = source if source.is_dir() else source.parent
    # Labels may be named by a folder within the export, as labels/train.
    for one in (folder, *folder.absolute().parents[:2]):
        if is_unfinished(one):
            raise Unfinished(one)


def settle(out: Path, aside: Path) -> None:
    """Finish an export into `out` that was killed while its files were moved there from `aside`.

    Raises StudioError where the process that moves them is still at it.
    """
    part = _part_of(out, aside)
    if part is None or not part.is_dir():
        return
    # This process itself moves one export at a time: its own note is of an earlier one.
    if not is_over(part) and _writer_of(part) != (_HOST, os.getpid()):
        raise StudioError(
            f"Another export into {out} is under way; wait for its end, or delete {NOTE} there."
        )
    for relative in _in_order(p.relative_to(part) for p in files_below(part)):
        (out / relative).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / relative, out / relative)
    (out / NOTE).unlink(missing_ok=True)
    remove(part)
    remove(old_of(part))


def _part_of(out: Path, aside: Path) -> Path | None:
    """The folder that the note in `out` names; nothing else in `aside` can be meant by it."""
    try:
        with (out / NOTE).open(encoding="utf-8", errors="replace") as file:
            name = file.read(4096).partition(_NOTE_TEXT)[2].strip()
    except OSError:
        return None
    return aside / name if is_part(name, out) else None


def is_over(part: Path) -> bool:
    """Whether the process that wrote it has ended: known by its number here, by age elsewhere."""
    host, pid = _writer_of(part)
    if host == _HOST:
        return not _is_running(pid)
    with contextlib.suppress(OSError):
        newest = max(p.stat().st_mtime for p in (part, *files_below(part)))
        return time.time() - newest > _STALE_SECONDS
    return False


def _writer_of(part: Path) -> tuple[str, int]:
    host, number, _ = part.stem.rpartition(".")[2].split("-")
    return host, int(number)


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        return bool(importlib.import_module("psutil").pid_exists(pid))
    try:
        os.kill(pid, 0)  # asks, and does nothing
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as that is possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder; links to folders are not followed."""
    for base, _, names in os.walk(folder):
        for name in names:
            yield Path(base) / name
