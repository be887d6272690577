"""Masks composed in tiles: repaired ones equal new ones, and memory stays bounded."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtGui import QColor

from infosam_studio.annotation import masks
from infosam_studio.ui import crops
from infosam_studio.ui.canvas import overlay as overlay_module
from infosam_studio.ui.canvas.overlay import TILE, Budget, Overlay, Style
from infosam_studio.ui.canvas.samples import (
    KEPT_FROM,
    CropSamples,
    LiveSamples,
    RleSamples,
    Room,
    samples_of,
)
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.tools.stroke_buffer import StrokeBuffer

WIDTH, HEIGHT = 1500, 1300
COLORS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")
RANDOM = np.random.default_rng(5)


def blob(x0: int, y0: int, width: int, height: int) -> Crop:
    y, x = np.mgrid[0:height, 0:width]
    inside = (2 * x + 1 - width) ** 2 * height**2 + (2 * y + 1 - height) ** 2 * width**2
    return Crop(x0, y0, inside <= width**2 * height**2)


def fresh() -> Overlay:
    made = Overlay()
    made.reset(WIDTH, HEIGHT)
    made.style = lambda key: Style(QColor(COLORS[key % 4]), 0.5, 2, halo=key % 3 == 0)
    return made


def picture(overlay: Overlay, level: int) -> np.ndarray:
    """All tiles of a level side by side."""
    size = TILE * 2.0**level
    columns, rows = int(-(-WIDTH // size)), int(-(-HEIGHT // size))
    out = np.zeros((rows * TILE, columns * TILE), np.uint32)
    for row in range(rows):
        for column in range(columns):
            found = overlay.compose((level, True, column, row))
            if found is not None:
                out[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = found
    return out


boxes = st.tuples(
    st.integers(0, WIDTH - 300),
    st.integers(0, HEIGHT - 300),
    st.integers(3, 300),
    st.integers(3, 300),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.none() | boxes), min_size=1, max_size=12))
def test_a_repaired_overlay_equals_one_made_anew(changes: list) -> None:
    repaired, shapes = fresh(), {}
    for key, box in changes:
        mask = None if box is None else CropSamples(blob(*box))
        repaired.set(key, mask)
        if mask is None:
            shapes.pop(key, None)
        else:
            shapes[key] = mask
        for level in (0, 1, 2):
            picture(repaired, level)
    anew = fresh()
    for key in shapes:
        anew.set(key, shapes[key])
    for level in (0, 1, 2):
        assert np.array_equal(picture(repaired, level), picture(anew, level))


def test_a_pixel_has_the_fill_and_the_edge_the_colour() -> None:
    overlay = fresh()
    overlay.set(1, CropSamples(blob(100, 100, 80, 60)))
    overlay.style = lambda _key: Style(QColor("#00ff00"), 0.5, 2)
    assert overlay.color_at(140, 130) == 0x80008000
    assert overlay.color_at(99, 130) == 0
    drawn = overlay.compose((0, True, 0, 0))
    assert drawn is not None
    assert drawn[130, 100] == drawn[130, 101] == 0xFF00FF00
    assert drawn[130, 103] == 0x80008000
    overlay.style = lambda _key: None
    overlay.spoil()
    assert overlay.compose((0, True, 0, 0)) is None


def test_finer_levels_repeat_pixels_and_coarser_ones_keep_the_area() -> None:
    crop = blob(37, 41, 90, 70)
    mask = CropSamples(crop)
    fine = mask.sample(-2, (37 * 4, 41 * 4, 127 * 4, 111 * 4))
    assert np.array_equal(fine, crop.pixels.repeat(4, axis=0).repeat(4, axis=1))
    for level in (1, 2, 3):
        whole = mask.sample(level, (0, 0, 100, 100))
        assert abs(int(whole.sum()) * 4**level - crop.area) < crop.area * 0.12
    speck = CropSamples(Crop(501, 503, np.ones((1, 1), bool)))
    assert speck.sample(4, (0, 0, 64, 64)).sum() == 1, "nothing vanishes"


def test_runs_looked_up_equal_pixels_unpacked() -> None:
    mask = RANDOM.random((200, 300)) < 0.5
    rle = masks.encode(mask)
    found = RleSamples(rle, (0, 0, 300, 200))
    assert np.array_equal(found.sample(0, (20, 10, 280, 190)), mask[10:190, 20:280])
    outside = found.sample(0, (-5, -5, 305, 205))
    assert np.array_equal(outside[5:205, 5:305], mask)
    assert not outside[:5].any()
    assert np.array_equal(found.sample(2, (0, 0, 75, 50)), mask[2::4, 2::4])
    assert np.array_equal(LiveSamples(Crop(0, 0, mask)).sample(1, (0, 0, 150, 100)), mask[::2, ::2])


def test_unpacked_masks_are_bounded_in_memory_and_come_back_alike() -> None:
    room = Room(200_000)
    pixels = [blob(10 * number, 20, 200, 200) for number in range(20)]
    stored = [samples_of(crops.to_rle(one, HEIGHT, WIDTH), room) for one in pixels]
    for _ in range(2):
        for mask, crop in zip(stored, pixels, strict=True):
            assert np.array_equal(mask.sample(0, crop.rect), crop.pixels)
            mask.sample(KEPT_FROM + 1, (0, 0, 50, 50))
            assert room.bytes <= room.limit_bytes
    held = [one for one in stored if isinstance(one, CropSamples) and 0 in one._levels]
    assert 1 <= len(held) <= 4


def test_unpacking_many_masks_takes_several_paints_and_ends_alike() -> None:
    room = Room()
    pixels = [blob(20 * number, 15 * number, 280, 260) for number in range(30)]
    slow, anew = fresh(), fresh()
    for key, crop in enumerate(pixels):
        slow.set(key, samples_of(crops.to_rle(crop, HEIGHT, WIDTH), room))
        anew.set(key, CropSamples(crop))
    spot = (1, True, 0, 0)
    turns = 0
    while not slow.state(spot)[0]:
        slow.compose(spot, Budget(-1))
        turns += 1
        assert turns < 100
    assert turns > 5
    found, wanted = slow.compose(spot), anew.compose(spot)
    assert found is not None
    assert np.array_equal(found, wanted)


def test_tiles_are_bounded() -> None:
    overlay = fresh()
    overlay.set(1, CropSamples(blob(0, 0, 1400, 1200)))
    for level in range(-3, 1):
        for column in range(20):
            for row in range(10):
                overlay.compose((level, True, column, row))
    assert len(overlay._tiles) <= overlay_module.KEPT_TILES


def test_a_stroke_takes_memory_for_itself_only() -> None:
    work = StrokeBuffer(crops.EMPTY, 20_000, 20_000)
    work.cover((10_000, 10_000, 10_040, 10_040))
    assert work.pixels.size < 1_000_000
    work.pixels[work.pixels.shape[0] // 2, work.pixels.shape[1] // 2] = 1
    spot = work.finished().rect
    for step in range(60):
        work.cover((10_000 + 20 * step, 10_000, 10_040 + 20 * step, 10_040))
    assert work.pixels.size < 6_000_000
    assert work.finished().rect == spot
    work.cover((-50, -50, 10, 10))
    assert (work.x0, work.y0) == (0, 0)
    assert work.finished().rect == spot
