"""Small pictures for the image list, made off the main thread and kept in the cache folder."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QImage, QPixmap

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.bands import read_bands
from infosam_studio.annotation.images import read_image
from infosam_studio.annotation.pyramid import halved
from infosam_studio.annotation.pyramid_store import PyramidStore, is_large
from infosam_studio.ui.canvas.picture import as_qimage
from infosam_studio.ui.inference_messages import ImageJob
from infosam_studio.ui.workers_images import Done, TaskThread

SIDE = 112
KEPT = 3000
WAITING = 60


class Thumbnails(QObject):
    """`get` answers at once, with None the first time; ``ready`` tells when to ask again."""

    ready = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("thumbnails", self)
        self._thread.done.connect(self._take)
        self._pixmaps: OrderedDict[int, QPixmap] = OrderedDict()
        self._asked: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._views: dict[int, str] = {}
        self.cache_dir: Path | None = None

    def get(self, job: ImageJob) -> QPixmap | None:
        """The thumbnail, None while it is being made."""
        key = (job.image_id, job.view.key())
        if self._views.get(job.image_id, key[1]) != key[1]:
            self._pixmaps.pop(job.image_id, None)  # other channels are shown now
        self._views[job.image_id] = key[1]
        found = self._pixmaps.get(job.image_id)
        if found is None and key not in self._asked:
            self._asked[key] = None
            while len(self._asked) > WAITING:
                # Scrolled past long ago: asked for again when it comes into view again.
                self._asked.popitem(last=False)
            self._thread.drop(self._asked.__contains__)
            self._thread.submit(key, _Make(job, self.cache_dir))
        return found

    def forget(self) -> None:
        """Drop everything, as when another project is opened."""
        self._thread.drop(lambda key: False)
        self._pixmaps.clear()
        self._asked.clear()
        self._views.clear()

    @Slot(object)
    def _take(self, done: Done) -> None:
        if done.error is not None:
            return  # stays asked for, so that a broken file is not tried again and again
        self._asked.pop(done.key, None)
        image_id, view = done.key
        if self._views.get(image_id) != view:
            return  # asked for before other channels were chosen
        image = as_qimage(done.result, QImage.Format.Format_RGB32)
        self._pixmaps[image_id] = QPixmap.fromImage(image)
        while len(self._pixmaps) > KEPT:
            self._pixmaps.popitem(last=False)
        self.ready.emit(image_id)

    def close(self) -> None:
        """End the thread."""
        self._thread.close()


class _Make:
    """Reads or makes one thumbnail, uint8 [h,w,4] BGRA; runs on the thumbnails' thread."""

    def __init__(self, job: ImageJob, cache_dir: Path | None) -> None:
        self._job, self._cache_dir = job, cache_dir

    def __call__(self) -> NDArray[np.uint8]:
        stored = self._file()
        if stored is not None and stored.exists():
            data = np.frombuffer(stored.read_bytes(), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
            if image is not None:
                return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))
        pixels = self._read()
        height, width = pixels.shape[:2]
        factor = SIDE / min(height, width)
        if factor < 1:
            size = (max(1, round(width * factor)), max(1, round(height * factor)))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        bgr = np.asarray(cv2.cvtColor(_middle(pixels), cv2.COLOR_RGB2BGR), np.uint8)
        if stored is not None:
            self._store(stored, bgr)
        return np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2BGRA))

    def _read(self) -> NDArray[np.uint8]:
        """The image; a huge one at a fraction of its size, from its tiles or band by band."""
        job = self._job
        if not is_large(job.width, job.height):
            return read_image(job.path, job.view)
        if self._cache_dir is not None:
            store = PyramidStore(self._cache_dir / "pyramids")
            pyramid = store.find(store.key(job.sha256, job.view))
            if pyramid is not None:
                small = pyramid.tile(len(pyramid.levels) - 1, 0, 0)
                pyramid.close()
                return small
        return np.concatenate([_reduced(band) for band in read_bands(job.path, job.view)])

    def _file(self) -> Path | None:
        if self._cache_dir is None:
            return None
        name = f"{self._job.sha256}:{self._job.view.page}:{self._job.view.key()}:{SIDE}"
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return self._cache_dir / "thumbnails" / f"{digest}.jpg"

    def _store(self, path: Path, bgr: NDArray[np.uint8]) -> None:
        ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])
        if not ok:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())
        except OSError:
            pass  # the cache is a convenience: a full or read-only disk costs time only


def _reduced(band: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A band of a huge image at a sixteenth of its size."""
    for _ in range(4):
        band = halved(band)
    return band


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle square of an image."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
