"""Which part of a large image the model looks at: one choice for everybody.

The window chooses from what the person looks at; `predict`, training samples and evaluation have
no view and take the one a person would have who zoomed in on the object.
"""

from __future__ import annotations

Region = tuple[int, int, int, int]

# The region is this much wider than the view, so that objects at its edge are whole.
MARGIN = 1.3
# A region is worth its encoding when it shows the model this much more detail.
WORTH = 1.6
# Without a view: somebody who zooms in on an object sees this many times its longer side.
ZOOMED = 2.3
STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)


def choose_region(
    seen: tuple[float, float, float, float], width: int, height: int, input_size: int
) -> Region | None:
    """The square to encode for the view ``seen`` (x0, y0, x1, y1 in image pixels).

    None where the whole image serves as well. Sides come in steps and corners on a grid, so
    that small movements of the view keep the same region and its embedding.
    """
    longest = max(width, height)
    if longest <= input_size * WORTH or min(width, height) < 16:
        return None
    x0, y0 = max(0.0, seen[0]), max(0.0, seen[1])
    x1, y1 = min(float(width), seen[2]), min(float(height), seen[3])
    if x1 <= x0 or y1 <= y0:
        return None
    wanted = max(x1 - x0, y1 - y0) * MARGIN
    side = next((round(input_size * one) for one in STEPS if input_size * one >= wanted), longest)
    if side * WORTH > longest:
        return None
    across, down = min(side, width), min(side, height)
    left = _snap((x0 + x1 - across) / 2, width - across, side // 4)
    top = _snap((y0 + y1 - down) / 2, height - down, side // 4)
    return left, top, left + across, top + down


def region_around(
    box: tuple[float, float, float, float], width: int, height: int, input_size: int
) -> Region | None:
    """The square to encode for an object or prompt inside ``box`` (x0, y0, x1, y1, image pixels).

    None where the whole image serves as well. A lone click is a box without size: it gets the
    smallest region there is, where an image pixel is a pixel of the model.
    """
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = max(1.0, box[2] - box[0], box[3] - box[1]) * ZOOMED / 2
    return choose_region((x - reach, y - reach, x + reach, y + reach), width, height, input_size)


def _snap(start: float, last: int, grid: int) -> int:
    """The nearest multiple of ``grid`` inside 0..``last`` (its end counts as one)."""
    wanted = max(0.0, min(float(last), start))
    snapped = round(wanted / grid) * grid
    return last if snapped > last or last - wanted < grid / 2 else int(snapped)


def covers(region: Region, box: tuple[float, float, float, float]) -> bool:
    """Whether a box lies inside the region."""
    return (
        region[0] <= box[0] and region[1] <= box[1] and box[2] <= region[2] and box[3] <= region[3]
    )
