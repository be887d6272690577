"""Run lengths against pycocotools and against bitmaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from infosam_studio.annotation import masks
from infosam_studio.interchange import runs

BITMAPS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
COORDINATES = st.floats(-9, 30, allow_nan=False, width=32)
POLYGONS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=9)


@given(POLYGONS, st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=120, deadline=None)
def test_polygons_are_filled_as_pycocotools_fills_them(
    points: list[tuple[float, float]], height: int, width: int
) -> None:
    expected = coco.frPyObjects([[v for p in points for v in p]], height, width)[0]
    mask = runs.polygons_rle([np.array(points, np.float64)], height, width)
    assert mask.counts == expected["counts"].decode()


@given(st.lists(POLYGONS, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_parts_are_united_as_pycocotools_merges_them(
    parts: list[list[tuple[float, float]]],
) -> None:
    flat = [[v for p in part for v in p] for part in parts]
    expected = coco.decode(coco.merge(coco.frPyObjects(flat, 15, 17)))
    mask = runs.polygons_rle([np.array(p, np.float64) for p in parts], 15, 17)
    assert np.array_equal(masks.decode(mask), expected)


@given(st.lists(st.tuples(st.integers(-3, 9), st.integers(-3, 9)), min_size=2, max_size=8))
@settings(max_examples=80, deadline=None)
def test_outlines_along_pixel_edges_agree_with_the_general_way(
    corners: list[tuple[int, int]],
) -> None:
    stairs = [p for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
              for p in (a, (b[0], a[1]))]  # fmt: skip
    points = np.array(stairs, np.float64)
    expected = coco.frPyObjects([points.ravel().tolist()], 6, 7)[0]
    assert runs.polygons_rle([points], 6, 7).counts == expected["counts"].decode()


@given(BITMAPS)
@settings(max_examples=80, deadline=None)
def test_a_mask_and_its_toggles_say_the_same(bitmap: np.ndarray) -> None:
    mask = masks.encode(bitmap)
    edges = runs.toggles(mask)
    assert runs.from_toggles(edges, *bitmap.shape) == mask
    assert runs.pixel_count(edges) == bitmap.sum() == coco.area(mask.to_coco())
    assert list(runs.box(edges, bitmap.shape[0])) == coco.toBbox(mask.to_coco()).tolist()
    flat = np.zeros(bitmap.size, bool)
    flat[runs.pixels(edges)] = True
    assert np.array_equal(flat.reshape(bitmap.shape[::-1]).T, bitmap)


@given(st.lists(hnp.arrays(bool, (7, 5)), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_set_operations_agree_with_bitmaps(bitmaps: list[np.ndarray]) -> None:
    edges = [runs.toggles(masks.encode(b)) for b in bitmaps]

    def bitmap(found: runs.Toggles) -> np.ndarray:
        return masks.decode(runs.from_toggles(found, 7, 5))

    assert np.array_equal(bitmap(runs.union(edges)), np.logical_or.reduce(bitmaps))
    without = bitmaps[0] & ~bitmaps[-1]
    assert np.array_equal(bitmap(runs.subtract(edges[0], edges[-1])), without)
    assert runs.are_apart(edges) == (sum(b.astype(int) for b in bitmaps).max() <= 1)


@given(hnp.arrays(np.uint16, (9, 11), elements=st.integers(0, 4)))
@settings(max_examples=50, deadline=None)
def test_a_label_map_splits_into_its_values(values: np.ndarray) -> None:
    found = runs.split_label_map(values)
    assert sorted(found) == [v for v in np.unique(values).tolist() if v]
    for value, mask in found.items():
        assert np.array_equal(masks.decode(mask), values == value)


def test_an_endless_outline_is_refused() -> None:
    points = np.array([[0.0, 0.5], [9e6, 0.5], [9e6, 3.0]])
    with pytest.raises(ValueError, match="too long"):
        runs.polygon_toggles(points, 10, 10)
