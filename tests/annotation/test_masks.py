"""Masks against pycocotools, and against themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import MaskError, Rle

sides = st.integers(1, 24)
bitmaps = hnp.arrays(bool, st.tuples(sides, sides), elements=st.booleans())


def oracle(bitmap: np.ndarray) -> dict[str, Any]:
    return coco.encode(np.asfortranarray(bitmap.astype(np.uint8)))


@st.composite
def two_bitmaps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(sides, sides))
    return draw(hnp.arrays(bool, shape)), draw(hnp.arrays(bool, shape))


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    bitmap = draw(bitmaps)
    height, width = bitmap.shape
    x0, x1 = sorted(draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    y0, y1 = sorted(draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    return bitmap, (x0, y0, x1, y1)


@given(bitmaps)
def test_text_area_and_box_are_those_of_pycocotools(bitmap: np.ndarray) -> None:
    rle, reference = masks.encode(bitmap), oracle(bitmap)

    assert rle.counts == reference["counts"].decode()
    assert np.array_equal(masks.decode(rle), bitmap)
    assert masks.area(rle) == coco.area(reference)
    assert list(masks.bbox(rle)) == coco.toBbox(reference).tolist()


@given(bitmaps)
def test_memory_order_and_type_do_not_matter(bitmap: np.ndarray) -> None:
    rle = masks.encode(bitmap)

    assert masks.encode(np.asfortranarray(bitmap)) == rle
    assert masks.encode(bitmap.astype(np.uint8) * 255) == rle
    assert masks.encode(bitmap.astype(np.float32)) == rle
    assert masks.encode(np.repeat(bitmap, 2, axis=1)[:, ::2]) == rle


@given(two_bitmaps())
def test_overlap_is_that_of_pycocotools(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = (masks.encode(bitmap) for bitmap in pair)

    assert masks.intersection(a, b) == int((pair[0] & pair[1]).sum())
    expected = coco.iou([oracle(pair[0])], [oracle(pair[1])], [0])[0, 0]
    assert masks.iou(a, b) == pytest.approx(expected, abs=1e-12)


@given(windows())
def test_windows_are_parts_of_the_whole(case: tuple[np.ndarray, tuple[int, int, int, int]]) -> None:
    bitmap, (x0, y0, x1, y1) = case
    height, width = bitmap.shape
    window = masks.decode_window(masks.encode(bitmap), x0, y0, x1, y1)

    assert np.array_equal(window, bitmap[y0:y1, x0:x1])
    alone = np.zeros_like(bitmap)
    alone[y0:y1, x0:x1] = window
    assert masks.encode_window(window, x0, y0, height, width) == masks.encode(alone)


@given(bitmaps)
def test_coco_objects_of_both_kinds_are_read(bitmap: np.ndarray) -> None:
    rle = masks.encode(bitmap)
    size = list(bitmap.shape)

    assert Rle.from_coco(json.loads(json.dumps(rle.to_coco()))) == rle
    assert Rle.from_coco({"size": size, "counts": rle.runs().tolist()}) == rle
    assert Rle.from_coco({"size": size, "counts": rle.counts.encode()}) == rle


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**24 - 1), min_size=1, max_size=30))
def test_long_runs_are_written_as_pycocotools_writes_them(runs: list[int]) -> None:
    uncompressed = {"size": [1, sum(runs)], "counts": runs}
    # pycocotools reserves six characters a run and writes past them for longer runs than these,
    # which corrupts the heap of the whole test process.
    reference = coco.frPyObjects(uncompressed, 1, 1)["counts"].decode()

    assert Rle.from_coco(uncompressed).counts == reference
    assert Rle(1, sum(runs), reference).runs().tolist() == runs


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=30))
def test_runs_longer_than_pycocotools_can_write_come_back(runs: list[int]) -> None:
    rle = Rle.from_coco({"size": [1, sum(runs)], "counts": runs})

    assert rle.runs().tolist() == runs


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": "\x00"},
        {"size": [2, 2], "counts": "é"},
        {"size": [2, 2], "counts": "o"},
        {"size": [2, 2], "counts": "o" * 40},
        {"size": [2, 2], "counts": ""},
        {"size": [2], "counts": "4"},
        {"size": [2, 2], "counts": [[0, 0, 1, 1]]},
        {"size": [2, 2], "counts": None},
        {"counts": "4"},
    ],
)
def test_unsound_texts_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(MaskError):
        Rle.from_coco(broken)


def test_what_has_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="two axes"):
        masks.encode(np.zeros((2, 2, 2), bool))
    with pytest.raises(ValueError, match="outside"):
        masks.encode_window(np.ones((3, 3), bool), 4, 4, 6, 6)
    with pytest.raises(ValueError, match="different sizes"):
        masks.intersection(masks.empty(2, 3), masks.empty(3, 2))


def test_a_large_mask_survives() -> None:
    y, x = np.ogrid[:4096, :4096]
    bitmap = ((y - 2000) ** 2 + (x - 2100) ** 2 < 1900**2) & ((y // 40 + x // 40) % 7 > 0)
    rle = masks.encode(bitmap)

    assert rle.counts == oracle(bitmap)["counts"].decode()
    assert np.array_equal(masks.decode(rle), bitmap)
    assert np.array_equal(masks.decode_window(rle, 90, 70, 300, 220), bitmap[70:220, 90:300])
