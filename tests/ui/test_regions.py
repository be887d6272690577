"""The region of a large image follows the view and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PySide6.QtCore import QRectF

from infosam_studio.annotation.regions import choose_region
from infosam_studio.ui.asking import ask_for
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.main_window import MainWindow
from tests.ui.conftest import click, open_project

SIZES = st.integers(16, 30_000)


def test_small_images_and_whole_views_need_none() -> None:
    assert choose_region((0, 0, 600, 600), 600, 600, 512) is None
    assert choose_region((0, 0, 4000, 3000), 4000, 3000, 512) is None


def test_zooming_in_gives_a_square_around_the_view() -> None:
    region = choose_region((1000, 1000, 1300, 1200), 4000, 3000, 512)
    assert region is not None
    x0, y0, x1, y1 = region
    assert x1 - x0 == y1 - y0 == 512
    assert x0 <= 1000
    assert y0 <= 1000
    assert x1 >= 1300
    assert y1 >= 1200


def test_a_small_pan_keeps_the_region() -> None:
    first = choose_region((1000, 1000, 1300, 1200), 4000, 3000, 512)
    assert choose_region((1010, 995, 1310, 1195), 4000, 3000, 512) == first


@given(
    SIZES,
    SIZES,
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.001, 1),
    st.sampled_from((512, 1024)),
)
def test_regions_lie_inside_and_cover_the_view(
    width: int, height: int, left: float, top: float, share: float, size: int
) -> None:
    x0, y0 = left * width * (1 - share), top * height * (1 - share)
    seen = (x0, y0, x0 + share * width, y0 + share * height)
    region = choose_region(seen, width, height, size)
    if region is None:
        return
    assert region[0] >= 0
    assert region[1] >= 0
    assert region[2] <= width
    assert region[3] <= height
    assert region[0] < region[2]
    assert region[1] < region[3]
    slack = 1 + max(region[2] - region[0], region[3] - region[1]) // 8
    assert region[0] <= seen[0] + slack
    assert region[2] >= seen[2] - slack


def folder_with(
    tmp_path: Path, size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> Path:
    """A folder with one grey picture of ``size`` (H, W) that shows a red block."""
    pixels = np.full((*size, 3), 70, np.uint8)
    pixels[slice(*rows), slice(*columns)] = (210, 90, 60)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "block.png")
    return folder


def test_a_click_when_zoomed_in_is_answered_from_the_close_up(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    folder = folder_with(tmp_path, (1500, 1800), (600, 640), (900, 950))
    bench = open_project(qtbot, window, folder)
    assert bench.drafting.looking.region is None
    bench.view.fit_rect(QRectF(850, 550, 150, 140))
    qtbot.waitUntil(lambda: bench.drafting.looking.region is not None, timeout=10_000)
    click(qtbot, bench, 925, 620)
    draft = bench.drafting.draft
    assert draft is not None
    region = draft.region
    assert region is not None
    crop = draft.crop()
    assert crop is not None
    assert crop.empty or (crop.rect[0] >= region[0] and crop.rect[3] <= region[3])
    window.actions_["whole_image"].trigger()
    assert bench.drafting.looking.region is None


def test_an_object_larger_than_the_view_is_not_cut_off(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    """On a small image too the model looks closer, and from further away where it must."""
    folder = folder_with(tmp_path, (400, 500), (100, 260), (150, 330))
    bench = open_project(qtbot, window, folder)
    bench.view.fit_rect(QRectF(135, 165, 30, 20))

    def is_near() -> bool:
        region = bench.drafting.looking.region
        return region is not None and region[2] - region[0] == 128

    qtbot.waitUntil(is_near, timeout=10_000)
    near = bench.drafting.looking.region
    assert near is not None
    click(qtbot, bench, 160, 180)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.looks
    assert draft.region != near
    crop = draft.crop()
    assert crop is not None
    assert crop.rect[2] > near[2]


def test_a_small_object_gets_a_nearer_look_without_zooming(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    folder = folder_with(tmp_path, (400, 500), (150, 164), (200, 216))
    bench = open_project(qtbot, window, folder)
    assert bench.drafting.looking.region is None
    click(qtbot, bench, 207, 157)
    draft = bench.drafting.draft
    assert draft is not None
    assert draft.looks >= 1
    assert draft.region is not None
    assert draft.region[2] - draft.region[0] <= 256
    crop = draft.crop()
    assert crop is not None
    assert 0.7 * 14 * 16 < crop.area < 1.3 * 14 * 16
    bench.drafting.cancel()
    # Whoever wants the whole image gets it.
    window.actions_["whole_image"].trigger()
    click(qtbot, bench, 207, 157)
    draft = bench.drafting.draft
    assert draft is not None
    assert (draft.region, draft.looks) == (None, 0)


def test_a_click_just_outside_the_region_is_asked_of_the_whole_image(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    folder = folder_with(tmp_path, (400, 500), (150, 164), (200, 216))
    bench = open_project(qtbot, window, folder)
    click(qtbot, bench, 207, 157)
    draft = bench.drafting.draft
    assert draft is not None
    region = draft.region
    assert region is not None
    # The first pixel that is no longer in the region: its number is the region's end.
    bench.drafting.add_point(float(region[2]), 157.0, 1)
    qtbot.waitUntil(lambda: not draft.waiting(), timeout=10_000)
    assert draft.region is None


def test_a_step_beyond_the_region_is_never_asked_of_it() -> None:
    """However the region was chosen: a step may be taken back, made again, asked again."""
    draft = Draft(1, region=(0, 0, 128, 128))
    inside = draft.add_point(127, 127, 1)
    beyond = draft.add_point(128, 60, 1)
    assert ask_for(draft, inside).region == (0, 0, 128, 128)
    assert ask_for(draft, beyond).region is None
