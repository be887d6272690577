"""From decoded samples to the view: upright, windowed to 8 bits, alpha laid on white, RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

View = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]
Window = tuple[float, float]

WINDOW_PERCENTILES = (0.1, 99.9)
_SAMPLE_PIXELS = 4_000_000  # enough for a stable 0.1 percentile, few enough to sort quickly
_BLOCK_PIXELS = 4_000_000  # bounds the memory of floating-point work on large images


@dataclass(frozen=True)
class Raw:
    """One page as decoded.

    ``samples`` is [H, W, C] in the file's own type, already upright; ``color`` says that the
    first three channels are red, green and blue; ``alpha`` is [H, W] in 0..1 (float32), or None
    where everything is opaque; ``premultiplied`` that the colours already carry it.
    """

    samples: Samples
    color: bool
    alpha: npt.NDArray[np.float32] | None = None
    premultiplied: bool = False


def upright(pixels: Samples, orientation: int) -> Samples:
    """Pixels [H, W, ...] turned as the EXIF orientation (1..8) asks; others leave them alone."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def default_channels(raw: Raw) -> tuple[int, ...]:
    """Which channels are shown as grey (one) or as red, green, blue (three; -1 is black)."""
    count = raw.samples.shape[2]
    if count == 1:
        return (0,)
    return (0, 1, -1) if count == 2 else (0, 1, 2)


def auto_window(samples: Samples) -> Window:
    """The values shown as black and white: percentiles 0.1 and 99.9 of the finite values.

    Taken over every k-th row and column, k so that at most 4 million values are looked at:
    the same values for the same image, everywhere. Where the two are equal (nearly all pixels
    alike) the smallest and largest values are taken; where these are equal too, everything
    is black.
    """
    step = max(1, int(np.ceil(np.sqrt(samples.shape[0] * samples.shape[1] / _SAMPLE_PIXELS))))
    values = samples[::step, ::step].reshape(-1)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values.astype(np.float64), WINDOW_PERCENTILES))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return low, high


def render(raw: Raw, channels: tuple[int, ...] | None, window: Window | None) -> View:
    """The 8-bit RGB view [H, W, 3], C-contiguous.

    8-bit data is shown as it is. Other data (and 8-bit data where ``window`` is given) is mapped
    linearly from its window to 0..255: one window for the three channels of a colour image,
    so that its colours hold, and one for each channel otherwise.
    """
    chosen = default_channels(raw) if channels is None else channels
    samples = raw.samples
    direct = samples.dtype == np.uint8 and window is None
    common = window
    if common is None and not direct and raw.color and channels is None:
        common = auto_window(samples[:, :, :3])
    height, width = samples.shape[:2]
    out = np.zeros((height, width, 3), np.uint8)
    if len(chosen) == 1:
        out[:] = _eight_bits(samples[:, :, chosen[0]], common, direct)[:, :, None]
    elif direct and chosen == (0, 1, 2) and samples.shape[2] == 3:
        out[:] = samples
    else:
        for position, channel in enumerate(chosen[:3]):
            if channel >= 0:
                out[:, :, position] = _eight_bits(samples[:, :, channel], common, direct)
    if raw.alpha is not None:
        _lay_on_white(out, raw.alpha, raw.premultiplied)
    return out


def _eight_bits(values: Samples, window: Window | None, direct: bool) -> View:
    if direct:
        return values
    low, high = auto_window(values) if window is None else window
    if values.dtype in (np.uint8, np.uint16):
        table = _scale(np.arange(np.iinfo(values.dtype).max + 1), low, high)
        return np.take(table, values)
    out = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK_PIXELS // max(1, values.shape[1]))
    for top in range(0, values.shape[0], rows):
        out[top : top + rows] = _scale(values[top : top + rows], low, high)
    return out


def _scale(values: Samples, low: float, high: float) -> View:
    """Values mapped linearly so that ``low`` is 0 and ``high`` 255; NaN is 0."""
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.asarray(np.clip(scaled, 0, 255) + 0.5, np.uint8)


def _lay_on_white(view: View, alpha: npt.NDArray[np.float32], premultiplied: bool) -> None:
    rows = max(1, _BLOCK_PIXELS // max(1, view.shape[1]))
    for top in range(0, view.shape[0], rows):
        part = view[top : top + rows]
        opacity = alpha[top : top + rows, :, None]
        color = part if premultiplied else part * opacity
        part[:] = np.clip(color + 255 * (1 - opacity) + 0.5, 0, 255).astype(np.uint8)


def alpha_of(values: Samples) -> npt.NDArray[np.float32] | None:
    """An alpha channel as 0..1; None where it is opaque everywhere."""
    if values.dtype.kind == "f":
        alpha = np.clip(np.nan_to_num(values, nan=1.0), 0, 1).astype(np.float32)
    elif values.dtype == np.bool_:
        alpha = values.astype(np.float32)
    else:
        alpha = values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)
    return None if bool((alpha >= 1).all()) else alpha
