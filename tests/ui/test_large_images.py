"""Huge images on the canvas, in small: the size limits are lowered so that a test image passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PySide6.QtCore import QPoint, QPointF, QRectF, Qt
from PySide6.QtGui import QImage
from PySide6.QtTest import QTest

from infosam_studio.annotation import masks, pyramid_store
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui.canvas import tiles
from infosam_studio.ui.canvas.picture import LargePicture
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import WAIT_MS, click, drag, open_project

WIDTH, HEIGHT = 2600, 2100
SPOT = (1800, 1500)


def draw() -> np.ndarray:
    """A slope of colours with one bright square, uint8 [2100,2600,3]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([x // 11, y // 9, (x + y) // 20], axis=2).astype(np.uint8)
    picture[SPOT[1] : SPOT[1] + 60, SPOT[0] : SPOT[0] + 60] = (250, 240, 40)
    return picture


@pytest.fixture
def pixels() -> np.ndarray:
    return draw()


@pytest.fixture
def large(
    qtbot: Any,
    window: MainWindow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pixels: np.ndarray,
) -> Workbench:
    """A project of one image that counts as huge."""
    monkeypatch.setattr(pyramid_store, "LARGE_PIXELS", 1_000_000)
    folder = tmp_path / "slides"
    folder.mkdir()
    tifffile.imwrite(folder / "slide.tif", pixels, tile=(256, 256), photometric="rgb")
    return open_project(qtbot, window, folder)


def grabbed(bench: Workbench) -> QImage:
    return bench.view.viewport().grab().toImage()


def wait_for_tiles(qtbot: Any, bench: Workbench) -> None:
    """Wait until everything in view is drawn from its own level."""
    source = bench.view.picture.tiles

    def there() -> bool:
        grabbed(bench)
        level, left, right, top, bottom = source._wanted
        columns, rows = range(left, right), range(top, bottom)
        return all(source.get((level, x, y)) is not None for y in rows for x in columns)

    qtbot.waitUntil(there, timeout=WAIT_MS)


def color_at(bench: Workbench, x: int, y: int) -> np.ndarray:
    """What the screen shows at an image pixel."""
    place = bench.view.to_viewport(x + 0.5, y + 0.5).toPoint()
    color = grabbed(bench).pixelColor(place)
    return np.array([color.red(), color.green(), color.blue()])


def test_a_huge_image_is_drawn_from_tiles_and_shows_its_pixels(
    qtbot: Any, large: Workbench, pixels: np.ndarray
) -> None:
    assert isinstance(large.picture, LargePicture)
    assert list((large.document.project.cache_dir / "pyramids").glob("*.pyramid"))
    wait_for_tiles(qtbot, large)
    for x, y in ((300, 300), (1400, 700), (2200, 1900)):
        assert np.abs(color_at(large, x, y) - pixels[y, x].astype(int)).max() <= 3
    large.view.fit_rect(QRectF(*SPOT, 60, 60))
    wait_for_tiles(qtbot, large)
    assert np.array_equal(color_at(large, SPOT[0] + 30, SPOT[1] + 30), (250, 240, 40))
    outside = (SPOT[0] - 6, SPOT[1] + 30)
    assert np.array_equal(color_at(large, *outside), pixels[outside[1], outside[0]])


def test_while_tiles_are_on_their_way_coarser_ones_are_shown(
    qtbot: Any, large: Workbench, pixels: np.ndarray
) -> None:
    wait_for_tiles(qtbot, large)
    source = large.view.picture.tiles
    large.view.fit_rect(QRectF(900, 900, 300, 200))
    # The very first frame, before any tile of this level can have come.
    assert source.get((0, 2, 2)) is None
    assert np.abs(color_at(large, 1050, 1000) - pixels[1000, 1050].astype(int)).max() <= 6
    wait_for_tiles(qtbot, large)
    assert np.abs(color_at(large, 1050, 1000) - pixels[1000, 1050].astype(int)).max() <= 1


def test_memory_for_tiles_is_bounded(
    qtbot: Any, large: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "MEMORY_BYTES", 12 * 2**20)
    source = large.view.picture.tiles
    for x in range(200, 2400, 300):
        large.view.fit_rect(QRectF(x, 200 + x // 2, 300, 250), margin=1.0)
        grabbed(large)
        qtbot.wait(20)
    wait_for_tiles(qtbot, large)
    # The tiles that are in view always, the two smallest levels too; nothing beyond.
    assert source._bytes <= 14 * 2**20
    assert source._bytes == sum(one.sizeInBytes() for one in source._tiles.values())


def test_value_under_the_pointer_and_brightness(
    qtbot: Any, large: Workbench, pixels: np.ndarray
) -> None:
    x, y = 1234, 987
    position = QPointF(x + 0.5, y + 0.5)
    large.status.show_pointer(position)

    def shown() -> bool:
        large.status.show_pointer(position)
        return large.status._value.text() == "  ".join(str(one) for one in pixels[y, x])

    qtbot.waitUntil(shown, timeout=WAIT_MS)
    wait_for_tiles(qtbot, large)
    before = color_at(large, x, y)
    large.showing.adjust((0.5, 0.0, 0.0))
    qtbot.waitUntil(lambda: bool((color_at(large, x, y) > before + 40).all()), timeout=WAIT_MS)
    assert shown(), "brightness changes what is seen, not the value"


def test_prompts_and_brush_work_on_a_huge_image(qtbot: Any, large: Workbench) -> None:
    large.view.fit_rect(QRectF(SPOT[0] - 100, SPOT[1] - 100, 260, 260), margin=1.0)
    qtbot.waitUntil(lambda: large.drafting.looking.region is not None, timeout=WAIT_MS)
    click(qtbot, large, SPOT[0] + 30, SPOT[1] + 30)
    draft = large.drafting.draft
    assert draft is not None
    crop = draft.crop()
    assert crop is not None
    assert not crop.empty
    large.drafting.cancel()
    large.tools.use("brush")
    large.tools.active.set_size(20)
    drag(large, (SPOT[0], SPOT[1]), (SPOT[0] + 80, SPOT[1] + 40))
    assert large.drafting.accept() is not None
    (record,) = large.document.objects.values()
    assert (record.mask.height, record.mask.width) == (HEIGHT, WIDTH)
    assert masks.area(record.mask) > 1000
    seen = large.view.overlay.overlay.color_at
    assert seen(SPOT[0] + 40, SPOT[1] + 20)
    assert not seen(SPOT[0] + 40, SPOT[1] + 80)


def test_damaged_tiles_are_built_anew(qtbot: Any, large: Workbench) -> None:
    (path,) = (large.document.project.cache_dir / "pyramids").glob("*.pyramid")
    with path.open("r+b") as stream:
        stream.seek(5000)
        stream.write(bytes(2_000_000))
    large.view.fit_rect(QRectF(100, 100, 100, 100))
    grabbed(large)
    qtbot.waitUntil(lambda: large.picture is None, timeout=WAIT_MS)
    assert "damaged" in large.toast.text
    current = large.document.current_id
    large.document.open_image(None)
    large.document.open_image(current)
    qtbot.waitUntil(lambda: large.picture is not None, timeout=WAIT_MS)
    wait_for_tiles(qtbot, large)


def test_the_minimap_comes_moves_the_view_and_can_be_hidden(
    qtbot: Any, window: MainWindow, large: Workbench
) -> None:
    view, minimap = large.view, large.minimap
    view.fit()
    assert not minimap.isVisible()
    view.fit_rect(QRectF(0, 0, 600, 500))
    assert minimap.isVisible()
    assert minimap.accessibleName()
    qtbot.waitUntil(lambda: not minimap._image.isNull(), timeout=WAIT_MS)
    frame = minimap.frame()
    assert frame.right() < minimap.width() * 0.6
    assert view.rect().contains(minimap.geometry())
    left = Qt.MouseButton.LeftButton
    QTest.mousePress(minimap, left, pos=QPoint(minimap.width() // 2, minimap.height() // 2))
    middle = view.visible_rect().center()
    assert abs(middle.x() - WIDTH / 2) < WIDTH / 40
    assert abs(middle.y() - HEIGHT / 2) < HEIGHT / 40
    QTest.mouseMove(minimap, QPoint(minimap.width() - 20, 20))
    QTest.mouseRelease(minimap, left, pos=QPoint(minimap.width() - 20, 20))
    zoom = view.zoom
    window.actions_["minimap"].trigger()
    assert not minimap.isVisible()
    assert window.settings.value("minimap") == "false"
    assert view.zoom == zoom
    window.actions_["minimap"].trigger()
    assert minimap.isVisible()
    view.fit()
    assert not minimap.isVisible()


def test_thousands_of_objects_come_by_and_by(qtbot: Any, large: Workbench) -> None:
    class_id, image_id = large.document.ensure_class(), large.document.current_id
    assert image_id is not None
    dot = np.ones((9, 9), bool)
    added = [
        ObjectRecord(
            id=0,
            image_id=image_id,
            class_id=class_id,
            mask=masks.encode_window(dot, 20 * (number % 120), 20 * (number // 120), HEIGHT, WIDTH),
        )
        for number in range(6000)
    ]
    large.document.change_objects("Add many", add=added)
    drawn = large.view.overlay.overlay.masks
    assert len(drawn) < 6000, "all at once would be felt"
    qtbot.waitUntil(lambda: len(drawn) == 6000, timeout=WAIT_MS)
    last = max(large.document.objects)
    assert large.layers.crop_of(last) is not None
    large.layers.select_at(QPointF(4.5, 4.5), False)
    assert len(large.document.selected) == 1
