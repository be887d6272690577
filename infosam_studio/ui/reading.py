"""Brings images to the canvas: reads the current one and its neighbours ahead, off-thread.

Huge images are opened as tile pyramids; the first time the pyramid has to be built, which takes
a while and stops where the person moves on.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.images import read_with_values
from infosam_studio.annotation.pyramid_store import PyramidStore, is_large
from infosam_studio.errors import Cancelled
from infosam_studio.ui.canvas.picture import LargePicture, Picture, make_levels
from infosam_studio.ui.inference_messages import ImageJob
from infosam_studio.ui.workers_images import Done, TaskThread

MEMORY_BYTES = 600_000_000
TOLD_EVERY = 0.02

Key = tuple[int, str]


class Reader(QObject):
    """A small cache of drawable pictures, bounded in bytes.

    ``progress`` tells of the current image, by id, which share of its tiles is built.
    """

    ready = Signal(object)
    failed = Signal(int, str)
    progress = Signal(int, float)

    def __init__(self, parent: QObject | None = None, *, cache_dir: Path | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("reader", self)
        self._thread.done.connect(self._take)
        self._builder = TaskThread("pyramids", self)
        self._builder.done.connect(self._take)
        self._pictures: OrderedDict[Key, Picture | LargePicture] = OrderedDict()
        self._wanted: Key | None = None
        self._ahead: frozenset[Key] = frozenset()
        self._closed = False
        # A project that cannot be written to has no cache: its tiles live as long as the window.
        self._temporary = tempfile.mkdtemp(prefix="infosam-") if cache_dir is None else None
        self.store = PyramidStore(Path(self._temporary or cache_dir or "") / "pyramids")

    def want(self, job: ImageJob | None, ahead: tuple[ImageJob, ...] = ()) -> None:
        """The picture to show now, and those likely to be next."""
        self._ahead = frozenset(_key(one) for one in ahead)
        self._wanted = _key(job) if job is not None else None
        for thread in (self._thread, self._builder):
            thread.drop(lambda key: key in self._ahead or key == self._wanted)
        if job is not None:
            known = self._pictures.get(_key(job))
            if known is not None:
                self._pictures.move_to_end(_key(job))
                self.ready.emit(known)
            else:
                self._submit(job, rank=0)
        for one in ahead:
            if _key(one) not in self._pictures:
                self._submit(one, rank=1)

    def _submit(self, job: ImageJob, rank: int) -> None:
        if is_large(job.width, job.height):
            task = _Open(job, self.store, self._unwanted(_key(job)), self._teller(job))
            self._builder.submit(_key(job), task, rank=rank)
        else:
            self._thread.submit(_key(job), _Read(job), rank=rank)

    def _unwanted(self, key: Key) -> Callable[[], bool]:
        """Whether building may stop: nobody waits for it, or somebody waits for another."""

        def stop() -> bool:
            if self._closed:
                return True
            if key == self._wanted:
                return False
            return key not in self._ahead or self._wanted not in self._pictures

        return stop

    def _teller(self, job: ImageJob) -> Callable[[float], None]:
        told = 0.0

        def tell(share: float) -> None:
            nonlocal told
            if share - told >= TOLD_EVERY and _key(job) == self._wanted:
                told = share
                self.progress.emit(job.image_id, share)

        return tell

    def forget(self) -> None:
        """Drop everything, as when another project is opened."""
        self._wanted, self._ahead = None, frozenset()
        self._pictures.clear()
        self._thread.drop(lambda key: False)
        self._builder.drop(lambda key: False)

    def discard(self, picture: LargePicture) -> None:
        """Throw away tiles that turned out damaged."""
        for key in [key for key, one in self._pictures.items() if one is picture]:
            del self._pictures[key]
        picture.pyramid.close()
        with contextlib.suppress(OSError):
            picture.pyramid.path.unlink()

    @Slot(object)
    def _take(self, done: Done) -> None:
        key = done.key
        if done.error is not None:
            if key == self._wanted and not isinstance(done.error, Cancelled):
                self.failed.emit(key[0], str(done.error))
            return
        self._pictures[key] = done.result
        self._trim()
        if key == self._wanted:
            self.ready.emit(done.result)

    def _trim(self) -> None:
        total = sum(picture.nbytes for picture in self._pictures.values())
        while total > MEMORY_BYTES and len(self._pictures) > 1:
            key = next(one for one in self._pictures if one != self._wanted)
            total -= self._pictures.pop(key).nbytes

    def close(self) -> None:
        """End the reading threads."""
        self._closed = True
        self._thread.close()
        self._builder.close()
        if self._temporary is not None:
            self._pictures.clear()
            shutil.rmtree(self._temporary, ignore_errors=True)


class _Read:
    """Reads one image into a drawable picture; runs on the reader's thread."""

    def __init__(self, job: ImageJob) -> None:
        self._job = job

    def __call__(self) -> Picture:
        pixels, values = read_with_values(self._job.path, self._job.view)
        return Picture(self._job.image_id, pixels, make_levels(pixels), values)


class _Open:
    """Opens the tiles of a huge image, built where there are none; runs on a thread of its own."""

    def __init__(
        self,
        job: ImageJob,
        store: PyramidStore,
        cancelled: Callable[[], bool],
        progress: Callable[[float], None],
    ) -> None:
        self._job, self._store = job, store
        self._cancelled, self._progress = cancelled, progress

    def __call__(self) -> LargePicture:
        job = self._job
        pyramid = self._store.make(
            self._store.key(job.sha256, job.view),
            job.path,
            job.view,
            (job.width, job.height),
            progress=self._progress,
            cancelled=self._cancelled,
        )
        return LargePicture(job.image_id, pyramid)


def _key(job: ImageJob) -> Key:
    return job.image_id, f"{job.view.page}:{job.view.key()}"
