"""Image files, only ever read, as one upright RGB uint8 view.

What a view is: orientation (EXIF) applied, palettes and CMYK turned into RGB, colour profiles
into sRGB, transparency laid on white, 16-bit, 32-bit and floating-point data windowed to 8 bits
(``pixels.auto_window`` says how), one page of a multi-page file. All coordinates of the app are
pixels of this view.

Files come from anywhere: no name, size or content may stop the reading of the others, so
``probe_image`` never raises, and a header is believed only up to one gigapixel.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import sys
import warnings
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from infosam_studio.annotation import dicom
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.icc import convert_profile
from infosam_studio.annotation.pixels import Raw, View, alpha_of, render, upright
from infosam_studio.annotation.tiff import NeedsPillow, is_tiff, read_tiff, tiff_layout
from infosam_studio.annotation.view_settings import DEFAULT_VIEW as DEFAULT_VIEW
from infosam_studio.annotation.view_settings import ViewSettings as ViewSettings
from infosam_studio.errors import StudioError

MAX_PIXELS: Final = 1_000_000_000
_MAX_SAMPLES: Final = 4 * MAX_PIXELS

# Pillow's guard against decompression bombs, set to our own limit and to raise there: its
# default warns at 89 megapixels, which large scans exceed, and only fails at twice its limit.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

SUFFIXES: Final = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".webp",
        ".tif",
        ".tiff",
        ".gif",
        ".pnm",
        ".pgm",
        ".ppm",
        ".pbm",
        ".avif",
        *dicom.SUFFIXES,
    ]
)
# Formats that draw, run or fetch something (EPS, PDF, WMF …) are never handed to a decoder.
_FORMATS: Final = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "AVIF")
_PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
_DIGITS: Final = re.compile("[0-9]+")
_TAIL: Final = 65536  # cameras append data after a JPEG's end marker


class ImageError(StudioError):
    """An image file that cannot be read; the text names the file and the reason."""


@dataclass(frozen=True)
class ImageInfo:
    """What a file's header says; ``width`` and ``height`` of its first page, upright.

    ``page_sizes`` gives (width, height) of every page where they differ, and is () otherwise.
    ``problem`` is the reason why the file cannot be read (then sizes may be 0), else None.
    """

    path: Path
    width: int = 0
    height: int = 0
    pages: int = 1
    mode: str = ""
    problem: str | None = None
    page_sizes: tuple[tuple[int, int], ...] = ()


class _Refused(Exception):
    """A reason of our own not to read a file."""


class _Unfit(Exception):
    """The choice of channels or windows does not fit the file."""


def list_images(folder: Path, recursive: bool = True) -> list[Path]:
    """Files with an image's suffix, in natural order (2 before 10), folder by folder.

    Hidden files and folders and project folders are left out; folders that may not be read are
    skipped. ImageError where ``folder`` is none.
    """
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder; choose the folder that holds the images.")
    found: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(
            (f for f in folders if not f.startswith(".") and not f.endswith(".infosam")),
            key=_natural,
        )
        if not recursive:
            folders.clear()
        found += [
            Path(base, name)
            for name in sorted(names, key=_natural)
            if not name.startswith(".") and _is_listed(base, name)
        ]
    return found


def _is_listed(folder: str, name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, or as DICOM, which often has none."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():  # names that are UIDs end with a number
        return False
    if name == "DICOMDIR":  # the table of contents of a disc
        return False
    path = os.path.join(folder, name)
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for somebody to write
            return False
        with open(path, "rb") as stream:
            return stream.read(dicom.HEAD)[128:] == b"DICM"
    except OSError:
        return False


def natural_order(path: str) -> str:
    """A sort key for relative posix paths: the order of ``list_images``."""
    folder, _, name = path.rpartition("/")
    # A folder's files come before its folders.
    folders = "".join(f"\x02{_natural(part)}" for part in folder.split("/")) if folder else ""
    return f"{folders}\x01{_natural(name)}"


def _natural(name: str) -> str:
    """Numbers as long as the longest, so that comparing texts compares them; ties by spelling."""
    return f"{_DIGITS.sub(_padded, name.casefold())}\0{name}"


def _padded(number: re.Match[str]) -> str:
    return number[0].zfill(20)


def content_hash(path: Path) -> str:
    """SHA-256 of the file's bytes, hex; OSError where it cannot be read."""
    if not stat.S_ISREG(os.stat(openable(path)).st_mode):
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    with open(openable(path), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def probe_image(path: Path) -> ImageInfo:
    """Read a file's header; never raises. Data is decoded only where the file looks cut off."""
    try:
        info, complete = _probe(path)
        if not complete:
            _decode(path, 0)
    except Exception as error:  # whatever a decoder may throw is this file's problem alone
        return ImageInfo(path, problem=_reason(error))
    return info


def _probe(path: Path, *, to_the_end: bool = True) -> tuple[ImageInfo, bool]:
    """The header, and whether the file seems whole (if not ``to_the_end``: nobody asks)."""
    if not stat.S_ISREG(os.stat(openable(path)).st_mode):  # opening a pipe would wait for ever
        raise _Refused("it is no ordinary file")
    with open(openable(path), "rb") as stream:
        head = stream.read(dicom.HEAD)
        size = os.fstat(stream.fileno()).st_size
        if not head:
            raise _Refused("the file is empty")
        if dicom.is_dicom(path, head):
            found = dicom.dicom_layout(openable(path))
            _check_size(found.width, found.height, found.samples)
            return ImageInfo(path, found.width, found.height, found.frames, found.mode), True
        if is_tiff(head):
            layout = tiff_layout(openable(path), size if to_the_end else None)
            for width, height in set(layout.sizes):
                _check_size(width, height, layout.samples)
            (width, height), pages = layout.sizes[0], len(layout.sizes)
            sizes = layout.sizes if len(set(layout.sizes)) > 1 else ()
            info = ImageInfo(path, width, height, pages, layout.mode, page_sizes=sizes)
            return info, layout.complete
        stream.seek(0)
        with _open(stream) as image:
            width, height = image.size
            _check_size(width, height)
            if _orientation(image) in (5, 6, 7, 8):
                width, height = height, width
            info = ImageInfo(path, width, height, 1, image.mode)
        return info, not to_the_end or _looks_complete(stream, head, size)


def _check_size(width: int, height: int, samples: int = 0) -> None:
    if width <= 0 or height <= 0:
        raise _Refused("the image has no pixels")
    if width * height > MAX_PIXELS or samples > _MAX_SAMPLES:
        raise _Refused(f"its header claims {width} x {height} pixels, more than one gigapixel")


def _looks_complete(stream: BinaryIO, head: bytes, size: int) -> bool:
    """A cheap look at whether the file has its end; False where only decoding can tell."""
    if head[:2] == b"\xff\xd8":
        stream.seek(max(0, size - _TAIL))
        return b"\xff\xd9" in stream.read()
    if head[:8] == _PNG_MAGIC:
        at = 8
        while at + 12 <= size:
            stream.seek(at)
            chunk = stream.read(8)
            if chunk[4:] == b"IEND":
                return True
            at += 12 + int.from_bytes(chunk[:4], "big")
        return False
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    if head[:2] == b"BM":
        return 14 < int.from_bytes(head[2:6], "little") <= size
    return False


def _open(stream: BinaryIO) -> ImageFile.ImageFile:
    return Image.open(stream, formats=_formats())


@cache
def _formats() -> tuple[str, ...]:
    Image.init()  # asking for a format whose plugin is not loaded yet is an error
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # broken metadata is no reason to refuse good pixels
        return 1


def read_image(path: Path, settings: ViewSettings = DEFAULT_VIEW) -> View:
    """The view of one page: uint8 [H, W, 3], RGB, upright, C-contiguous; ImageError otherwise."""
    return read_with_values(path, settings)[0]


def read_with_values(
    path: Path, settings: ViewSettings = DEFAULT_VIEW
) -> tuple[View, npt.NDArray[Any] | None]:
    """The view, and the values [H, W, C] it was made of where it does not show them as they are."""
    try:
        raw = _decode(path, settings.page)
        check_view(raw, settings)
        shown = raw.samples.dtype == np.uint8 and not settings.key() and raw.samples.shape[2] < 4
        return render(raw, settings), None if shown else raw.samples
    except Exception as error:
        raise image_error(path, error) from error


def read_raw(path: Path, page: int = 0) -> npt.NDArray[Any]:
    """The samples before windowing: [H, W, C], upright, in the file's own type, without alpha.

    For histograms and channel lists. Palettes and CMYK come as RGB.
    """
    try:
        return _decode(path, page).samples
    except Exception as error:
        raise image_error(path, error) from error


def check_view(raw: Raw, settings: ViewSettings) -> None:
    """Raise what `image_error` explains where the channels cannot be shown as chosen."""
    if problem := settings.problem(raw.samples.shape[2]):
        raise _Unfit(problem)


def image_error(path: Path, error: Exception) -> ImageError:
    """What went wrong with a file, in one sentence for the person."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, _Unfit):
        return ImageError(
            f"{path.name} cannot be shown as chosen: {error}. Choose other channels for it."
        )
    return ImageError(
        f"{path.name} cannot be read: {_reason(error)}. Replace the file or leave it out."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, (_Refused, dicom.DicomError)):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "this is not an image of a known format"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return "its header claims more than one gigapixel"
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    if isinstance(error, PermissionError):
        return "you are not allowed to read it"
    if isinstance(error, IndexError) and "no such page" in str(error):
        return str(error)
    detail = " ".join(str(error).split())[:120] or type(error).__name__
    return f"the file is damaged ({detail})"


def check_header(path: Path, page: int) -> None:
    """Before anything is decoded: raise where the header claims too much or has no such page."""
    info, _ = _probe(path, to_the_end=False)
    if not 0 <= page < info.pages:
        raise _Refused(f"it has no page {page + 1}, only {info.pages}")


def _decode(path: Path, page: int) -> Raw:
    check_header(path, page)
    with open(openable(path), "rb") as stream:
        head = stream.read(dicom.HEAD)
        stream.seek(0)
        if dicom.is_dicom(path, head):
            return dicom.read_dicom(openable(path), page)
        if is_tiff(head):
            try:
                return read_tiff(openable(path), page)
            except NeedsPillow as found:
                return _decode_pillow(stream, found.frame)
        if head[:8] == _PNG_MAGIC and head[24] == 16:
            return _decode_deep_png(stream)
        return _decode_pillow(stream, 0)


def _decode_deep_png(stream: BinaryIO) -> Raw:
    """A PNG of 16 bits per sample, which Pillow would cut to 8 where it has colours."""
    with _open(stream) as image:
        turn = _orientation(image)
    stream.seek(0)
    data = np.frombuffer(stream.read(), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise _Refused("the file is damaged (its pixels cannot be decoded)")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    alpha = alpha_of(pixels[:, :, 3]) if pixels.shape[2] == 4 else None
    samples = pixels[:, :, 2::-1] if pixels.shape[2] >= 3 else pixels
    if data[25] in (0, 4):  # grey, with or without alpha; OpenCV makes three equal channels of it
        samples = samples[:, :, :1]
    return Raw(
        upright(samples, turn),
        samples.shape[2] == 3,
        None if alpha is None else upright(alpha, turn),
    )


def _decode_pillow(stream: BinaryIO, frame: int) -> Raw:
    with _open(stream) as image:
        if frame:
            image.seek(frame)
        _check_size(*image.size)
        turn = _orientation(image)
        profile = image.info.get("icc_profile")
        image.load()
        if image.mode in ("I", "F", "I;16", "I;16L", "I;16B", "I;16N"):
            return Raw(upright(np.asarray(image)[:, :, None], turn), color=False)
        flat, alpha = _without_alpha(image)
        flat = convert_profile(flat, profile)
        if flat.mode not in ("L", "RGB"):
            flat = flat.convert("RGB")
        samples = np.asarray(flat).reshape(flat.height, flat.width, -1)
    raw = Raw(upright(samples, turn), samples.shape[2] == 3)
    opacity = None if alpha is None else alpha_of(np.asarray(alpha))
    return raw if opacity is None else replace(raw, alpha=upright(opacity, turn))


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The image as L, RGB or CMYK, and its alpha (explicit, of a palette, or a key colour)."""
    if image.mode in ("L", "RGB", "CMYK") and "transparency" not in image.info:
        return image, None
    if image.mode in ("LA", "La"):
        grey = image.convert("LA")
        return grey.getchannel("L"), grey.getchannel("A")
    if image.has_transparency_data:
        full = image.convert("RGBA")
        return full.convert("RGB"), full.getchannel("A")
    if image.mode == "1":
        return image.convert("L"), None
    return image.convert("RGB"), None


def openable(path: Path) -> Path:
    """The path in the form Windows needs for names beyond 260 characters; elsewhere unchanged."""
    if sys.platform == "win32":
        text = os.path.abspath(path)
        if len(text) >= 248 and not text.startswith("\\\\"):
            return Path("\\\\?\\" + text)
    return path
