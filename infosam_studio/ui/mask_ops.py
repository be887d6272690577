"""Corrections of a mask at full resolution: holes, specks, smoothing, growing, cutting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.polygons import Polygon, from_polygons
from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop

SPECK_SHARE = 0.02
SMOOTH_RADIUS = 2


def _padded(crop: Crop, margin: int) -> NDArray[np.uint8]:
    return np.pad(crop.pixels.view(np.uint8), margin)


def _cropped(pixels: NDArray[np.uint8], crop: Crop, margin: int) -> Crop:
    return crops.from_mask(pixels.astype(bool), x0=crop.x0 - margin, y0=crop.y0 - margin)


def clip(crop: Crop, width: int, height: int) -> Crop:
    """The part of a mask inside the image."""
    common = crops.intersect(crop.rect, (0, 0, width, height)) if not crop.empty else None
    if common is None:
        return crops.EMPTY
    return crops.from_mask(crops.window(crop, common), x0=common[0], y0=common[1])


def fill_holes(crop: Crop) -> Crop:
    """Fill everything the mask encloses."""
    if crop.empty:
        return crop
    pixels = _padded(crop, 1)
    outside = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 2), np.uint8)
    flooded = pixels.copy()
    cv2.floodFill(flooded, outside, (0, 0), 2)
    return _cropped((flooded != 2).astype(np.uint8), crop, 1)


def remove_specks(crop: Crop) -> Crop:
    """Drop parts under 2 % of the mask and fill holes as small; the largest part always stays."""
    if crop.empty:
        return crop
    least = max(4, round(crop.area * SPECK_SHARE))
    pixels = _without_small(_padded(crop, 1), least)
    holes = _without_small(1 - pixels, least)
    return _cropped(1 - holes, crop, 1)


def _without_small(pixels: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA]
    keep = areas >= least
    if count > 1:
        keep[1 + int(np.argmax(areas[1:]))] = True
    keep[0] = False
    return keep[labels].astype(np.uint8)


def largest_part(crop: Crop) -> Crop:
    """Only the largest connected part."""
    if crop.empty:
        return crop
    return _cropped(_without_small(_padded(crop, 1), crop.pixels.size + 1), crop, 1)


def smooth(crop: Crop) -> Crop:
    """Round the outline, keeping the area about the same."""
    if crop.empty:
        return crop
    margin = 3 * SMOOTH_RADIUS
    soft = cv2.GaussianBlur(_padded(crop, margin).astype(np.float32), (0, 0), SMOOTH_RADIUS)
    result = _cropped((soft >= 0.5).astype(np.uint8), crop, margin)
    return result if not result.empty else crop


def grow(crop: Crop, pixels: int) -> Crop:
    """Grow (or with a negative number shrink) by this many pixels all around."""
    if crop.empty or pixels == 0:
        return crop
    margin = abs(pixels) + 1
    side = 2 * abs(pixels) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    change = cv2.dilate if pixels > 0 else cv2.erode
    return _cropped(np.asarray(change(_padded(crop, margin), kernel), np.uint8), crop, margin)


def cut(crop: Crop, line: Sequence[tuple[float, float]]) -> list[Crop]:
    """The parts that a cut along ``line`` (image pixels) leaves; every pixel stays in one.

    One part where the line does not divide the mask.
    """
    if crop.empty or len(line) < 2:
        return [crop]
    knife = np.zeros(crop.pixels.shape, np.uint8)
    points = np.array(line) - [crop.x0 + 0.5, crop.y0 + 0.5]
    cv2.polylines(knife, [np.round(points).astype(np.int32)], False, 1, 1, cv2.LINE_4)
    pixels = crop.pixels.view(np.uint8)
    before, _ = cv2.connectedComponents(pixels, connectivity=4)
    count, labels = cv2.connectedComponents(pixels & ~knife & 1, connectivity=4)
    if count <= before:
        return [crop]
    return _parts(crop, np.asarray(labels), knife)


def _parts(crop: Crop, labels: NDArray[np.int32], knife: NDArray[np.uint8]) -> list[Crop]:
    """One crop per label; pixels under the knife go to the nearest part."""
    lost = crop.pixels & (labels == 0)
    _, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Each source pixel has its own number: look up which part it belongs to.
    sources = np.zeros(int(nearest.max()) + 1, np.int32)
    sources[nearest[labels > 0]] = labels[labels > 0]
    full = np.where(lost, sources[nearest], labels)
    found = [
        crops.from_mask(full == value, x0=crop.x0, y0=crop.y0)
        for value in range(1, int(full.max()) + 1)
    ]
    return sorted((one for one in found if not one.empty), key=lambda one: -one.area)


def polygon_mask(points: Sequence[tuple[float, float]], width: int, height: int) -> Crop:
    """The pixels whose centres lie inside a polygon, clipped to the image."""
    if len(points) < 3:
        return crops.EMPTY
    array = np.array(points, np.float64)
    x0, y0 = np.floor(array.min(axis=0)).astype(int) - 1
    x1, y1 = np.ceil(array.max(axis=0)).astype(int) + 1
    outline = Polygon(array - [x0, y0], [])
    inside = from_polygons([outline], int(y1 - y0) + 1, int(x1 - x0) + 1)
    crop = crops.from_mask(inside, x0=int(x0), y0=int(y0))
    return clip(crop, width, height)


OPERATIONS = {
    "fill_holes": ("Fill holes", fill_holes),
    "remove_specks": ("Remove specks", remove_specks),
    "smooth": ("Smooth", smooth),
    "largest_part": ("Keep largest part", largest_part),
    "grow": ("Grow", lambda crop: grow(crop, 1)),
    "shrink": ("Shrink", lambda crop: grow(crop, -1)),
}
