"""One page as a sequence of bands of rows, so that huge images need no memory of their size.

TIFFs stored in tiles, in strips or as one uncompressed block are decoded piece by piece; every
other file is decoded once as a whole and handed out in slices. Either way the rows are those of
``images.read_image``, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from infosam_studio.annotation import images
from infosam_studio.annotation.pixels import (
    Raw,
    Samples,
    View,
    fixed_view,
    render,
    sample_step,
)
from infosam_studio.annotation.tiff import (
    is_tiff,
    is_understood,
    orientation_of,
    raw_of,
    series_of,
    stack_size,
)
from infosam_studio.annotation.view_settings import DEFAULT_VIEW, ViewSettings

ROWS = 512
_LARGEST_PIECE = 256 * 2**20  # bytes of one decoded strip or row of tiles: more is no stream
_READ_AHEAD = 16 * 2**20


def read_bands(
    path: Path, settings: ViewSettings = DEFAULT_VIEW, rows: int = ROWS
) -> Iterator[View]:
    """The view from top to bottom, uint8 [rows, W, 3] each (the last may be lower).

    ImageError as ``read_image`` raises it, perhaps only after some bands.
    """
    try:
        images.check_header(path, settings.page)
        with open(images.openable(path), "rb") as stream:
            streamed = is_tiff(stream.read(16))
        if streamed:
            with tifffile.TiffFile(images.openable(path)) as tif:
                source = _Source.of(tif, settings.page)
                if source is not None:
                    yield from _rendered(source, settings, rows)
                    return
    except Exception as error:  # decoders throw anything
        raise images.image_error(path, error) from error
    view = images.read_image(path, settings)
    for top in range(0, view.shape[0], rows):
        yield view[top : top + rows]


class _Source:
    """The stored samples of one upright page, row by row."""

    def __init__(self, tif: tifffile.TiffFile, page: Any, first_byte: int | None) -> None:
        self._tif, self._page, self._first_byte = tif, page, first_byte
        self.keyframe = page.keyframe
        self.height, self.width = int(self.keyframe.imagelength), int(self.keyframe.imagewidth)
        self.channels = int(self.keyframe.samplesperpixel)

    @classmethod
    def of(cls, tif: tifffile.TiffFile, number: int) -> _Source | None:
        """The page ``number`` in the app's count; None where it cannot be read by rows."""
        for series in series_of(tif):
            count = stack_size(series)
            if number < count:
                return cls._in_series(tif, series, number)
            number -= count
        return None

    @classmethod
    def _in_series(cls, tif: tifffile.TiffFile, series: Any, number: int) -> _Source | None:
        keyframe = series.keyframe
        plane = series.axes.lstrip("".join(set(series.axes) - set("YXS")))
        if plane not in ("YX", "YXS") or keyframe.axes != plane:
            return None
        if not is_understood(keyframe) or orientation_of(keyframe) not in (0, 1):
            return None
        if series.dataoffset is not None:
            size = math.prod(keyframe.shape) * keyframe.dtype.itemsize
            return cls(tif, keyframe, series.dataoffset + number * size)
        page = series.pages[number]
        if page is None or keyframe.planarconfig != 1 or keyframe.imagedepth != 1:
            return None
        if page.is_memmappable:
            return cls(tif, page, int(page.dataoffsets[0]))
        height = keyframe.tilelength if keyframe.is_tiled else keyframe.rowsperstrip
        piece = min(height, keyframe.imagelength) * math.prod(keyframe.shape[1:])
        if piece * keyframe.dtype.itemsize > _LARGEST_PIECE:
            return None
        return cls(tif, page, None)

    def pieces(self, rows: int) -> Iterator[Samples]:
        """Samples [h, W, C] from top to bottom, in the file's own heights."""
        return self._block(rows) if self._first_byte is not None else self._segments()

    def _block(self, rows: int) -> Iterator[Samples]:
        """Rows of one uncompressed block."""
        kind = np.dtype(self._tif.byteorder + self.keyframe.dtype.char)
        row = self.width * self.channels
        for top in range(0, self.height, rows):
            count = min(rows, self.height - top)
            at = int(self._first_byte or 0) + top * row * kind.itemsize
            values = self._tif.filehandle.read_array(kind, count * row, at)
            yield np.asarray(values, self.keyframe.dtype).reshape(count, self.width, self.channels)

    def _segments(self) -> Iterator[Samples]:
        """Strips, or rows of tiles put together."""
        keyframe = self.keyframe
        height = int(keyframe.tilelength if keyframe.is_tiled else keyframe.rowsperstrip)
        fill = keyframe.nodata or 0
        band, top = np.zeros(0), -1
        for data, place, _ in self._page.segments(maxworkers=1, buffersize=_READ_AHEAD):
            y, x = place[2], place[3]
            if y != top:
                if top >= 0:
                    yield band
                shape = (min(height, self.height - y), self.width, self.channels)
                band, top = np.full(shape, fill, keyframe.dtype), y
            if data is not None:
                part = data[0, : band.shape[0], : self.width - x]
                band[: part.shape[0], x : x + part.shape[1]] = part
        if top >= 0:
            yield band

    def raws(self, rows: int) -> Iterator[Raw]:
        """Bands of ``rows`` rows as colours and alpha."""
        for samples in regroup(self.pieces(rows), rows):
            yield raw_of(self.keyframe, samples, self.channels)


def regroup(pieces: Iterable[Samples], rows: int) -> Iterator[Samples]:
    """The same rows in bands of exactly ``rows``, the last one lower where they do not fit."""
    held: list[Samples] = []
    count = 0
    for piece in pieces:
        while piece.shape[0]:
            taken = piece[: rows - count]
            held.append(taken)
            count += taken.shape[0]
            piece = piece[taken.shape[0] :]
            if count == rows:
                yield held[0] if len(held) == 1 else np.concatenate(held)
                held, count = [], 0
    if held:
        yield held[0] if len(held) == 1 else np.concatenate(held)


def _rendered(source: _Source, settings: ViewSettings, rows: int) -> Iterator[View]:
    fixed: ViewSettings | None = None
    for raw in source.raws(rows):
        if fixed is None:
            images.check_view(raw, settings)
            fixed = settings if raw.samples.dtype == np.uint8 else None
            if fixed is None or settings.percentiles is not None:
                fixed = fixed_view(_sampled(source, rows), settings)
        yield render(raw, fixed)


def _sampled(source: _Source, rows: int) -> Raw:
    """The rows and columns that decide about automatic windows."""
    step = sample_step(source.height, source.width)
    found: list[Raw] = []
    top = 0
    for raw in source.raws(rows):
        kept = raw.samples[-top % step :: step, ::step].copy()
        found.append(replace(raw, samples=kept, alpha=None))
        top += raw.samples.shape[0]
    return replace(found[0], samples=np.concatenate([raw.samples for raw in found]))
