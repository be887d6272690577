"""Without a view the region is the one a person would have who zoomed in on the object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infosam_studio.annotation.regions import (
    choose_region,
    covers,
    look_again,
    region_around,
    region_of_clicks,
)

NUMBERS = st.floats(0, 1)


def _side(region: tuple[int, int, int, int] | None) -> int:
    assert region is not None
    assert region[2] - region[0] == region[3] - region[1]
    return region[2] - region[0]


def test_a_lone_click_is_looked_at_pixel_by_pixel() -> None:
    assert _side(region_of_clicks((2000, 1500, 2000, 1500), 4000, 3000, 512)) == 512
    assert region_of_clicks((200, 150, 200, 150), 800, 600, 512) is None


def test_a_small_object_is_enlarged_on_small_images_too() -> None:
    assert _side(region_around((100, 100, 112, 112), 256, 256, 512)) == 128
    assert _side(region_around((100, 100, 160, 160), 800, 600, 512)) == 256
    # Four times as large is as near as it goes.
    assert _side(region_around((100, 100, 104, 104), 256, 256, 512)) == 128
    # Larger models take long for a look: a pixel is never more than a pixel of theirs.
    assert _side(region_around((2000, 1500, 2004, 1504), 4000, 3000, 1024)) == 1024


def test_a_mask_that_is_cut_off_is_looked_at_from_further_away() -> None:
    near = region_around((100, 100, 112, 112), 600, 400, 512)
    assert near is not None
    x0, y0, x1, y1 = near
    assert look_again(near, (x0 + 1, y0 + 1, x1 - 1, y1 - 1), 600, 400, 512, looks=1) == near
    for rect in ((x0, y0 + 9, x1 - 9, y1 - 9), (x0 + 9, y0 + 9, x1 - 9, y1)):
        wider = look_again(near, rect, 600, 400, 512, looks=1)
        assert _side(wider) == 256
        assert wider is not None
        assert covers(wider, near)
    assert look_again(wider, wider, 600, 400, 512, looks=2) is None
    # Where the image ends the object does too, and some objects never end.
    assert look_again((0, 0, 128, 128), (0, 0, 90, 90), 600, 400, 512, looks=1) == (0, 0, 128, 128)
    assert look_again(near, near, 600, 400, 512, looks=3) == near


def test_a_small_mask_is_looked_at_once_more_from_near() -> None:
    small, large = (100, 100, 112, 112), (100, 100, 300, 300)
    near = region_around(small, 600, 400, 512)
    assert look_again(None, small, 600, 400, 512, looks=0) == near
    assert look_again(None, small, 600, 400, 512, looks=1) is None
    assert look_again(near, small, 600, 400, 512, looks=0) == near
    assert look_again(None, large, 600, 400, 512, looks=0) is None
    # A region nearly as near as that stays.
    assert look_again((50, 50, 210, 210), small, 600, 400, 512, looks=0) == (50, 50, 210, 210)


def test_a_large_image_or_a_large_object_needs_none() -> None:
    assert region_around((100, 100, 300, 280), 800, 600, 512) is None
    assert region_around((0, 0, 2000, 1500), 4000, 3000, 512) is None


def test_it_is_the_choice_of_the_window() -> None:
    seen = (2000 - 115, 1500 - 115, 2000 + 115, 1500 + 115)
    assert region_around((1950, 1460, 2050, 1540), 4000, 3000, 512) == choose_region(
        seen, 4000, 3000, 512
    )


@given(NUMBERS, NUMBERS, st.floats(0.001, 0.3), st.sampled_from((512, 1024)))
def test_the_whole_object_lies_inside(left: float, top: float, share: float, size: int) -> None:
    width, height = 6000, 4000
    side = share * height
    x0, y0 = left * (width - side), top * (height - side)
    region = region_around((x0, y0, x0 + side, y0 + side), width, height, size)
    if region is not None:
        assert region[0] <= x0
        assert region[1] <= y0
        assert region[2] >= x0 + side
        assert region[3] >= y0 + side
