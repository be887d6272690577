"""Which part of an image the model looks at: one choice for everybody.

The window chooses from what the person looks at; `predict`, training samples and evaluation have
no view and take the one a person would have who zoomed in on the object. A region may be smaller
than the model's input and is enlarged then: what is a cell of the embedding on the whole image
becomes many, and that shows in the mask even where the image has no finer pixels to give.
"""

from __future__ import annotations

Region = tuple[int, int, int, int]

# The region is this much wider than the view, so that objects at its edge are whole.
MARGIN = 1.3
# A region is worth its encoding when it shows the model this much more detail.
WORTH = 1.6
# One nearer look at an object and two wider ones: each is an encode, and some things never end.
MOST_LOOKS = 3
# Without a view: somebody who zooms in on an object sees this many times its longer side.
ZOOMED = 2.3
# Sides by the model's input. Those below 1 enlarge: with the starter (512 pixels) that was worth a
# click or two per object on nuclei and leaves, and under a quarter nothing more was gained. Models
# of larger input see finer from the start, and take seconds for each look.
ENLARGED = (0.25, 0.5)
ENLARGES_UP_TO = 512
STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0)


def choose_region(
    seen: tuple[float, float, float, float], width: int, height: int, input_size: int
) -> Region | None:
    """The square to encode for the view ``seen`` (x0, y0, x1, y1 in image pixels).

    None where the whole image serves as well. Sides come in steps and corners on a grid, so
    that small movements of the view keep the same region and its embedding.
    """
    longest = max(width, height)
    if min(width, height) < 16:
        return None
    x0, y0 = max(0.0, seen[0]), max(0.0, seen[1])
    x1, y1 = min(float(width), seen[2]), min(float(height), seen[3])
    if x1 <= x0 or y1 <= y0:
        return None
    wanted = max(x1 - x0, y1 - y0) * MARGIN
    steps = (*ENLARGED, *STEPS) if input_size <= ENLARGES_UP_TO else STEPS
    side = next((round(input_size * one) for one in steps if input_size * one >= wanted), longest)
    if side * WORTH > longest:
        return None
    across, down = min(side, width), min(side, height)
    left = _snap((x0 + x1 - across) / 2, width - across, side // 4)
    top = _snap((y0 + y1 - down) / 2, height - down, side // 4)
    return left, top, left + across, top + down


def region_around(
    box: tuple[float, float, float, float], width: int, height: int, input_size: int
) -> Region | None:
    """The square to encode for an object inside ``box`` (x0, y0, x1, y1, image pixels).

    None where the whole image serves as well.
    """
    return choose_region(_view_of(box, 0.0), width, height, input_size)


def region_holding(
    box: tuple[float, float, float, float], width: int, height: int, input_size: int
) -> Region | None:
    """`region_around`, and None too where that would cut the object off."""
    region = region_around(box, width, height, input_size)
    return region if region is not None and covers(region, box) else None


def region_of_clicks(
    box: tuple[float, float, float, float], width: int, height: int, input_size: int
) -> Region | None:
    """The square to encode for clicks that lie inside ``box``.

    They do not tell how large the object is, so nothing is enlarged: in the smallest region an
    image pixel is a pixel of the model.
    """
    return choose_region(_view_of(box, 0.99 * input_size / MARGIN), width, height, input_size)


def look_again(
    region: Region | None, rect: Region, width: int, height: int, input_size: int, *, looks: int
) -> Region | None:
    """What to look at instead, once a mask within ``rect`` has come of ``region``.

    The same region where it serves. A mask that ends where the region does asks for a wider one;
    a small mask, the first time (``looks`` counts), for a nearer one.
    """
    if looks >= MOST_LOOKS:
        return region
    if region is not None and _is_cut_off(region, rect, width, height):
        return choose_region(region, width, height, input_size)
    return region if looks else nearer_region(region, rect, width, height, input_size)


def nearer_region(
    region: Region | None, rect: Region, width: int, height: int, input_size: int
) -> Region | None:
    """The region around an object within ``rect`` where that shows much more than ``region``."""
    wanted = region_around(rect, width, height, input_size)
    if wanted is None or not covers(wanted, rect):
        return region
    now = max(width, height) if region is None else max(_sides(region))
    return wanted if max(_sides(wanted)) * WORTH <= now else region


def _sides(region: Region) -> tuple[int, int]:
    return region[2] - region[0], region[3] - region[1]


def _is_cut_off(region: Region, rect: Region, width: int, height: int) -> bool:
    """Whether a mask within ``rect`` reaches a side of ``region`` where the image goes on."""
    return (
        (rect[0] <= region[0] and region[0] > 0)
        or (rect[1] <= region[1] and region[1] > 0)
        or (rect[2] >= region[2] and region[2] < width)
        or (rect[3] >= region[3] and region[3] < height)
    )


def _view_of(
    box: tuple[float, float, float, float], least: float
) -> tuple[float, float, float, float]:
    """What somebody sees who has zoomed in on ``box``, at least ``least`` pixels wide."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = max(least, max(1.0, box[2] - box[0], box[3] - box[1]) * ZOOMED) / 2
    return x - reach, y - reach, x + reach, y + reach


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
