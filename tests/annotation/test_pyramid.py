"""Huge images in bands and tiles: bit for bit the view, whatever the file looks like inside."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from infosam_studio.annotation import pyramid
from infosam_studio.annotation.bands import read_bands, regroup
from infosam_studio.annotation.images import ImageError, read_image
from infosam_studio.annotation.pyramid import Pyramid, PyramidError, build, levels_of
from infosam_studio.annotation.pyramid_store import PyramidStore
from infosam_studio.annotation.view_settings import ViewSettings
from infosam_studio.errors import Cancelled

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 255, (611, 733, 3), dtype=np.uint8)
DEEP = RANDOM.normal(1000, 200, (2101, 2003)).clip(0, 65535).astype(np.uint16)
FLOAT = RANDOM.normal(0, 1, (611, 733)).astype(np.float32)
TILED = {"tile": (256, 128)}

FILES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "one block": (RGB, {}),
    "tiles": (RGB, TILED),
    "packed tiles": (RGB, {**TILED, "compression": "zlib"}),
    "low strips": (RGB, {"compression": "lzw", "rowsperstrip": 7}),
    "jpeg tiles": (RGB, {**TILED, "compression": "jpeg", "photometric": "rgb"}),
    "16 bits": (DEEP, TILED),
    "16 bits in one block": (DEEP, {}),
    "16 bits in colour": (np.dstack([DEEP[:700]] * 3), {**TILED, "photometric": "rgb"}),
    "floating point": (FLOAT, {**TILED, "compression": "zstd"}),
    "one bit": (RGB[:, :, 0] > 100, {}),
    "white is zero": (RGB[:, :, 0], {**TILED, "photometric": "miniswhite"}),
    "alpha": (
        np.dstack([RGB, RGB[:, :, :1]]),
        {**TILED, "photometric": "rgb", "extrasamples": ["unassalpha"]},
    ),
    "separate planes": (
        np.moveaxis(RGB, -1, 0),
        {"photometric": "rgb", "planarconfig": "separate"},
    ),
    "turned": (RGB, {"extratags": [(274, "H", 1, 6, True)]}),
}
VIEWS = (ViewSettings(), ViewSettings(window=(10, 200)), ViewSettings(percentiles=(1, 99)))


@pytest.mark.parametrize("name", FILES)
def test_bands_and_tiles_are_the_view_bit_for_bit(name: str, tmp_path: Path) -> None:
    pixels, how = FILES[name]
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, pixels, **how)
    store = PyramidStore(tmp_path / "pyramids")
    for view in VIEWS:
        whole = read_image(path, view)
        assert np.array_equal(np.concatenate(list(read_bands(path, view, 100))), whole)
        size = (whole.shape[1], whole.shape[0])
        made = store.make(store.key(name, view), path, view, size)
        assert np.array_equal(made.region(0, 0, *size), whole)
        made.close()


def test_pages_of_a_stack_and_files_that_are_no_tiff(tmp_path: Path) -> None:
    stack = RANDOM.integers(0, 60000, (3, 300, 200)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    Image.fromarray(RGB).save(tmp_path / "plain.png")
    cases = [(tmp_path / "stack.tif", ViewSettings(page=page)) for page in range(3)]
    for path, view in [*cases, (tmp_path / "plain.png", ViewSettings())]:
        found = np.concatenate(list(read_bands(path, view, 64)))
        assert np.array_equal(found, read_image(path, view))


def test_a_damaged_file_is_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.tif"
    tifffile.imwrite(path, RGB, **TILED, compression="zlib")
    content = bytearray(path.read_bytes())
    content[2000:200_000] = bytes(198_000)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.tif"):
        list(read_bands(path))


def test_a_huge_tiled_file_is_streamed_in_little_memory(tmp_path: Path) -> None:
    side = 6000
    path = tmp_path / "huge.tif"
    band = np.repeat(RGB[:256, :500], side // 500, axis=1)

    def tiles() -> Any:
        for _ in range(-(-side // 256)):
            for column in range(-(-side // 256)):
                tile = np.zeros((256, 256, 3), np.uint8)
                part = band[:, column * 256 : (column + 1) * 256]
                tile[:, : part.shape[1]] = part
                yield tile

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(256, 256),
        photometric="rgb",
        compression="zlib",
    )
    store = PyramidStore(tmp_path / "pyramids")
    tracemalloc.start()
    store.make("key", path, ViewSettings(), (side, side)).close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6, f"{peak / 1e6:.0f} MB for an image of {side * side * 3 / 1e6:.0f} MB"


def _build(path: Path, pixels: np.ndarray, key: str = "key", **how: Any) -> None:
    bands = (pixels[top : top + 100] for top in range(0, pixels.shape[0], 100))
    build(path, key, (pixels.shape[1], pixels.shape[0]), bands, **how)


def test_levels_halve_and_average(tmp_path: Path) -> None:
    path = tmp_path / "a.pyramid"
    pixels = np.full((1201, 1303, 3), 40, np.uint8)
    pixels[:600, :700] = 200
    _build(path, pixels)
    made = Pyramid.open(path, "key")
    assert made is not None
    assert [(one.width, one.height) for one in made.levels] == [
        (1303, 1201),
        (652, 601),
        (326, 301),
    ]
    assert np.array_equal(made.region(0, 0, 350, 300, level=1), np.full((300, 350, 3), 200))
    small = made.region(0, 0, 326, 301, level=2)
    assert (small[:150, :175] == 200).all()
    assert (small[151:, 176:] == 40).all()


def test_grey_images_take_a_third_of_the_room(tmp_path: Path) -> None:
    grey = np.repeat(RGB[:, :, :1], 3, axis=2)
    _build(tmp_path / "grey", grey)
    _build(tmp_path / "color", RGB)
    assert (tmp_path / "grey").stat().st_size < (tmp_path / "color").stat().st_size * 0.4


def test_torn_and_foreign_files_count_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.pyramid"
    _build(path, RGB)
    content = path.read_bytes()
    assert Pyramid.open(path, "another key") is None
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert Pyramid.open(path, "key") is None
    assert Pyramid.open(tmp_path / "nothing", "key") is None


def test_a_damaged_tile_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.pyramid"
    _build(path, RGB)
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    made = Pyramid.open(path, "key")
    assert made is not None
    with pytest.raises(PyramidError):
        made.tile(0, 0, 0)


def test_cancelling_leaves_nothing_behind(tmp_path: Path) -> None:
    shares: list[float] = []
    with pytest.raises(Cancelled):
        _build(
            tmp_path / "a.pyramid", RGB, progress=shares.append, cancelled=lambda: len(shares) > 2
        )
    assert shares
    assert shares == sorted(shares)
    assert not list(tmp_path.iterdir())


def test_an_image_of_another_size_than_recorded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PyramidError):
        build(tmp_path / "a", "key", (733, 700), [RGB])
    with pytest.raises(PyramidError):
        build(tmp_path / "a", "key", (700, 611), [RGB])
    assert not list(tmp_path.iterdir())


def test_the_least_recently_used_goes_above_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(RGB).save(path)
    folder = tmp_path / "pyramids"
    store = PyramidStore(folder)
    size = (RGB.shape[1], RGB.shape[0])
    for number, key in enumerate("abc"):
        store.make(key, path, ViewSettings(), size).close()
        os.utime(store.path(key), (number, number))
    found = store.find("a")  # a hit makes it young again
    assert found is not None
    found.close()
    store.limit_bytes = 2 * store.path("a").stat().st_size + 10
    assert store.prune() <= store.limit_bytes
    assert {one.name for one in folder.iterdir()} == {store.path(key).name for key in "ac"}


def test_keys_differ_by_content_page_and_view() -> None:
    views = (ViewSettings(), ViewSettings(page=1), ViewSettings(window=(0, 9)))
    keys = {PyramidStore.key(sha, view) for sha in ("1", "2") for view in views}
    assert len(keys) == 6


def test_regrouped_rows_are_the_same_rows() -> None:
    pieces = [RGB[:3], RGB[3:200], RGB[200:201], RGB[201:]]
    found = list(regroup(iter(pieces), 128))
    assert [len(one) for one in found] == [128, 128, 128, 128, 99]
    assert np.array_equal(np.concatenate(found), RGB)


def test_tile_numbers_are_unique() -> None:
    levels = levels_of(5000, 3000)
    assert levels[-1].columns == levels[-1].rows == 1
    count = 0
    for level in levels:
        assert level.first == count
        count += level.columns * level.rows
    assert pyramid.TILE == 512
