"""The folder of tile pyramids in a project's cache: found by content, bounded in bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from infosam_studio.annotation.bands import read_bands
from infosam_studio.annotation.cache_folder import prune_folder
from infosam_studio.annotation.pyramid import Pyramid, PyramidError, build
from infosam_studio.annotation.view_settings import ViewSettings

SUFFIX: Final = ".pyramid"
LIMIT_BYTES: Final = 12 * 2**30
# Above this many pixels an image is shown and encoded from its pyramid: as a whole it would need
# more than 300 MB, ready to be drawn.
LARGE_PIXELS: Final = 40_000_000
# Lossless tiles of noisy pictures come to this many bytes a pixel, all levels together.
_BYTES_PER_PIXEL: Final = 4.2


def is_large(width: int, height: int) -> bool:
    """Whether an image of this size is handled in tiles."""
    return width * height > LARGE_PIXELS


class PyramidStore:
    """One file per image and view; the least recently used go above ``limit_bytes``.

    A hit renews the file's modification time, by which age is told.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    @staticmethod
    def key(sha256: str, view: ViewSettings) -> str:
        """What determines the tiles: the file's content, the page and the view of it."""
        return f"{sha256}:{view.page}:{view.key()}"

    def path(self, key: str) -> Path:
        """Where the pyramid with this key lies, or would lie."""
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}{SUFFIX}"

    def find(self, key: str) -> Pyramid | None:
        """The finished pyramid, or None."""
        path = self.path(key)
        pyramid = Pyramid.open(path, key)
        if pyramid is not None:
            with contextlib.suppress(OSError):
                os.utime(path)
        return pyramid

    def make(
        self,
        key: str,
        image: Path,
        view: ViewSettings,
        size: tuple[int, int],
        *,
        progress: Callable[[float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Pyramid:
        """The pyramid of ``image``, found or built; ``size`` (width, height) of its view.

        Errors: ImageError where the file cannot be read, PyramidError where the tiles cannot be
        written, `Cancelled` where ``cancelled`` answered True.
        """
        found = self.find(key)
        if found is not None:
            return found
        path = self.path(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_room(image, size)
            bands = read_bands(image, view)
            build(path, key, size, bands, progress=progress, cancelled=cancelled)
            self.prune(keep=path)
        except OSError as error:
            raise PyramidError(
                f"The tiles of {image.name} cannot be written to {self.folder}: {error.strerror}. "
                "Free some room there, then open the image again."
            ) from error
        built = Pyramid.open(path, key)
        if built is None:
            raise PyramidError(f"The tiles of {image.name} vanished; open the image again.")
        return built

    def _check_room(self, image: Path, size: tuple[int, int]) -> None:
        """Say so before half the work is done; other files of the cache may make room."""
        needed = size[0] * size[1] * _BYTES_PER_PIXEL
        if shutil.disk_usage(self.folder).free >= needed:
            return
        self.prune(limit=max(0, self.limit_bytes - int(needed)))
        if shutil.disk_usage(self.folder).free < needed:
            raise PyramidError(
                f"{image.name} needs up to {needed / 1e9:.1f} GB for its tiles and the disk of "
                f"{self.folder} has not that much: free some room, then open the image again."
            )

    def prune(self, *, keep: Path | None = None, limit: int | None = None) -> int:
        """Delete the oldest files above the limit, never ``keep``; returns the bytes that stay."""
        limit = self.limit_bytes if limit is None else limit
        return prune_folder(self.folder, SUFFIX, limit, keep=keep)
