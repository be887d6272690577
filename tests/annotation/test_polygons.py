"""Polygons along pixel edges: exact both ways, with holes and parts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from infosam_studio.annotation import masks
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.polygons import Polygon, from_polygons, simplify, to_polygons

bitmaps = hnp.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def bitmap_of(text: str) -> np.ndarray:
    return np.array([[c == "#" for c in line] for line in text.split()], bool)


def signed_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


@given(bitmaps)
def test_bitmap_to_polygons_and_back_is_exact(bitmap: np.ndarray) -> None:
    polygons = to_polygons(bitmap)

    assert np.array_equal(from_polygons(polygons, *bitmap.shape), bitmap)


@given(bitmaps)
def test_one_polygon_per_part_and_one_ring_per_hole(bitmap: np.ndarray) -> None:
    polygons = to_polygons(bitmap)
    parts, _ = cv2.connectedComponents(bitmap.astype(np.uint8), connectivity=4)
    outside, _ = cv2.connectedComponents((~np.pad(bitmap, 1)).astype(np.uint8), connectivity=8)

    assert len(polygons) == parts - 1
    assert sum(len(polygon.holes) for polygon in polygons) == outside - 2
    for polygon in polygons:
        assert signed_area(polygon.exterior) > 0
        assert all(signed_area(hole) < 0 for hole in polygon.holes)
        # What the outline encloses, without the holes, is the part itself.
        own = from_polygons([polygon], *bitmap.shape)
        rings = [polygon.exterior, *polygon.holes]
        assert int(own.sum()) == round(sum(signed_area(ring) for ring in rings))


def test_rings_have_corners_only() -> None:
    (polygon,) = to_polygons(
        bitmap_of(
            """
            .......
            .#####.
            .#...#.
            .#.###.
            .###...
            """
        )
    )

    assert polygon.exterior.dtype == np.float64
    assert polygon.exterior.tolist() == [
        [1, 1],
        [6, 1],
        [6, 4],
        [4, 4],
        [4, 5],
        [1, 5],
    ]
    assert [hole.tolist() for hole in polygon.holes] == [
        [[2, 2], [2, 4], [3, 4], [3, 3], [5, 3], [5, 2]]
    ]


def test_diagonal_neighbours_are_two_parts_and_islands_in_holes_are_parts() -> None:
    assert len(to_polygons(bitmap_of("#. .#"))) == 2
    ring_with_island = bitmap_of("##### #...# #.#.# #...# #####")
    assert sorted(len(p.holes) for p in to_polygons(ring_with_island)) == [0, 1]


def test_offset_and_run_length_masks_give_the_same_outlines() -> None:
    bitmap = np.zeros((30, 40), bool)
    bitmap[10:20, 15:22] = True
    bitmap[12, 17] = False
    window = to_polygons(bitmap[8:25, 12:30], offset=(12, 8))

    for found in (to_polygons(bitmap), masks.rle_polygons(masks.encode(bitmap))):
        assert len(found) == len(window) == 1
        assert np.array_equal(found[0].exterior, window[0].exterior)
        assert np.array_equal(found[0].holes[0], window[0].holes[0])
    assert to_polygons(np.zeros((3, 4), bool)) == []
    assert masks.rle_polygons(masks.empty(3, 4)) == []


@given(
    hnp.arrays(np.float64, (5, 2), elements=st.floats(-5, 25, width=32)),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_a_pixel_is_inside_where_its_centre_is(ring: np.ndarray, height: int, width: int) -> None:
    bitmap = from_polygons([Polygon(ring)], height, width)

    for y in range(height):
        for x in range(width):
            assert bitmap[y, x] == centre_inside(ring, x + 0.5, y + 0.5), (x, y)


def centre_inside(ring: np.ndarray, px: float, py: float) -> bool:
    """Even-odd by counting the edges left of the point, one by one."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if (y0 <= py) != (y1 <= py):
            # The same order of operations as under test: a centre within rounding of an edge
            # must not make the test fail.
            crossings += x0 + (py - y0) * ((x1 - x0) / (y1 - y0)) <= px
    return crossings % 2 == 1


def test_neighbouring_polygons_share_no_pixel_and_leave_none_out() -> None:
    generator = np.random.default_rng(3)
    for _ in range(50):
        apex = generator.uniform(2, 18, 2)
        corners = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)
        bitmaps = [
            from_polygons([Polygon(np.array([corners[k - 1], corners[k], apex]))], 20, 20)
            for k in range(4)
        ]
        assert (np.sum(bitmaps, axis=0) == 1).all()


def test_several_polygons_are_united_and_short_rings_ignored() -> None:
    square = np.array([[1, 1], [4, 1], [4, 4], [1, 4]], float)
    bitmap = from_polygons(
        [Polygon(square), Polygon(square + 1), Polygon(square[:2]), Polygon(np.empty((0, 2)))],
        8,
        8,
    )

    assert int(bitmap.sum()) == 9 + 9 - 4


def test_coordinates_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        from_polygons([Polygon(np.array([[0, 0], [np.nan, 4], [4, 4]]))], 5, 5)


def test_simplify_stays_within_its_tolerance() -> None:
    y, x = np.mgrid[:200, :200]
    bitmap = (y - 100) ** 2 + (x - 90) ** 2 < 80**2
    bitmap &= (y - 100) ** 2 + (x - 90) ** 2 > 30**2
    bitmap[100, 80] = bitmap[0, 0] = True
    exact = max(to_polygons(bitmap), key=lambda p: len(p.exterior))
    fewer = simplify(exact, 1.5)

    assert len(fewer.exterior) < len(exact.exterior) / 4
    before, after = (from_polygons([p], 200, 200) for p in (exact, fewer))
    assert (before & after).sum() / (before | after).sum() > 0.97
    assert (
        len(simplify(Polygon(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)), 9).exterior) == 4
    )
