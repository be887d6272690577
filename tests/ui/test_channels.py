"""Choosing channels and windows: what is shown, kept, undone, encoded anew, and given to all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPointF, Qt
from PySide6.QtTest import QTest

from infosam_studio.annotation.images import ViewSettings, read_raw
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.panels.channels import ChannelsBox
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import WAIT_MS, open_project

SIDE = 96


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """Two TIFF files of five channels of 16 bits, a bright square in a corner of its own each."""
    folder = tmp_path / "deep"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(200, 300, (5, SIDE, SIDE))
        for channel in range(5):
            top, left = 40 * (channel // 2), 30 * (channel % 3)
            pixels[channel, top + 5 : top + 25, left + 5 : left + 25] += 1000 * (channel + 1)
        tifffile.imwrite(
            folder / f"{number}.tif", pixels.astype(np.uint16), metadata={"axes": "CYX"}
        )
    return folder


@pytest.fixture
def box(qtbot: Any, window: MainWindow, deep: Path) -> ChannelsBox:
    bench = open_project(qtbot, window, deep)
    bench.look.show()
    bench.look.raise_()
    qtbot.waitUntil(lambda: bench.channels.facts is not None, timeout=WAIT_MS)
    return bench.channels


def bench_of(window: MainWindow) -> Workbench:
    assert window.bench is not None
    return window.bench


def choose(box: Any, data: str) -> None:
    box.setCurrentIndex(box.findData(data))


def shown(bench: Workbench) -> np.ndarray:
    """What the canvas draws, uint8 [H,W,3] RGB."""
    picture = bench.picture
    assert picture is not None
    return picture.pixels  # type: ignore[union-attr, return-value]


def apply(qtbot: Any, bench: Workbench, act: Any) -> None:
    """Do something that changes the view, and wait for the picture and the embedding."""
    ready = bench.image_ready
    with qtbot.waitSignals([bench.showing.shown, ready], timeout=WAIT_MS):
        act()


def test_one_channel_is_shown_kept_encoded_and_undone(
    qtbot: Any, window: MainWindow, box: ChannelsBox
) -> None:
    bench = bench_of(window)
    assert box.facts is not None
    assert (box.facts.channels, box.facts.depth) == (5, "uint16")
    assert "5 channels of 16 bits" in box.about.text()
    before = shown(bench)
    bench.view.zoom_by(2.0)
    zoom = bench.view.zoom

    bench.status.show_pointer(QPointF(10.5, 12.5))
    record = bench.document.current
    assert record is not None
    raw = read_raw(bench.document.project.image_path(record))[12, 10]
    assert bench.status._value.text().split() == [str(one) for one in raw[:4]]

    choose(box.shown, "grey")
    assert box.grey.isVisibleTo(box)
    assert not box.mix.isVisibleTo(box)
    apply(qtbot, bench, lambda: box.grey.setCurrentIndex(4))
    record = bench.document.current
    assert record is not None
    assert ViewSettings.from_key(record.view) == ViewSettings(channels=(4,))
    grey = shown(bench)
    assert np.array_equal(grey[:, :, 0], grey[:, :, 1])
    assert np.array_equal(grey, bench.document.project.read_view(record))
    assert bench.view.zoom == pytest.approx(zoom)  # the same image stays where it was

    apply(qtbot, bench, lambda: window.actions_["undo"].trigger())
    assert np.array_equal(shown(bench), before)
    assert box.shown.currentData() == "auto"


def test_colours_windows_and_all_images(qtbot: Any, window: MainWindow, box: ChannelsBox) -> None:
    bench = bench_of(window)
    choose(box.shown, "mix")
    assert [tick.isChecked() for tick in box.mix.ticks] == [True] * 4 + [False]
    box.mix.ticks[4].setChecked(True)
    choose(box.window_kind, "values")
    assert box.low.value() < box.high.value()
    box.low.setValue(250)
    apply(qtbot, bench, lambda: box.high.setValue(4000))
    record = bench.document.current
    assert record is not None
    settings = ViewSettings.from_key(record.view)
    assert settings.window == (250, 4000)
    assert settings.channels == (0, 1, 2, 3, 4)
    assert settings.colors is not None
    other = next(i for i in bench.document.images() if i.id != record.id)
    assert not other.view
    QTest.mouseClick(box.all, Qt.MouseButton.LeftButton)
    assert {i.view for i in bench.document.images()} == {settings.key()}
    assert bench.document.project.history()[-1].name == "Channels and window"
    apply(qtbot, bench, lambda: QTest.mouseClick(box.reset, Qt.MouseButton.LeftButton))
    assert bench.document.current is not None
    assert not bench.document.current.view


def test_percentiles_and_three_channels(qtbot: Any, window: MainWindow, box: ChannelsBox) -> None:
    bench = bench_of(window)
    choose(box.shown, "rgb")
    box.rgb[1].setCurrentIndex(box.rgb[1].count() - 1)  # none
    box.rgb[0].setCurrentIndex(3)
    choose(box.window_kind, "percentiles")
    assert (box.low.value(), box.high.value()) == (0.1, 99.9)
    apply(qtbot, bench, lambda: box.low.setValue(5))
    assert box.settings() == ViewSettings(channels=(3, -1, 2), percentiles=(5, 99.9))
    assert not shown(bench)[:, :, 1].any()


def test_a_choice_waiting_to_be_applied_is_not_for_the_next_image(
    window: MainWindow, box: ChannelsBox
) -> None:
    bench = bench_of(window)
    choose(box.shown, "grey")
    assert box._apply_later.isActive()
    bench.images.step(1)
    assert not box._apply_later.isActive()
    assert not any(i.view for i in bench.document.images())
