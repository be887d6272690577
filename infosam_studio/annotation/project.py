"""A project: a folder with the labels, the adapters and the cache of one set of images."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from infosam_studio.annotation.document import Document
from infosam_studio.annotation.file_lists import (
    common_folder,
    expand,
    is_file_list,
    read_file_list,
    selection_name,
)
from infosam_studio.annotation.history import HistoryEntry
from infosam_studio.annotation.images import ViewSettings, read_image
from infosam_studio.annotation.lock import ProjectLock
from infosam_studio.annotation.model import ImageRecord
from infosam_studio.annotation.pixels import View
from infosam_studio.annotation.places import (
    DATABASE,
    SUFFIX,
    find_place,
    find_project,
    is_project,
    make_writable,
    supports_wal,
)
from infosam_studio.annotation.scan import (
    Cancelled,
    Progress,
    ScanReport,
    absolute_path,
    add_files,
    scan,
)
from infosam_studio.annotation.split import Labelled, assign_split
from infosam_studio.annotation.store import Store
from infosam_studio.annotation.store_errors import (
    DiskFull,
    ProjectDamaged,
    ProjectError,
    ProjectLocked,
    ProjectReadOnly,
    ProjectTooNew,
    StorageFailed,
)

__all__ = [
    "DiskFull",
    "HistoryEntry",
    "Project",
    "ProjectDamaged",
    "ProjectError",
    "ProjectLocked",
    "ProjectReadOnly",
    "ProjectTooNew",
    "ScanReport",
    "StorageFailed",
]

log = logging.getLogger(__name__)

_ROOT = "images_root"
_LISTED = "images_listed"  # whether the images were named one by one
_VIEW = "view"  # how images that are added are shown


class Project(Document):
    """An open project; use as a context manager or call ``close``.

    One process at a time may write it (an operating-system lock); any number may read it
    meanwhile. All methods may be called from any thread.
    """

    def __init__(
        self, folder: Path, store: Store, *, lock: ProjectLock | None, images_root: Path
    ) -> None:
        """Use ``create``, ``open`` or ``for_path``."""
        super().__init__(store)
        self.folder = folder
        self.images_root = images_root
        self._lock = lock
        self._stopped = threading.Event()
        self._check: threading.Thread | None = None

    # Opening and closing

    @classmethod
    def create(cls, folder: Path, images_root: Path) -> Project:
        """Make a project in ``folder`` (made if missing) for the images below ``images_root``."""
        folder = folder.absolute()
        if is_project(folder):
            raise ProjectError(f"{folder} is a project already; open it or choose another folder.")
        if not make_writable(folder):
            raise ProjectReadOnly(
                f"{folder} cannot be written; choose a folder of your own for the project."
            )
        lock = ProjectLock(folder)
        try:
            if not is_project(folder):
                Store.create(folder / DATABASE)
            return cls._open_locked(folder, lock, images_root.absolute())
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Project:
        """Open a project, checking it quickly.

        Raises ProjectLocked (another writer), ProjectTooNew, ProjectDamaged, or ProjectReadOnly
        (nothing can be written there).
        """
        folder = folder.absolute()
        if not is_project(folder):
            raise ProjectError(f"{folder} is not a project; choose a folder with a {DATABASE}.")
        if read_only:
            store = Store.open_for_reading(folder / DATABASE)
            return cls(folder, store, lock=None, images_root=_images_root(store, folder))
        lock = ProjectLock(folder)
        try:
            return cls._open_locked(folder, lock, None)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_locked(cls, folder: Path, lock: ProjectLock, root: Path | None) -> Project:
        store = Store.open_for_writing(folder / DATABASE, wal=supports_wal(folder))
        try:
            found = _images_root(store, folder) if root is None else root
            # Also when opening: the pair may have been moved since, and the project alone next.
            if root is not None or found.is_dir():
                _keep_images_root(store, folder, found)
            return cls(folder, store, lock=lock, images_root=found)
        except BaseException:
            store.close()
            raise

    @classmethod
    def for_path(cls, path: Path, *, read_only: bool = False) -> Project:
        """The project for what the user opened: a project, a folder of images, or an image.

        Without one, a project is made beside the folder of images (``<folder>.infosam``), or in
        the user's data folder where nothing can be written there. Images are not added yet:
        ``scan`` does that.
        """
        if is_file_list(path):
            return cls.for_files(read_file_list(path), path.absolute().with_suffix(SUFFIX))
        folder, images = find_project(path.absolute())
        if images is None:
            return cls.open(folder, read_only=read_only)
        return cls.create(folder, images)

    @classmethod
    def for_files(cls, paths: Sequence[Path], folder: Path | None = None) -> Project:
        """The project of files (and folders) named one by one, made where there is none.

        It lies in ``folder``, or beside the folder that holds the files; in the user's data
        folder where nothing can be written there. Files it does not have yet are not added:
        `add_images` does that, with ``file_lists.expand(paths)``.
        """
        files = expand(paths)
        if not files:
            raise ProjectError("There are no images in what was chosen; choose others.")
        if folder is None:
            above = common_folder(files)
            folder = above.with_name(selection_name(files) + SUFFIX)
        place, found = find_place(folder)
        if found:
            return cls.open(place)
        return cls.create_for_files(place, files)

    @classmethod
    def create_for_files(cls, folder: Path, files: Sequence[Path]) -> Project:
        """Make a project in ``folder`` for these files alone; `add_images` takes them in."""
        project = cls.create(folder, common_folder(files))
        project.set_setting(_LISTED, True)
        return project

    def close(self) -> None:
        """Let go of the project; safe to call twice."""
        self._stopped.set()
        if self._check is not None and self._check is not threading.current_thread():
            self._check.join()
        self._store.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def read_only(self) -> bool:
        """Whether the project was opened for reading only."""
        return not self._store.writable

    @contextmanager
    def snapshot(self) -> Iterator[Project]:
        """The project as it is now, for reading, whatever is edited meanwhile."""
        store = self._store.snapshot()
        frozen = Project(self.folder, store, lock=None, images_root=self.images_root)
        try:
            yield frozen
        finally:
            frozen.close()

    # Places

    @property
    def adapters_dir(self) -> Path:
        """Where adapters lie, one folder each; made on first use by who writes one."""
        return self.folder / "adapters"

    @property
    def cache_dir(self) -> Path:
        """Where things lie that can be made again (embeddings, thumbnails, tiles)."""
        return self.folder / "cache"

    def image_path(self, record: ImageRecord) -> Path:
        """The file of an image."""
        return absolute_path(record.path, self.images_root)

    def view_settings(self, record: ImageRecord) -> ViewSettings:
        """How an image is to be read: its page, and the person's choices for it."""
        return ViewSettings.from_key(record.view, record.page)

    def read_view(self, record: ImageRecord) -> View:
        """The view of an image, uint8 [H, W, 3]; ImageError where it cannot be read."""
        return read_image(self.image_path(record), self.view_settings(record))

    def set_view(self, settings: ViewSettings, image_ids: Iterable[int] | None = None) -> int:
        """Show images with these channels and windows, as one edit; how many changed.

        With ``image_ids`` None all images, and those that are added later too.
        """
        key = settings.key()
        everywhere = image_ids is None
        wanted = None if image_ids is None else set(image_ids)
        chosen = [
            image.id
            for image in self.images()
            if image.view != key and (wanted is None or image.id in wanted)
        ]
        if chosen:
            name = "Channels and window" if everywhere or len(chosen) > 1 else "View of image"
            self.update_images(chosen, name, view=key)
        if everywhere:
            self.set_setting(_VIEW, key)
        return len(chosen)

    def set_images_root(self, root: Path) -> None:
        """Look for the images below another folder from now on."""
        _keep_images_root(self._store, self.folder, root.absolute())
        self.images_root = root.absolute()

    # Images as files

    def add_images(
        self,
        paths: Iterable[Path],
        progress: Progress | None = None,
        *,
        cancelled: Cancelled | None = None,
    ) -> list[ImageRecord]:
        """Add files, every page an image; known ones stay as they are. Not part of undo.

        Returns the images of all files looked at, in their order. A file that cannot be read is
        an image with a ``problem``. ``progress`` gets (files done, files); images are in the
        project some moments after they were looked at, and stay when ``cancelled`` says stop.
        """
        names = add_files(
            self._store, self.images_root, paths, progress=progress, cancelled=cancelled
        )
        by_name: dict[str, list[ImageRecord]] = {}
        for record in self.images():
            by_name.setdefault(record.path, []).append(record)
        return [record for name in names for record in by_name.get(name, [])]

    def scan(
        self, progress: Progress | None = None, *, cancelled: Cancelled | None = None
    ) -> ScanReport:
        """Add new files below the images root, and find moved, replaced and missing ones.

        A project of images that were named one by one gets no others this way.
        """
        return scan(
            self._store,
            self.images_root,
            listed=bool(self.setting(_LISTED)),
            progress=progress,
            cancelled=cancelled,
        )

    def set_problem(self, image_id: int, problem: str | None) -> None:
        """Keep why an image could not be read, where that showed only on decoding it."""
        with self._store.transaction() as db:
            db.execute("UPDATE images SET problem = ? WHERE id = ?", (problem, image_id))

    def ensure_split(self) -> None:
        """Give every labelled image without one its part of the sticky split. Not part of undo.

        Labelled is an image with an object that is not a suggestion and not left out; images
        left out of training get no part.
        """
        with self._store.transaction() as db:
            rows = db.execute(
                "SELECT id, sha256, page, split FROM images WHERE excluded = 0 AND EXISTS ("
                "SELECT 1 FROM objects WHERE image_id = images.id AND excluded = 0 "
                "AND source <> 'suggestion')"
            ).fetchall()
            parts = assign_split(
                Labelled(r["id"], r["sha256"], r["page"], r["split"]) for r in rows
            )
            db.executemany(
                "UPDATE images SET split = ? WHERE id = ?",
                [(part, image_id) for image_id, part in parts.items()],
            )

    # The unfinished object, settings

    def save_draft(self, image_id: int | None, data: dict[str, Any] | None) -> None:
        """Keep the unfinished object (any JSON), or drop it with None. Not part of undo."""
        with self._store.transaction() as db:
            if image_id is None or data is None:
                db.execute("DELETE FROM draft")
            else:
                db.execute(
                    "INSERT OR REPLACE INTO draft (id, image_id, data) VALUES (1, ?, ?)",
                    (image_id, json.dumps(data)),
                )

    def draft(self) -> tuple[int, dict[str, Any]] | None:
        """The unfinished object: its image's id and what was kept of it."""
        row = self._store.row("SELECT image_id, data FROM draft")
        return None if row is None else (row["image_id"], json.loads(row["data"]))

    def setting(self, key: str, default: Any = None) -> Any:
        """A value kept under ``key``."""
        row = self._store.row("SELECT value FROM settings WHERE key = ?", (key,))
        return default if row is None else json.loads(row["value"])

    def set_setting(self, key: str, value: Any) -> None:
        """Keep a JSON value under ``key``. Not part of undo."""
        _keep_setting(self._store, key, value)

    # Health

    def check(self, full: bool = False) -> list[str]:
        """What is wrong with the project file; [] when nothing is. The full check takes longer."""
        return self._store.check(full=full)

    def check_in_background(self, done: Callable[[list[str]], object]) -> None:
        """Run the full check in a thread, which then calls ``done`` with what it found.

        Closing the project stops it; ``done`` is not called then.
        """

        def work() -> None:
            try:
                found = self._store.check(full=True, stopped=self._stopped)
            except ProjectError as error:
                found = [str(error)]
            if not self._stopped.is_set():
                done(found)

        self._check = threading.Thread(target=work, name="project-check", daemon=True)
        self._check.start()

    def storage_problem(self) -> str | None:
        """Why edits do not reach the drive at present (they are kept by the system), or None."""
        return self._store.storage_problem()


def _keep_setting(store: Store, key: str, value: Any) -> None:
    with store.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", (key, json.dumps(value))
        )


def _keep_images_root(store: Store, folder: Path, root: Path) -> None:
    """Keep the root both ways: the pair may be moved together, or the project alone."""
    relative = None
    known = store.row("SELECT value FROM settings WHERE key = ?", (_ROOT,))
    with contextlib.suppress(ValueError):  # another drive on Windows
        relative = Path(os.path.relpath(root, folder)).as_posix()
    places = {"relative": relative, "absolute": root.as_posix()}
    if known is None or json.loads(known["value"]) != places:
        _keep_setting(store, _ROOT, places)


def _images_root(store: Store, folder: Path) -> Path:
    row = store.row("SELECT value FROM settings WHERE key = ?", (_ROOT,))
    kept = {} if row is None else json.loads(row["value"])
    places = []
    if kept.get("relative"):
        places.append(Path(os.path.normpath(folder / PurePosixPath(kept["relative"]))))
    if kept.get("absolute"):
        places.append(Path(kept["absolute"]))
    for place in places:
        if place.is_dir():
            return place
    return places[0] if places else folder.parent
