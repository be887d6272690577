"""Brings images to the canvas: reads the current one and its neighbours ahead, off-thread."""

from __future__ import annotations

import time
from collections import OrderedDict

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation.images import read_image
from infosam_studio.ui.canvas.picture import Picture, make_levels
from infosam_studio.ui.inference_messages import ImageJob
from infosam_studio.ui.workers_images import Done, TaskThread

MEMORY_BYTES = 600_000_000


class Reader(QObject):
    """A small cache of drawable pictures, bounded in bytes."""

    ready = Signal(object)
    failed = Signal(int, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("reader", self)
        self._thread.done.connect(self._take)
        self._pictures: OrderedDict[tuple[int, str], Picture] = OrderedDict()
        self._wanted: tuple[int, str] | None = None
        self._asked_at = 0.0

    def want(self, job: ImageJob | None, ahead: tuple[ImageJob, ...] = ()) -> None:
        """The picture to show now, and those likely to be next."""
        keys = [_key(one) for one in ahead]
        self._wanted = _key(job) if job is not None else None
        self._thread.drop(lambda key: key in keys or key == self._wanted)
        self._asked_at = time.perf_counter()
        if job is not None:
            known = self._pictures.get(_key(job))
            if known is not None:
                self._pictures.move_to_end(_key(job))
                self.ready.emit(known)
            else:
                self._thread.submit(_key(job), _Read(job), rank=0)
        for one in ahead:
            if _key(one) not in self._pictures:
                self._thread.submit(_key(one), _Read(one), rank=1)

    def forget(self) -> None:
        """Drop everything, as when another project is opened."""
        self._wanted = None
        self._pictures.clear()
        self._thread.drop(lambda key: False)

    @Slot(object)
    def _take(self, done: Done) -> None:
        key = done.key
        if done.error is not None:
            if key == self._wanted:
                self.failed.emit(key[0], str(done.error))
            return
        self._pictures[key] = done.result
        self._trim()
        if key == self._wanted:
            self.ready.emit(done.result)

    def _trim(self) -> None:
        total = sum(_bytes(picture) for picture in self._pictures.values())
        while total > MEMORY_BYTES and len(self._pictures) > 1:
            key = next(one for one in self._pictures if one != self._wanted)
            total -= _bytes(self._pictures.pop(key))

    def close(self) -> None:
        """End the reading thread."""
        self._thread.close()


class _Read:
    """Reads one image into a drawable picture; runs on the reader's thread."""

    def __init__(self, job: ImageJob) -> None:
        self._job = job

    def __call__(self) -> Picture:
        pixels = read_image(self._job.path, self._job.view)
        return Picture(self._job.image_id, pixels, make_levels(pixels))


def _key(job: ImageJob) -> tuple[int, str]:
    return job.image_id, f"{job.view.page}:{job.view.key()}"


def _bytes(picture: Picture) -> int:
    return picture.pixels.nbytes + sum(level.nbytes for level in picture.levels)
