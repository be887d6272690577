"""Polygons along pixel edges: exactly what a bitmap is, with holes and parts.

Coordinates here are edges: the pixel in column x and row y is the square [x, x+1] x [y, y+1].
(Prompts count pixel centres as whole numbers instead; a polygon drawn on those shifts by 0.5.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from infosam_studio.annotation._cv2 import cv2

Ring = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# At a corner of the pixel grid meet four pixels; their pattern (top left 1, top right 2, bottom
# left 4, bottom right 8) says which outlines turn there. Two pixels that touch only diagonally
# (6, 9) are two turns, because parts are joined through edges. Per pattern and turn: which pixel
# of the part lies at the turn (0..3 in the order above), whether the vertical arm goes down, and
# whether the outline, which keeps the part on its right, leaves horizontally.
# Where there are two turns the one with its arm to the left comes first.
_TURNS = {
    1: [(0, False, True)],
    2: [(1, False, False)],
    4: [(2, True, False)],
    8: [(3, True, True)],
    14: [(3, False, False)],
    13: [(3, False, True)],
    11: [(0, True, True)],
    7: [(0, True, False)],
    6: [(2, True, False), (1, False, False)],
    9: [(0, False, True), (3, True, True)],
}
_COUNT = np.zeros(256, np.uint8)  # as long as cv2.LUT wants it
_PIXEL = np.zeros((16, 2), np.int64)
_DOWN = np.zeros((16, 2), bool)
_LEAVES_SIDEWAYS = np.zeros((16, 2), bool)
for _pattern, _turns in _TURNS.items():
    _COUNT[_pattern] = len(_turns)
    for _k, (_pixel, _is_down, _sideways) in enumerate(_turns):
        _PIXEL[_pattern, _k] = _pixel
        _DOWN[_pattern, _k] = _is_down
        _LEAVES_SIDEWAYS[_pattern, _k] = _sideways
_HOLE_START = 7  # the top left corner of a hole; that of a part is 8 or the second turn of 9


@dataclass(frozen=True)
class Polygon:
    """One part: its outline and the outlines of its holes.

    Each ring is float64 [N, 2] (x, y), closed without repeating its first point. Rings from
    ``to_polygons`` run clockwise on the screen, those of holes counter-clockwise.
    """

    exterior: Ring
    holes: list[Ring] = field(default_factory=list)


def to_polygons(mask: npt.NDArray[np.bool_], *, offset: tuple[int, int] = (0, 0)) -> list[Polygon]:
    """The outlines of a [H, W] bitmap along its pixel edges, one polygon per part.

    Parts are joined through pixel edges (4-connected). ``from_polygons`` gives back the very
    same bitmap. ``offset`` (x, y) is added to every point.
    """
    bitmap = np.asarray(mask, dtype=bool)
    rows = np.flatnonzero(bitmap.any(axis=1)) if bitmap.size else np.empty(0, np.intp)
    if rows.size == 0:
        return []
    columns = np.flatnonzero(bitmap.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = bitmap[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].view(np.uint8)
    shift = np.array([left + offset[0], top + offset[1]], np.float64)
    _, labels = cv2.connectedComponents(part, connectivity=4)
    return _assemble(np.pad(part, 1), np.asarray(labels, np.int32), shift)


def _assemble(
    padded: npt.NDArray[np.uint8], labels: npt.NDArray[np.int32], shift: Ring
) -> list[Polygon]:
    """Polygons of a bitmap with a border of zeros; ``labels`` numbers its parts from 1."""
    pattern = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
    where = np.flatnonzero(cv2.LUT(pattern, _COUNT))
    repeats = _COUNT[pattern.reshape(-1)[where]]
    corner = np.repeat(where, repeats)
    second = np.zeros(corner.size, np.int64)
    second[1:] = corner[1:] == corner[:-1]
    kind = pattern.reshape(-1)[corner]
    y, x = np.divmod(corner, pattern.shape[1])
    following = _following(x, y, _DOWN[kind, second], _LEAVES_SIDEWAYS[kind, second])
    pixel = _PIXEL[kind, second]
    label = labels[
        np.clip(y - 1 + pixel // 2, 0, labels.shape[0] - 1),
        np.clip(x - 1 + pixel % 2, 0, labels.shape[1] - 1),
    ]
    points = np.stack([x, y], axis=1) + shift
    exteriors: dict[int, Polygon] = {}
    holes: list[tuple[int, Ring]] = []
    for loop in _loops(following):
        start = loop[0]
        ring = points[loop]
        if kind[start] == _HOLE_START:
            holes.append((int(label[start]), ring))
        else:
            exteriors[int(label[start])] = Polygon(ring)
    for owner, ring in holes:
        exteriors[owner].holes.append(ring)
    return list(exteriors.values())


def _following(
    x: Ints, y: Ints, down: npt.NDArray[np.bool_], sideways: npt.NDArray[np.bool_]
) -> Ints:
    """For every turn the next one along its outline; turns come sorted by row, then column.

    Along a row of the grid the turns pair up, first with second and so on, each pair bounding
    one straight piece of outline; down a column likewise.
    """
    index = np.arange(x.size)
    order = np.lexsort((down, y, x))
    vertical = np.empty_like(order)
    vertical[order[0::2]] = order[1::2]
    vertical[order[1::2]] = order[0::2]
    return np.where(sideways, index ^ 1, vertical)


def _loops(following: Ints) -> Iterable[list[int]]:
    """The cycles of a permutation, each from its smallest member on."""
    after = following.tolist()
    seen = bytearray(len(after))
    for start in range(len(after)):
        if seen[start]:
            continue
        loop = []
        at = start
        while not seen[at]:
            seen[at] = 1
            loop.append(at)
            at = after[at]
        yield loop


def from_polygons(polygons: Iterable[Polygon], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The [height, width] bitmap of all polygons together.

    A pixel is inside where its centre is (even-odd within one polygon, so holes stay open and
    the direction of rings does not matter; several polygons are united). A centre exactly on an
    edge belongs to the side right of it, so polygons sharing an edge never overlap. Parts
    outside the image are cut off; ValueError where a coordinate is not finite.
    """
    out = np.zeros((height, width), bool)
    for polygon in polygons:
        _fill([polygon.exterior, *polygon.holes], out)
    return out


def _fill(rings: Sequence[Ring], out: npt.NDArray[np.bool_]) -> None:
    height, width = out.shape
    ends = [_edges(ring) for ring in rings if len(ring) >= 3]
    if not ends:
        return
    p = np.concatenate([a for a, _ in ends])
    q = np.concatenate([b for _, b in ends])
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise ValueError("a polygon has a coordinate that is not a finite number")
    # Rows whose centre lies between the edge's ends, the lower one left out.
    first = np.clip(np.ceil(np.minimum(p[:, 1], q[:, 1]) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(p[:, 1], q[:, 1]) - 0.5), 0, height).astype(np.int64)
    crossed = last - first
    if not crossed.any():
        return
    top, bottom = int(first[crossed > 0].min()), int(last.max())
    edge = np.repeat(np.arange(len(p)), crossed)
    row = np.arange(edge.size) - np.repeat(np.cumsum(crossed) - crossed, crossed) + first[edge]
    a, b = p[edge], q[edge]
    x = a[:, 0] + (row + 0.5 - a[:, 1]) * ((b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1]))
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    # Every row is crossed an even number of times: sorted, the crossings switch between outside
    # and inside. One more column than the image has takes those beyond its right border.
    stride = width + 1
    switches = np.sort((row - top) * stride + column)
    total = (bottom - top) * stride
    runs = np.diff(np.concatenate([[0], switches, [total]]))
    flat = np.repeat((np.arange(runs.size) & 1).astype(bool), runs)
    out[top:bottom] |= flat.reshape(bottom - top, stride)[:, :width]


def _edges(ring: Ring) -> tuple[Ring, Ring]:
    points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    return points, np.roll(points, -1, axis=0)


def simplify(polygon: Polygon, tolerance: float) -> Polygon:
    """The polygon with fewer points, none further than ``tolerance`` pixels off (Douglas-Peucker).

    Rings that would collapse below three points are kept as they are (the outline) or dropped
    (holes). Not exact any more: for vertex editing and for formats without masks.
    """
    exterior = _simplify_ring(polygon.exterior, tolerance)
    holes = [_simplify_ring(ring, tolerance) for ring in polygon.holes]
    return Polygon(
        polygon.exterior if len(exterior) < 3 else exterior,
        [ring for ring in holes if len(ring) >= 3],
    )


def _simplify_ring(ring: Ring, tolerance: float) -> Ring:
    # OpenCV works in float32: around the ring's own corner nothing is lost on large images.
    origin = ring.min(axis=0)
    points = (ring - origin).astype(np.float32).reshape(-1, 1, 2)
    reduced = cv2.approxPolyDP(points, tolerance, True).reshape(-1, 2)
    moved: Ring = reduced.astype(np.float64) + origin
    return moved
