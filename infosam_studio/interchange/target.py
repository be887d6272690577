"""Where an export lands: written aside, checked, then renamed into place.

Nothing that was there is touched before the new files are complete, an export over existing
files has to be asked for, and the project's images are never overwritten, asked for or not.

A file, or a folder that was not there, appears in one step. Where a folder holds files already,
`merging` moves the new ones over them, all or none. What a killed export left aside goes with the
next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from infosam_studio.errors import StudioError
from infosam_studio.interchange import merging


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
        """`protected` are absolute paths that are never overwritten."""
        self.out = out.absolute()
        self.folder = folder
        self.overwrite = overwrite
        self.left_over = 0  # files of a folder that were there before and stay
        self.alike = 0  # those among them that may be labels of an earlier export
        self._protected = _Protected(protected)
        self._refuse_clash()
        self._aside = self._place_aside()
        self.work = merging.new_part(self._aside, self.out)

    def _refuse_clash(self) -> None:
        if self._protected.has(self.out) or self._protected.has(self.out.resolve()):
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
        if self._holds_files():
            raise ExportExists(self.out, "is a folder with files in it")

    def _holds_files(self) -> bool:
        return any(not merging.is_part(p.name, self.out) for p in self.out.iterdir())

    def _place_aside(self) -> Path:
        """The folder in which to write aside: renaming from there must not copy.

        That is beside `out`; within it where it is a drive of its own, or a link to elsewhere, or
        where nothing can be written beside it.
        """
        beside = self.out.parent
        if not self.folder or not self.out.is_dir():
            return beside
        apart = self.out.is_symlink() or os.path.ismount(self.out)
        return self.out if apart or not os.access(beside, os.W_OK) else beside

    def __enter__(self) -> Target:
        try:
            self._aside.mkdir(parents=True, exist_ok=True)
            if self.folder:
                merging.settle(self.out, self._aside)
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
        if not self.folder or not merging.is_unfinished(self.out):
            merging.remove(self.work)
            merging.remove(merging.old_of(self.work))
        if isinstance(error, OSError):
            raise StudioError(f"{self.out} could not be written: {error.strerror}.") from error

    def _clear_away(self) -> None:
        """Remove what exports to this place left aside when they were killed."""
        for path in self._aside.iterdir():
            if merging.is_part(path.name, self.out) and merging.is_over(path):
                merging.remove(path)

    def commit(self) -> None:
        """Rename into place; every file appears at once and whole."""
        if not self.folder:
            with self.work.open("rb+") as file:
                os.fsync(file.fileno())  # some drives say only now that they are full
            os.replace(self.work, self.out)
        elif self.out.is_dir():  # never replaced itself: it may be where somebody works
            self._merge()
        else:
            os.replace(self.work, self.out)

    def _merge(self) -> None:
        """Move the new files over those of the same name; what else is there stays."""
        new = [p.relative_to(self.work) for p in merging.files_below(self.work)]
        for relative in new:
            place = self.out / relative
            if self._protected.has(place):
                raise StudioError(f"{place} is an image of the project; choose another folder.")
        others = self._old_files() - set(new)
        kinds = {(p.parent, p.suffix) for p in new}
        self.left_over = len(others)
        self.alike = sum((p.parent, p.suffix) in kinds for p in others)
        merging.Merge(self.work, self.out, new).run()

    def _old_files(self) -> set[Path]:
        found = {p.relative_to(self.out) for p in merging.files_below(self.out)}
        kept = {p for p in found if not merging.is_part(p.parts[0], self.out)}
        return kept - {Path(merging.NOTE)}


class _Protected:
    """Files and folders that are not to be overwritten, whatever way leads to them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        for path in paths:
            for one in (path, path.resolve()) if path.is_symlink() else (path,):
                self._by_name.setdefault(one.name.casefold(), []).append(one)

    def has(self, place: Path) -> bool:
        """Whether the place is one of them; links, `..` and upper and lower case seen through."""
        alike = self._by_name.get(place.name.casefold(), [])
        return any(one == place or _same(one, place) for one in alike)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
