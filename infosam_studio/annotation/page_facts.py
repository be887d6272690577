"""What one page of a file holds, for those who choose what is shown of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from infosam_studio.annotation.images import ImageError, openable, probe_image, read_raw
from infosam_studio.annotation.pixels import auto_window, sample_step
from infosam_studio.annotation.tiff import is_tiff, tiff_layout
from infosam_studio.annotation.view_settings import Window

# Larger pages are not decoded for this: how many channels they have is in their header.
DECODED_PIXELS: Final = 60_000_000


@dataclass(frozen=True)
class PageFacts:
    """``depth`` is the type of the values ("uint16"); windows are one for each channel.

    ``ranges`` go from the smallest to the largest value, ``automatic`` is what is shown where
    nobody chose; both are those of the type where the page is too large to be looked through.
    """

    channels: int
    depth: str
    ranges: tuple[Window, ...]
    automatic: tuple[Window, ...]

    @property
    def plain(self) -> bool:
        """Whether it is an ordinary picture, of which there is little to choose."""
        return self.depth == "uint8" and self.channels in (1, 3)


def page_facts(path: Path, page: int) -> PageFacts:
    """Look at a page; ImageError where it cannot be read."""
    info = probe_image(path)
    if info.problem:
        raise ImageError(f"{path.name} cannot be read: {info.problem}.")
    with open(openable(path), "rb") as stream:
        tiff = is_tiff(stream.read(16))
    if tiff and info.width * info.height > DECODED_PIXELS:
        layout = tiff_layout(openable(path), None)
        channels = max(1, layout.samples // (info.width * info.height))
        depth = np.dtype(layout.mode.split()[-1])
        top = float(np.iinfo(depth).max) if depth.kind in "iu" else 1.0
        return PageFacts(channels, depth.name, ((0.0, top),) * channels, ((0.0, top),) * channels)
    samples = read_raw(path, page)
    ranges, automatic = [], []
    step = sample_step(*samples.shape[:2])
    for channel in range(samples.shape[2]):
        values = samples[:, :, channel]
        some = values[::step, ::step]
        finite = some[np.isfinite(some)] if some.dtype.kind == "f" else some
        ranges.append((float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0))
        automatic.append((0.0, 255.0) if values.dtype == np.uint8 else auto_window(values))
    return PageFacts(samples.shape[2], samples.dtype.name, tuple(ranges), tuple(automatic))
