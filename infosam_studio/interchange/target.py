"""Where an export lands: written aside, checked, then renamed into place.

Nothing that was there is touched before the new files are complete, an export over existing
files has to be asked for, and the project's images are never overwritten, asked for or not.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from infosam_studio.errors import StudioError


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
        self.work = self.out.with_name(f".{self.out.name[:80]}.{uuid.uuid4().hex[:8]}.part")

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
        if self.work.is_dir():
            shutil.rmtree(self.work, ignore_errors=True)
        else:
            self.work.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StudioError(f"{self.out} could not be written: {error.strerror}.") from error

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
        old = {p.relative_to(self.out) for p in _files(self.out)}
        self.left_over = len(old - set(new))
        for relative in new:
            (self.out / relative).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.work / relative, self.out / relative)


def _files(folder: Path) -> Iterator[Path]:
    for base, _, names in os.walk(folder):
        for name in names:
            yield Path(base) / name
