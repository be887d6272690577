"""Brightness, contrast and gamma of the picture on the canvas, computed off the main thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.ui.canvas.picture import Picture
from infosam_studio.ui.workers_images import Done, TaskThread

NEUTRAL = (0.0, 0.0, 0.0)
Values = tuple[float, float, float]


def lookup(values: Values) -> NDArray[np.uint8]:
    """The table uint8 [256] for brightness, contrast and gamma, each from -1 to 1."""
    brightness, contrast, gamma = values
    grey = np.linspace(0, 1, 256) ** (2.0 ** (-2.0 * gamma))
    slope = (1 + contrast) / max(1e-3, 1 - contrast) if contrast > 0 else 1 + contrast
    grey = (grey - 0.5) * slope + 0.5 + 0.6 * brightness
    return np.clip(np.round(grey * 255), 0, 255).astype(np.uint8)


class Adjuster(QObject):
    """`show` returns at once; ``ready`` brings the levels to draw for the newest wish."""

    ready = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._thread = TaskThread("adjusting", self)
        self._thread.done.connect(self._take)
        self._newest: Any = None
        self.values: Values = NEUTRAL

    def show(self, picture: Picture) -> None:
        """Levels of ``picture`` with the values in force."""
        self._newest = (picture.image_id, self.values)
        if self.values == NEUTRAL:
            self.ready.emit((picture.image_id, picture.levels))
            return
        self._thread.drop(lambda key: False)
        self._thread.submit(self._newest, _Apply(picture, self.values))

    @Slot(object)
    def _take(self, done: Done) -> None:
        if done.key == self._newest and done.error is None:
            self.ready.emit((done.key[0], done.result))

    def close(self) -> None:
        """End the thread."""
        self._thread.close()


class _Apply:
    def __init__(self, picture: Picture, values: Values) -> None:
        self._picture, self._values = picture, values

    def __call__(self) -> tuple[NDArray[np.uint8], ...]:
        table = lookup(self._values)
        return tuple(np.asarray(cv2.LUT(one, table), np.uint8) for one in self._picture.levels)
