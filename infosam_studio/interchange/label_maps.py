"""Label maps as image files: what their pixels mean, and writing them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infosam_studio.annotation._cv2 import cv2

MAX_VALUES = 20_000
VOID = 255
VOID_COLOR = (224, 224, 192)
Rgb = tuple[int, int, int]


class BadLabelMap(Exception):
    """The file is no label map for its image; the text is the reason."""


@dataclass(frozen=True)
class LabelMap:
    """An integer map [H, W], 0 background, and what is known about its values.

    `kind`: "index" (one value per object or class), "binary" (0 and one other value) or
    "colors" (the values are 0xRRGGBB). `palette` gives the colours of a palette file's values.
    """

    kind: str
    values: NDArray[Any]
    palette: dict[int, Rgb]


def read_label_map(path: Path, width: int, height: int, *, own: bool = False) -> LabelMap:
    """Read a label map of that size (nothing is decoded before the size is right).

    Raises `BadLabelMap` with the reason where it is none; a photograph taken for one is found
    out too, unless the map is known to be one of our `own`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with path.open("rb") as file, _opened(file) as image:
                if image.size != (width, height):
                    raise BadLabelMap(
                        f"the label map has {image.size[0]} x {image.size[1]} pixels, "
                        f"the image {width} x {height}"
                    )
                found = _interpret(image)
        except BadLabelMap:
            raise
        # Pillow's readers answer damaged files with nearly any exception there is.
        except Exception as error:
            raise BadLabelMap(f"the label map cannot be read ({type(error).__name__})") from error
    if not own and _is_photograph(found.values):
        raise BadLabelMap("this looks like a photograph, not like a label map")
    return found


def _opened(file: io.BufferedReader) -> Image.Image:
    # The size is checked by the caller, so Pillow's own limit is not needed here.
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        return Image.open(file, formats=("PNG", "BMP", "GIF", "TIFF", "WEBP"))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _interpret(image: Image.Image) -> LabelMap:
    mode = image.mode
    palette: dict[int, Rgb] = {}
    if mode == "1":
        return LabelMap("binary", np.asarray(image).astype(np.uint8), palette)
    if mode == "P":
        palette = _palette(image)
        values = np.array(image)
        if palette.get(VOID) == VOID_COLOR:
            values[values == VOID] = 0
        return LabelMap("index", values, palette)
    if mode in ("L", "I", "I;16", "I;16B", "I;16L"):
        return _grey(np.asarray(image))
    if mode in ("LA", "La"):
        grey, alpha = image.convert("LA").split()
        return _grey(np.where(np.asarray(alpha) > 0, np.asarray(grey), 0))
    if mode in ("RGB", "RGBA", "RGBX", "PA"):
        return _colors(np.array(image.convert("RGBA" if mode in ("RGBA", "PA") else "RGB")))
    raise BadLabelMap(f"a picture of the kind {mode} is no label map")


def _grey(values: NDArray[Any]) -> LabelMap:
    if values.dtype.kind == "i" and values.size and int(values.min()) < 0:
        raise BadLabelMap("the label map has negative values")
    if values.dtype == np.uint8 and values.size and int(values.max()) == VOID:
        # Not sorted out by np.unique: that sorts every pixel.
        present = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
        if set(present.tolist()) <= {0, VOID}:
            return LabelMap("binary", values, {})
    return LabelMap("index", values, {})


def _is_photograph(values: NDArray[Any]) -> bool:
    """Whether so many neighbours differ that these cannot be areas of one value each."""
    if values.size <= 4096 or int(values.max()) <= 32:
        return False
    changes = np.count_nonzero(values[:, 1:] != values[:, :-1])
    return bool(changes > 0.6 * values.size)


def _colors(pixels: NDArray[np.uint8]) -> LabelMap:
    wide = pixels.astype(np.uint32)
    if np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(
        pixels[..., 1], pixels[..., 2]
    ):
        values = pixels[..., 0]
        return _grey(np.where(pixels[..., 3] > 0, values, 0) if pixels.shape[2] == 4 else values)
    packed = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    if pixels.shape[2] == 4:
        packed[pixels[..., 3] == 0] = 0
    return LabelMap("colors", packed.astype(np.int64), {})


def _palette(image: Image.Image) -> dict[int, Rgb]:
    flat = list(image.getpalette("RGB") or [])
    return {k: (flat[3 * k], flat[3 * k + 1], flat[3 * k + 2]) for k in range(len(flat) // 3)}


def parts_of(mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The 8-connected parts of a bitmap, numbered from 1."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels)


def hex_of(value: int) -> str:
    """`#rrggbb` of a packed colour."""
    return f"#{value:06x}"


def packed(color: str) -> int:
    """0xRRGGBB of `#rrggbb`; grey where it is something else."""
    try:
        return int(color.removeprefix("#"), 16) & 0xFFFFFF
    except ValueError:
        return 0x808080


def write_index_png(path: Path, values: NDArray[Any]) -> None:
    """A grey PNG of 8 or 16 bits, by the type of `values` [H, W]."""
    ok, data = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not ok:
        raise OSError("the PNG could not be encoded")
    path.write_bytes(data.tobytes())


def write_palette_png(path: Path, values: NDArray[np.uint8], colors: Mapping[int, Rgb]) -> None:
    """A palette PNG of uint8 `values` [H, W]; values without a colour get VOC's."""
    flat: list[int] = []
    for value in range(256):
        flat.extend(colors.get(value, voc_color(value)))
    image = Image.fromarray(np.ascontiguousarray(values))
    image.putpalette(flat)
    image.save(path, format="PNG", compress_level=4)


def voc_color(index: int) -> Rgb:
    """The colour of a value in Pascal VOC's palette."""
    rgb = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            rgb[channel] |= (index >> channel & 1) << (7 - bit)
        index >>= 3
    return rgb[0], rgb[1], rgb[2]


def rgb_of(color: str) -> Rgb:
    value = packed(color)
    return value >> 16, value >> 8 & 255, value & 255


def smallest_type(highest: int, allowed: Sequence[type[np.unsignedinteger[Any]]]) -> Any:
    """The first of the types that can hold `highest`; None where none can."""
    return next((t for t in allowed if highest <= np.iinfo(t).max), None)
