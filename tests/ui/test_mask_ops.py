"""Mask corrections on small bitmaps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infosam_studio.ui import crops, mask_ops
from infosam_studio.ui.crops import Crop

BITMAPS = arrays.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def disc(radius: int, size: int = 60) -> Crop:
    y, x = np.mgrid[0:size, 0:size]
    return crops.from_mask((x - 30) ** 2 + (y - 30) ** 2 <= radius**2)


def test_holes_are_filled_and_nothing_else_changes() -> None:
    mask = crops.to_mask(disc(20), 60, 60)
    mask[28:33, 28:33] = False
    filled = mask_ops.fill_holes(crops.from_mask(mask))
    assert np.array_equal(crops.to_mask(filled, 60, 60), crops.to_mask(disc(20), 60, 60))


def test_specks_go_and_the_largest_part_stays() -> None:
    mask = crops.to_mask(disc(15), 60, 60)
    mask[2:4, 2:4] = True
    mask[30, 30] = False
    cleaned = mask_ops.remove_specks(crops.from_mask(mask))
    assert np.array_equal(crops.to_mask(cleaned, 60, 60), crops.to_mask(disc(15), 60, 60))


def test_largest_part() -> None:
    mask = np.zeros((20, 40), bool)
    mask[5:10, 5:10] = True
    mask[3:15, 20:38] = True
    assert mask_ops.largest_part(crops.from_mask(mask)).rect == (20, 3, 38, 15)


def test_grow_and_shrink_are_about_inverse() -> None:
    before = disc(18)
    grown = mask_ops.grow(before, 3)
    assert grown.area > before.area
    back = mask_ops.grow(grown, -3)
    assert abs(back.area - before.area) <= 0.02 * before.area


def test_smooth_keeps_the_area() -> None:
    before = disc(20)
    after = mask_ops.smooth(before)
    assert abs(after.area - before.area) < 0.03 * before.area


def test_cut_gives_parts_that_add_up() -> None:
    before = disc(20)
    parts = mask_ops.cut(before, [(5.0, 31.0), (55.0, 29.0)])
    assert len(parts) == 2
    union = crops.combine(parts[0], parts[1], "union")
    assert np.array_equal(union.pixels, before.pixels)
    assert crops.combine(parts[0], parts[1], "intersect").empty


def test_a_line_beside_the_object_cuts_nothing() -> None:
    assert len(mask_ops.cut(disc(10), [(0.0, 0.0), (59.0, 2.0)])) == 1


def test_polygon_of_a_pixel_rectangle_is_exact() -> None:
    crop = mask_ops.polygon_mask([(3.0, 4.0), (13.0, 4.0), (13.0, 9.0), (3.0, 9.0)], 40, 40)
    assert crop.rect == (3, 4, 13, 9)
    assert crop.area == 50


def test_polygon_is_clipped_to_the_image() -> None:
    crop = mask_ops.polygon_mask([(-5.0, -5.0), (60.0, -5.0), (60.0, 60.0), (-5.0, 60.0)], 40, 30)
    assert crop.rect == (0, 0, 40, 30)


@given(BITMAPS, BITMAPS, st.integers(-9, 9), st.integers(-9, 9))
def test_combine_equals_numpy(first: np.ndarray, second: np.ndarray, dx: int, dy: int) -> None:
    a = crops.from_mask(first, x0=20, y0=20)
    b = crops.from_mask(second, x0=20 + dx, y0=20 + dy)
    whole_a, whole_b = crops.to_mask(a, 60, 60), crops.to_mask(b, 60, 60)
    for name, wanted in (
        ("union", whole_a | whole_b),
        ("subtract", whole_a & ~whole_b),
        ("intersect", whole_a & whole_b),
    ):
        assert np.array_equal(crops.to_mask(crops.combine(a, b, name), 60, 60), wanted)


@given(BITMAPS)
def test_crop_round_trip_through_storage(mask: np.ndarray) -> None:
    height, width = mask.shape
    rle = crops.to_rle(crops.from_mask(mask), height, width)
    assert np.array_equal(crops.to_mask(crops.from_rle(rle), height, width), mask)
