"""Opening a folder or project off the main thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.file_lists import expand, is_file_list, read_file_list
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.ui.workers_images import Done, TaskThread

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opened:
    """A project ready for the window, and the image to start on."""

    project: Project
    first: Path | None


class Opener(QObject):
    """`open` returns at once; ``opened`` or ``failed`` follows, ``progress`` between."""

    opened = Signal(object)
    failed = Signal(str)
    progress = Signal(int, int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("opening", self)
        self._thread.done.connect(self._take)

    def open(self, path: Path) -> None:
        """Open a project folder, a folder of images, one image, or a text file that lists some."""
        self._thread.submit(path, _Open((path,), self.progress.emit))

    def open_files(self, paths: Sequence[Path]) -> None:
        """Open the project of files and folders chosen together."""
        self._thread.submit(paths[0], _Open(tuple(paths), self.progress.emit))

    @Slot(object)
    def _take(self, done: Done) -> None:
        if done.error is None:
            self.opened.emit(done.result)
        elif isinstance(done.error, StudioError | OSError):
            self.failed.emit(str(done.error))
        else:
            log.error("opening %s", done.key, exc_info=done.error)
            self.failed.emit(f"{done.key} cannot be opened: {done.error}")

    def close(self) -> None:
        """End the thread."""
        self._thread.close()


class _Open:
    """Opens the project and takes in images that are new in its folder; on the thread."""

    def __init__(self, paths: tuple[Path, ...], tell: Callable[[int, int], None]) -> None:
        self._paths, self._tell = paths, tell

    def __call__(self) -> Opened:
        path, named = self._paths[0], None
        if len(self._paths) > 1:
            named = expand(self._paths)
            project = Project.for_files(named)
        else:
            named = read_file_list(path) if is_file_list(path) else None
            project = Project.for_path(path)
        try:
            if not project.read_only:
                if named is not None:
                    project.add_images(named, self._tell)
                if project.images_root.is_dir():
                    project.scan(self._tell)
        except BaseException:
            project.close()
            raise
        return Opened(project, path if named is None and path.is_file() else None)
