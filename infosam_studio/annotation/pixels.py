"""From decoded samples to the view: upright, windowed to 8 bits, alpha laid on white, RGB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from infosam_studio.annotation.view_settings import DEFAULT_VIEW, ViewSettings, Window

View = npt.NDArray[np.uint8]
Samples = npt.NDArray[Any]

WINDOW_PERCENTILES = (0.1, 99.9)
_SAMPLE_PIXELS = 4_000_000  # enough for a stable 0.1 percentile, few enough to sort quickly
_BLOCK_PIXELS = 4_000_000  # bounds the memory of floating-point work on large images


@dataclass(frozen=True)
class Raw:
    """One page as decoded.

    ``samples`` is [H, W, C] in the file's own type, already upright; ``color`` says that the
    first three channels are red, green and blue; ``alpha`` is [H, W] in 0..1 (float32), or None
    where everything is opaque; ``premultiplied`` that the colours already carry it. ``window``
    is what the file itself asks for; ``inverted`` shows its smallest values white.
    """

    samples: Samples
    color: bool
    alpha: npt.NDArray[np.float32] | None = None
    premultiplied: bool = False
    window: Window | None = None
    inverted: bool = False


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


def sample_step(height: int, width: int) -> int:
    """Every how manieth row and column of an image decides about its automatic window."""
    return max(1, int(np.ceil(np.sqrt(height * width / _SAMPLE_PIXELS))))


def auto_window(
    samples: Samples, percentiles: Window = WINDOW_PERCENTILES, step: int | None = None
) -> Window:
    """The values shown as black and white: percentiles of the finite values.

    Taken over every k-th row and column, k so that at most 4 million values are looked at:
    the same values for the same image, everywhere. Where the two are equal (nearly all pixels
    alike) the smallest and largest values are taken; where these are equal too, everything
    is black.
    """
    if step is None:
        step = sample_step(*samples.shape[:2])
    values = samples[::step, ::step].reshape(-1)
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values.astype(np.float64), percentiles))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return low, high


def render(raw: Raw, settings: ViewSettings = DEFAULT_VIEW) -> View:
    """The 8-bit RGB view [H, W, 3], C-contiguous.

    8-bit data is shown as it is. Other data (and 8-bit data where a window is given) is mapped
    linearly from its window to 0..255: one window for the three channels of a colour image,
    so that its colours hold, and one for each channel otherwise. ``settings`` fit the image.
    """
    chosen = settings.channels if settings.channels is not None else default_channels(raw)
    samples = raw.samples
    windows = _windows(raw, settings, chosen)
    height, width = samples.shape[:2]
    out = np.zeros((height, width, 3), np.uint8)
    if settings.colors is not None:
        _mix(out, raw, chosen, windows, settings.colors)
    elif len(chosen) == 1:
        out[:] = _eight_bits(raw, chosen[0], windows[0])[:, :, None]
    elif windows == (None,) * 3 and chosen == (0, 1, 2) and samples.shape[2] == 3:
        out[:] = samples
    else:
        for position, channel in enumerate(chosen[:3]):
            if channel >= 0:
                out[:, :, position] = _eight_bits(raw, channel, windows[position])
    if raw.alpha is not None:
        _lay_on_white(out, raw.alpha, raw.premultiplied)
    return out


def fixed_view(sampled: Raw, settings: ViewSettings) -> ViewSettings:
    """``settings`` with every automatic choice made, from the image's sampled rows and columns.

    ``sampled`` holds every `sample_step`-th row and column: what `render` makes of a band of
    the image with these settings is what it makes of the whole image with ``settings``.
    """
    chosen = settings.channels if settings.channels is not None else default_channels(sampled)
    windows = _windows(sampled, settings, chosen, step=1)
    return replace(settings, channels=chosen, windows=windows, window=None, percentiles=None)


def _windows(
    raw: Raw, settings: ViewSettings, chosen: tuple[int, ...], step: int | None = None
) -> tuple[Window | None, ...]:
    """The window of each chosen channel; None where its values are shown as they are."""
    samples, percentiles = raw.samples, settings.percentiles
    common = settings.window or (raw.window if percentiles is None else None)
    direct = samples.dtype == np.uint8 and common is None and percentiles is None
    wanted = percentiles or WINDOW_PERCENTILES
    if common is None and not direct and raw.color and settings.channels is None:
        common = auto_window(samples[:, :, :3], wanted, step)
    own = settings.windows or (None,) * len(chosen)
    found: list[Window | None] = []
    for channel, window in zip(chosen, own, strict=True):
        if window is None and common is None and not direct and channel >= 0:
            window = auto_window(samples[:, :, channel], wanted, step)
        found.append(window or common)
    return tuple(found)


def _mix(
    out: View,
    raw: Raw,
    chosen: tuple[int, ...],
    windows: tuple[Window | None, ...],
    colors: tuple[str, ...],
) -> None:
    """Channels as lights of their colours, added up; too bright is as bright as can be."""
    for channel, window, color in zip(chosen, windows, colors, strict=True):
        if channel < 0:
            continue
        grey = _eight_bits(raw, channel, window)
        for position in range(3):
            part = int(color[1 + 2 * position : 3 + 2 * position], 16)
            if part:
                table = np.round(np.arange(256) * (part / 255.0)).astype(np.uint8)
                light = np.take(table, grey)
                room = 255 - out[:, :, position]
                out[:, :, position] += np.minimum(light, room)


def _eight_bits(raw: Raw, channel: int, window: Window | None) -> View:
    """One channel [H, W] as 0..255; with None its 8-bit values as they are."""
    values = raw.samples[:, :, channel]
    if window is None:
        return np.asarray(255 - values if raw.inverted else values, np.uint8)
    low, high = window
    if values.dtype in (np.uint8, np.uint16):
        table = _scale(np.arange(np.iinfo(values.dtype).max + 1), low, high)
        return np.take(255 - table if raw.inverted else table, values)
    out = np.empty(values.shape, np.uint8)
    rows = max(1, _BLOCK_PIXELS // max(1, values.shape[1]))
    for top in range(0, values.shape[0], rows):
        out[top : top + rows] = _scale(values[top : top + rows], low, high)
    return np.asarray(255 - out if raw.inverted else out, np.uint8)


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
