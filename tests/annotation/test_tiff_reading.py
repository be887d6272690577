"""TIFF in the forms microscopes, scanners and cameras write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from infosam_studio.annotation.images import ViewSettings, probe_image, read_image, read_raw

generator = np.random.default_rng(7)
GREY8 = generator.integers(0, 256, (40, 56), np.uint8)
RGB8 = generator.integers(0, 256, (40, 56, 3), np.uint8)
GREY16 = generator.integers(300, 4000, (40, 56), np.uint16)
RGB16 = generator.integers(0, 60000, (40, 56, 3), np.uint16)


def windowed(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values[np.isfinite(values)], [0.1, 99.9])
    with np.errstate(invalid="ignore"):
        return np.clip((values - low) * 255 / (high - low), 0, 255)


COMPRESSIONS = ["none", "lzw", "zlib", "zstd", "packbits", "lzma", "webp", "jpeg2000", "jpegxl"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_colours(tmp_path: Path, compression: str) -> None:
    options = {"lossless": True} if compression == "webp" else {}
    if compression == "jpeg2000":
        options = {"reversible": True}
    if compression == "jpegxl":
        options = {"lossless": True}
    tifffile.imwrite(
        tmp_path / "a.tif",
        RGB8,
        photometric="rgb",
        compression=None if compression == "none" else compression,
        compressionargs=options or None,
    )

    assert probe_image(tmp_path / "a.tif").problem is None
    assert np.array_equal(read_image(tmp_path / "a.tif"), RGB8)


def test_jpeg_in_tiff(tmp_path: Path) -> None:
    smooth = np.dstack([np.tile(np.arange(64, dtype=np.uint8) * 3, (48, 1))] * 3)
    smooth[..., 1] //= 2
    tifffile.imwrite(
        tmp_path / "a.tif",
        smooth,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 95},
    )
    Image.fromarray(smooth).save(tmp_path / "b.tif", compression="jpeg", quality=95)

    for name in ("a.tif", "b.tif"):
        assert np.abs(read_image(tmp_path / name).astype(int) - smooth).mean() < 4


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "jpegxr"])
@pytest.mark.parametrize("predictor", [False, True])
def test_sixteen_bit_grey(tmp_path: Path, compression: str | None, predictor: bool) -> None:
    if compression == "jpegxr" or (compression is None and predictor):
        predictor = False
    tifffile.imwrite(tmp_path / "a.tif", GREY16, compression=compression, predictor=predictor)

    assert np.array_equal(read_raw(tmp_path / "a.tif")[..., 0], GREY16)
    assert np.abs(read_image(tmp_path / "a.tif")[..., 1] - windowed(GREY16)).max() <= 0.5001


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_byte_orders_and_large_files(tmp_path: Path, byteorder: str, bigtiff: bool) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY16, byteorder=byteorder, bigtiff=bigtiff)

    assert np.array_equal(read_raw(tmp_path / "a.tif")[..., 0], GREY16)
    assert np.abs(read_image(tmp_path / "a.tif")[..., 1] - windowed(GREY16)).max() <= 0.5001


def test_sixteen_bit_colours(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", RGB16, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "b.tif", RGB16.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )

    for name in ("a.tif", "b.tif"):
        assert np.array_equal(read_raw(tmp_path / name), RGB16)
        assert np.abs(read_image(tmp_path / name) - windowed(RGB16)).max() <= 0.5001


@pytest.mark.parametrize(
    "kind", ["float16", "float32", "float64", "int8", "int16", "int32", "uint32"]
)
def test_other_number_types(tmp_path: Path, kind: str) -> None:
    values = (generator.random((40, 56)) * 100 - (0 if kind == "uint32" else 40)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values)

    assert read_raw(tmp_path / "a.tif").dtype == np.dtype(kind)
    expected = windowed(values.astype(np.float64))
    assert np.abs(read_image(tmp_path / "a.tif")[..., 0] - expected).max() <= 0.5001


def test_floats_that_are_no_numbers(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 1600, dtype=np.float32).reshape(40, 40)
    values[0, :3] = np.nan, np.inf, -np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    view = read_image(tmp_path / "a.tif")

    assert view[0, :3, 0].tolist() == [0, 255, 0]
    assert view[20, 0, 0] == pytest.approx(128, abs=2)


def test_every_page_is_an_image(tmp_path: Path) -> None:
    pages = generator.integers(0, 60000, (5, 40, 56), np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", pages, compression="zlib", photometric="minisblack")
    tifffile.imwrite(tmp_path / "plain.tif", pages, photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "mixed.tif") as writer:
        writer.write(GREY8, metadata=None)
        writer.write(RGB8[:20], photometric="rgb", metadata=None)

    for name in ("stack.tif", "plain.tif"):
        assert probe_image(tmp_path / name).pages == 5
        for page in range(5):
            assert np.array_equal(read_raw(tmp_path / name, page)[..., 0], pages[page])
    info = probe_image(tmp_path / "mixed.tif")
    assert (info.pages, info.page_sizes) == (2, ((56, 40), (56, 20)))
    assert np.array_equal(read_image(tmp_path / "mixed.tif", ViewSettings(page=1)), RGB8[:20])
    assert np.array_equal(read_image(tmp_path / "mixed.tif")[..., 0], GREY8)


def test_pages_of_pillow(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((10, 12, 3), 40 * k, np.uint8)) for k in range(4)]
    frames[0].save(
        tmp_path / "a.tif", save_all=True, append_images=frames[1:], compression="tiff_lzw"
    )
    cmyk = [frame.convert("CMYK") for frame in frames]
    cmyk[0].save(tmp_path / "cmyk.tif", save_all=True, append_images=cmyk[1:])

    for name in ("a.tif", "cmyk.tif"):
        assert probe_image(tmp_path / name).pages == 4
        for page in range(4):
            view = read_image(tmp_path / name, ViewSettings(page=page))
            assert view.shape == (10, 12, 3)
            assert np.abs(view.astype(int) - 40 * page).max() <= 1


@pytest.mark.parametrize("ome", [False, True])
def test_channels_belong_to_one_page(tmp_path: Path, ome: bool) -> None:
    volume = generator.integers(0, 60000, (3, 2, 40, 56), np.uint16)  # 3 planes, 2 channels
    path = tmp_path / ("a.ome.tif" if ome else "a.tif")
    tifffile.imwrite(path, volume, imagej=not ome, ome=ome, metadata={"axes": "ZCYX"})

    assert probe_image(path).pages == 3
    for page in range(3):
        assert np.array_equal(read_raw(path, page), volume[page].transpose(1, 2, 0))
    view = read_image(path, ViewSettings(page=1))
    assert np.abs(view[..., 0] - windowed(volume[1, 0])).max() <= 0.5001
    assert np.abs(view[..., 1] - windowed(volume[1, 1])).max() <= 0.5001
    assert (view[..., 2] == 0).all()
    second = read_image(path, ViewSettings(page=1, channels=(1,)))
    assert np.array_equal(second[..., 0], view[..., 1])


def test_compressed_channels_are_read_page_by_page(tmp_path: Path) -> None:
    volume = generator.integers(0, 60000, (4, 3, 40, 56), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", volume, ome=True, metadata={"axes": "TCYX"}, compression="zlib"
    )

    assert np.array_equal(read_raw(tmp_path / "a.ome.tif", 2), volume[2].transpose(1, 2, 0))


def test_reduced_copies_are_no_pages(tmp_path: Path) -> None:
    large = generator.integers(0, 256, (512, 512, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(large, subifds=1, tile=(128, 128), photometric="rgb", compression="zlib")
        writer.write(large[::2, ::2], subfiletype=1, tile=(128, 128), photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "thumbnail.tif") as writer:
        writer.write(large, photometric="rgb", metadata=None)
        writer.write(large[::8, ::8], photometric="rgb", subfiletype=1, metadata=None)

    for name in ("pyramid.tif", "thumbnail.tif"):
        info = probe_image(tmp_path / name)
        assert (info.pages, info.width, info.height) == (1, 512, 512)
        assert np.array_equal(read_image(tmp_path / name), large)


def test_palettes_bilevel_and_white_is_zero(tmp_path: Path) -> None:
    colors = generator.integers(0, 65536, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", GREY8, photometric="palette", colormap=colors)
    # Without a choice tifffile writes bits as fax machines do, with 0 for white.
    tifffile.imwrite(tmp_path / "b.tif", GREY8 > 99, photometric="minisblack")
    tifffile.imwrite(tmp_path / "w.tif", GREY8, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "w16.tif", GREY16, photometric="miniswhite")

    assert np.array_equal(read_image(tmp_path / "p.tif"), (colors >> 8).T[GREY8])
    assert np.array_equal(read_image(tmp_path / "b.tif")[..., 0], np.where(GREY8 > 99, 255, 0))
    assert np.array_equal(read_image(tmp_path / "w.tif")[..., 2], 255 - GREY8)
    assert np.array_equal(read_raw(tmp_path / "w16.tif")[..., 0], 65535 - GREY16)
    Image.fromarray(GREY8 > 99).save(tmp_path / "fax.tif", compression="group4")
    assert np.array_equal(read_image(tmp_path / "fax.tif")[..., 0], np.where(GREY8 > 99, 255, 0))


def test_alpha_of_both_kinds(tmp_path: Path) -> None:
    alpha = np.full((40, 56, 1), 255, np.uint8)
    alpha[:20] = 51
    for kind in ("unassalpha", "assocalpha"):
        color = RGB8 if kind == "unassalpha" else (RGB8 * (alpha / 255.0)).astype(np.uint8)
        tifffile.imwrite(
            tmp_path / f"{kind}.tif",
            np.concatenate([color, alpha], axis=2),
            photometric="rgb",
            extrasamples=[kind],
        )
        view = read_image(tmp_path / f"{kind}.tif")
        assert np.array_equal(view[20:], RGB8[20:])
        assert np.abs(view[:20] - (RGB8[:20] * 0.2 + 255 * 0.8)).max() <= 1.5
    # A fourth channel that is no alpha is data.
    tifffile.imwrite(
        tmp_path / "four.tif",
        np.concatenate([RGB8, alpha], axis=2),
        photometric="rgb",
        extrasamples=["unspecified"],
    )
    assert np.array_equal(read_image(tmp_path / "four.tif"), RGB8)
    infrared = read_image(tmp_path / "four.tif", ViewSettings(channels=(3,)))
    assert np.array_equal(infrared[..., 0], alpha[..., 0])


def test_many_channels(tmp_path: Path) -> None:
    bands = generator.integers(0, 256, (40, 56, 7), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")

    assert probe_image(tmp_path / "a.tif").pages == 1
    assert np.array_equal(read_image(tmp_path / "a.tif"), bands[..., :3])
    chosen = read_image(tmp_path / "a.tif", ViewSettings(channels=(6, 3, 0)))
    assert np.array_equal(chosen, bands[..., [6, 3, 0]])


def test_names_beyond_ascii(tmp_path: Path) -> None:
    path = tmp_path / ("ß中" * 30 + ".tif")
    tifffile.imwrite(path, GREY16)

    assert probe_image(path).problem is None
    assert read_image(path).shape == (40, 56, 3)
