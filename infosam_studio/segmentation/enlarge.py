"""Low-resolution logits to a mask at the image's own resolution, quickly, on the CPU.

Upstream enlarges every candidate to floating point pictures of full size. Here only one row at
a time exists in floating point, and only where the mask can be: an interpolated value
exceeds the threshold only between samples of which one does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.geometry import Frame

Logits = NDArray[np.float32]
Mask = NDArray[np.bool_]


def enlarge(
    low_res: Logits,
    *,
    img_size: int,
    input_size: tuple[int, int],
    size: tuple[int, int],
    threshold: float = 0.0,
) -> Mask:
    """One mask, float32 [m,m] -> bool ``size``, equal to upstream's two bilinear steps.

    First to the encoder's square of ``img_size``, cut to ``input_size`` (h, w), then to
    ``size`` (H, W). Logits agree with upstream's within 1e-4.
    """
    left, top, part = enlarged_part(
        low_res, img_size=img_size, input_size=input_size, size=size, threshold=threshold
    )
    mask = np.zeros(size, dtype=np.bool_)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask


def enlarged_part(
    low_res: Logits,
    *,
    img_size: int,
    input_size: tuple[int, int],
    size: tuple[int, int],
    threshold: float = 0.0,
) -> tuple[int, int, Mask]:
    """As `enlarge`, but only a rectangle that holds the mask: its corner (x, y) and its pixels."""
    square = cv2.resize(low_res, (img_size, img_size), interpolation=cv2.INTER_LINEAR)
    samples = square[: input_size[0], : input_size[1]]
    left, top, width, height = cv2.boundingRect((samples > threshold).view(np.uint8))
    if width == 0:
        return 0, 0, np.zeros((0, 0), dtype=np.bool_)
    rows = _reached(top, height, samples.shape[0], size[0])
    columns = _reached(left, width, samples.shape[1], size[1])
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.bool_)
    above, share = _before(rows, samples.shape[0], size[0])
    first, last = int(above[0]), min(int(above[-1]) + 1, len(samples) - 1)
    lines = samples[first : last + 1]
    lines = cv2.resize(lines, (size[1], len(lines)), interpolation=cv2.INTER_LINEAR)
    wanted: Logits = np.ascontiguousarray(lines[:, columns], dtype=np.float32)
    _fill(mask, wanted, above - first, share, threshold)
    return columns.start, rows.start, mask


def to_image(low_res: Logits, frame: Frame, img_size: int, threshold: float) -> Mask:
    """One mask [m,m] of an embedding as bool [H,W] of the whole image, False beyond its region."""
    inside = enlarge(
        low_res,
        img_size=img_size,
        input_size=frame.input_size,
        size=frame.size,
        threshold=threshold,
    )
    if frame.region is None:
        return inside
    mask = np.zeros(frame.image_size, dtype=np.bool_)
    x0, y0, x1, y1 = frame.region
    mask[y0:y1, x0:x1] = inside
    return mask


def to_part(
    low_res: Logits, frame: Frame, img_size: int, threshold: float
) -> tuple[int, int, Mask]:
    """As `to_image`, but only a rectangle of the image that holds the mask: corner and pixels."""
    x, y, part = enlarged_part(
        low_res,
        img_size=img_size,
        input_size=frame.input_size,
        size=frame.size,
        threshold=threshold,
    )
    return frame.box[0] + x, frame.box[1] + y, part


def _reached(start: int, count: int, samples: int, pixels: int) -> slice:
    """Pixels that touch the samples ``start``..``start + count`` on one axis."""
    scale = pixels / samples
    first = int(np.floor((start - 0.5) * scale)) - 1
    last = int(np.ceil((start + count + 0.5) * scale)) + 1
    return slice(max(0, first), min(pixels, last))


def _before(pixels: slice, samples: int, total: int) -> tuple[NDArray[np.intp], Logits]:
    """For every pixel the sample before it, and the share of the one after that."""
    place = (np.arange(pixels.start, pixels.stop) + 0.5) * (samples / total) - 0.5
    place = np.clip(place, 0, samples - 1)
    before = np.floor(place).astype(np.intp)
    return before, (place - before).astype(np.float32)


def _fill(
    mask: Mask, lines: Logits, above: NDArray[np.intp], share: Logits, threshold: float
) -> None:
    """Interpolate between lines and write where the threshold is exceeded.

    ``a + share * (b - a) > threshold`` is asked as ``share * (b - a) > threshold - a``, so that
    all pixels between two lines have both sides but one product in common.
    """
    step, room, product = np.empty((3, lines.shape[1]), dtype=np.float32)
    current = -1
    for row, line, weight in zip(mask, above.tolist(), share, strict=True):
        if line != current:
            current = line
            np.subtract(lines[min(line + 1, len(lines) - 1)], lines[line], out=step)
            np.subtract(threshold, lines[line], out=room)
        np.multiply(step, weight, out=product)
        np.greater(product, room, out=row)
