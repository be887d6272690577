"""Without a view the region is the one a person would have who zoomed in on the object."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infosam_studio.annotation.regions import choose_region, region_around

NUMBERS = st.floats(0, 1)


def test_a_lone_click_gets_the_closest_look() -> None:
    region = region_around((2000, 1500, 2000, 1500), 4000, 3000, 512)
    assert region is not None
    assert region[2] - region[0] == region[3] - region[1] == 512


def test_a_small_image_or_a_large_object_needs_none() -> None:
    assert region_around((100, 100, 120, 120), 800, 600, 512) is None
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
