"""TIFF files: which pages they hold, and one page's samples."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from infosam_studio.annotation.icc import to_srgb
from infosam_studio.annotation.pixels import Raw, Samples, alpha_of, upright

# What tifffile reports about a file ends up in our own message; without a handler it would be
# printed to standard error as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WHITE_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _ICCLAB = 0, 2, 3, 5, 6, 8, 9
_JPEG_COMPRESSIONS = (6, 7, 33007, 34892)


class NeedsPillow(Exception):
    """A colour space that Pillow converts better; ``frame`` is the page in Pillow's count."""

    def __init__(self, frame: int) -> None:
        super().__init__(frame)
        self.frame = frame


@dataclass(frozen=True)
class TiffLayout:
    """What the header says.

    ``sizes`` is the upright (width, height) of every page, ``samples`` how many values the
    largest page has, ``complete`` whether the file is long enough for its data.
    """

    sizes: tuple[tuple[int, int], ...]
    mode: str
    samples: int
    complete: bool


def is_tiff(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a TIFF or BigTIFF."""
    return head[:4] in _MAGIC


def tiff_layout(path: Path, size: int | None) -> TiffLayout:
    """Read the structure of a TIFF.

    ``size`` is the file's length in bytes; with None it is taken to be complete, which saves
    reading the directories of all pages.

    Every image of a stack (z, time, or simply one page after another) is a page; channels kept
    as pages of their own (OME, ImageJ) belong to one page. Reduced copies are no pages.
    """
    with tifffile.TiffFile(path) as tif:
        found = series_of(tif)
        if not found:
            raise ValueError("the file holds no image")
        first = found[0]
        return TiffLayout(
            sizes=tuple(_size(series) for series in found for _ in range(stack_size(series))),
            mode=f"{first.keyframe.photometric.name.lower()} {first.dtype}",
            samples=max(series.size // stack_size(series) for series in found),
            complete=size is None or all(_is_complete(series, size) for series in found),
        )


def _size(series: Any) -> tuple[int, int]:
    shape = dict(zip(series.axes, series.shape, strict=True))
    turned = orientation_of(series.keyframe) in (5, 6, 7, 8)
    return (shape["Y"], shape["X"]) if turned else (shape["X"], shape["Y"])


def read_tiff(path: Path, page: int) -> Raw:
    """The samples of one page; NeedsPillow for colour spaces that are not taken apart here."""
    with tifffile.TiffFile(path) as tif:
        for series in series_of(tif):
            count = stack_size(series)
            if page < count:
                return _read_page(tif, series, page)
            page -= count
    raise IndexError("the file has no such page")


def series_of(tif: tifffile.TiffFile) -> list[Any]:
    """The images of the file: its series with a plane, without thumbnails."""
    found = [s for s in tif.series if "Y" in s.axes and "X" in s.axes and 0 not in s.shape]
    full = [s for s in found if not s.keyframe.is_reduced]
    return full or found


def stack_size(series: Any) -> int:
    """How many pages the series is: the product of every axis but rows, columns and channels."""
    return math.prod(n for a, n in zip(series.axes, series.shape, strict=True) if a not in "YXSC")


def orientation_of(keyframe: Any) -> int:
    tag = keyframe.tags.get(274)
    return int(tag.value) if tag is not None else 1


def _is_complete(series: Any, size: int) -> bool:
    """Whether the file is long enough for the data its directories point at."""
    if series.dataoffset is not None:
        return bool(series.dataoffset + series.nbytes <= size)
    for page in series.pages:
        if page is None:
            continue
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if offset + count > size:
                return False
    return True


def is_understood(keyframe: Any) -> bool:
    """Whether a page's colour space is taken apart here; Pillow knows the others better."""
    photometric = int(keyframe.photometric)
    if photometric == _YCBCR:
        return _is_converted(keyframe)
    return photometric not in (_CMYK, _LAB, _ICCLAB)


def _is_converted(keyframe: Any) -> bool:
    """Whether decoding makes RGB of what is stored as luminance and colour differences."""
    return int(keyframe.photometric) == _YCBCR and int(keyframe.compression) in _JPEG_COMPRESSIONS


def _read_page(tif: tifffile.TiffFile, series: Any, page: int) -> Raw:
    keyframe = series.keyframe
    if not is_understood(keyframe):
        raise NeedsPillow(_frame(series, page))
    samples, pixel_samples = _planes(tif, series, page)
    return raw_of(keyframe, samples, pixel_samples)


def raw_of(keyframe: Any, samples: Samples, pixel_samples: int) -> Raw:
    """Stored samples [H, W, C] as colours and alpha, upright; rows may be given by and by."""
    photometric = int(keyframe.photometric)
    converted = _is_converted(keyframe)
    if samples.dtype.kind == "c":
        samples = np.abs(samples)
    alpha, premultiplied = None, False
    extra = tuple(int(kind) for kind in keyframe.extrasamples)
    if extra and extra[0] in (1, 2) and samples.shape[2] == pixel_samples:
        position = pixel_samples - len(extra)
        alpha = alpha_of(samples[:, :, position])
        premultiplied = extra[0] == 1
        samples = samples[:, :, :position]
    color = converted or photometric == _RGB
    if photometric == _WHITE_IS_ZERO:
        samples = _inverted(samples, keyframe.bitspersample)
    elif photometric == _PALETTE and keyframe.colormap is not None:
        colors = (np.asarray(keyframe.colormap).T >> 8).astype(np.uint8)
        samples, color = colors[samples[:, :, 0]], True
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * np.uint8(255)
    color = color and samples.shape[2] >= 3
    profile = keyframe.tags.get(34675)
    if profile is not None and color and samples.dtype == np.uint8 and samples.shape[2] == 3:
        samples = to_srgb(samples, bytes(profile.value))
    turn = orientation_of(keyframe)
    opacity = None if alpha is None else upright(alpha, turn)
    return Raw(upright(samples, turn), color, opacity, premultiplied)


def _inverted(samples: Samples, bits: int) -> Samples:
    if samples.dtype == np.bool_:
        return ~samples
    if samples.dtype.kind == "u":
        return np.asarray(samples.dtype.type((1 << bits) - 1) - samples)
    return -samples


def _planes(tif: tifffile.TiffFile, series: Any, page: int) -> tuple[Samples, int]:
    """The page as [H, W, channels x samples] and how many samples a pixel has."""
    axes, shape = series.axes, series.shape
    stack_axes = [i for i, a in enumerate(axes) if a not in "YXSC"]
    position = np.unravel_index(page, [shape[i] for i in stack_axes]) if stack_axes else ()
    index: list[Any] = [slice(None)] * len(axes)
    for axis, at in zip(stack_axes, position, strict=True):
        index[axis] = int(at)
    kept = "".join(a for a in axes if a in "YXSC")
    plane = _load(tif, series, index)
    order = [kept.index(a) for a in "YXCS" if a in kept]
    plane = plane.transpose(order)
    height, width = plane.shape[:2]
    samples = shape[axes.index("S")] if "S" in axes else 1
    return plane.reshape(height, width, -1), samples


def _load(tif: tifffile.TiffFile, series: Any, index: list[Any]) -> Samples:
    """``series.asarray()[index]``, reading only the pages that are needed."""
    if series.dataoffset is not None:
        # One block of data: the file itself is the array, and no directory but the first counts.
        whole = tif.filehandle.memmap_array(
            tif.byteorder + series.dtype.char, series.shape, series.dataoffset
        )
        return np.array(whole[tuple(index)])
    outer = len(series.shape) - len(series.keyframe.shape)
    stored = series.pages
    if series.axes[outer:] != series.keyframe.axes or any(p is None for p in stored):
        return np.asarray(series.asarray()[tuple(index)])
    numbers = np.arange(math.prod(series.shape[:outer])).reshape(series.shape[:outer])
    wanted = numbers[tuple(index[:outer])]
    planes = [stored[int(n)].asarray()[tuple(index[outer:])] for n in np.ravel(wanted)]
    if np.ndim(wanted) == 0:
        return np.asarray(planes[0])
    return np.stack(planes).reshape(*np.shape(wanted), *planes[0].shape)


def _frame(series: Any, page: int) -> int:
    first = series.pages[min(page, len(series.pages) - 1)]
    return int(first.index)
