"""Every kind of image file becomes one upright RGB view."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from infosam_studio.annotation._cv2 import cv2
from infosam_studio.annotation.images import (
    ImageError,
    ViewSettings,
    content_hash,
    list_images,
    probe_image,
    read_image,
    read_raw,
)
from infosam_studio.annotation.pixels import auto_window

RED, GREEN, BLUE, GREY = (200, 30, 40), (20, 180, 60), (30, 50, 190), (90, 90, 90)


def picture(height: int = 24, width: int = 32) -> np.ndarray:
    """Four quarters of different colours, so that every turn shows."""
    pixels = np.zeros((height, width, 3), np.uint8)
    half, middle = height // 2, width // 2
    pixels[:half, :middle], pixels[:half, middle:] = RED, GREEN
    pixels[half:, :middle], pixels[half:, middle:] = BLUE, GREY
    return pixels


# How a camera stores an upright picture for each EXIF orientation.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"turned{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture())))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if suffix == ".webp" else {"quality": 95, "subsampling": 0}
    stored.save(path, exif=exif, **(options if suffix != ".tif" else {}))
    view, info = read_image(path), probe_image(path)

    assert (info.height, info.width, info.problem) == (24, 32, None)
    assert view.shape == (24, 32, 3)
    assert view.dtype == np.uint8
    assert view.flags.c_contiguous
    # Away from the edges of the quarters even JPEG keeps the colours.
    assert np.abs(view[4:8, 4:8].astype(int) - RED).max() < 6
    assert np.abs(view[4:8, 24:28].astype(int) - GREEN).max() < 6
    assert np.abs(view[18:22, 4:8].astype(int) - BLUE).max() < 6
    assert np.abs(view[18:22, 24:28].astype(int) - GREY).max() < 6
    assert read_raw(path).shape == (24, 32, 3)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".gif", ".ppm", ".tiff"])
def test_lossless_colours_arrive_unchanged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture()).save(path, **({"lossless": True} if suffix == ".webp" else {}))

    assert np.array_equal(read_image(path), picture())


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 100).save(tmp_path / "bits.png")
    Image.fromarray(grey).save(tmp_path / "grey.bmp")

    for name in ("grey.png", "grey.bmp"):
        assert np.array_equal(read_image(tmp_path / name), np.repeat(grey[..., None], 3, 2))
    assert read_raw(tmp_path / "grey.png").shape == (16, 16, 1)
    bits = read_image(tmp_path / "bits.png")
    assert np.array_equal(bits[..., 0], np.where(grey > 100, 255, 0))


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.dstack([picture(), np.full((24, 32), 255, np.uint8)])
    rgba[:12, :16, 3] = 0
    rgba[12:, :16, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(rgba[..., [0, 3]]).save(tmp_path / "la.png")
    view = read_image(tmp_path / "rgba.png")

    assert (view[:12, :16] == 255).all()
    assert np.array_equal(view[:, 16:], picture()[:, 16:])
    assert np.abs(view[20, 5] - (np.array(BLUE) * 128 / 255 + 127)).max() < 1
    grey = read_image(tmp_path / "la.png")
    assert (grey[:12, :16] == 255).all()
    assert (grey[:, 16:, 2] == picture()[:, 16:, 0]).all()
    # The colours under full transparency can still be looked at.
    assert np.array_equal(read_raw(tmp_path / "rgba.png"), picture())


def test_opaque_alpha_changes_nothing(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([picture(), np.full((24, 32), 255, np.uint8)])).save(
        tmp_path / "a.png"
    )

    assert np.array_equal(read_image(tmp_path / "a.png"), picture())


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    indexed = Image.fromarray(picture()).quantize(4)
    indexed.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png"), picture())

    red = indexed.getpixel((2, 2))
    indexed.save(tmp_path / "t.png", transparency=red)
    view = read_image(tmp_path / "t.png")
    assert (view[:12, :16] == 255).all()
    assert np.array_equal(view[12:], picture()[12:])


def test_a_key_colour_is_transparent(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "k.png", transparency=RED)
    view = read_image(tmp_path / "k.png")

    assert (view[:12, :16] == 255).all()
    assert np.array_equal(view[:, 16:], picture()[:, 16:])


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cmyk{suffix}"
    Image.fromarray(picture()).convert("CMYK").save(path)

    assert np.abs(read_image(path)[4:8, 4:8].astype(int) - RED).max() < 8


def profile_with_gamma_one() -> bytes:
    """An RGB profile with sRGB's primaries but linear values."""
    srgb = ImageCms.createProfile("sRGB")
    data = bytearray(ImageCms.ImageCmsProfile(srgb).tobytes())
    # Replace the three tone curves by "curv" with no entries, which means linear.
    count = int.from_bytes(data[128:132], "big")
    for entry in range(count):
        at = 132 + 12 * entry
        if bytes(data[at : at + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            offset = int.from_bytes(data[at + 4 : at + 8], "big")
            data[offset : offset + 12] = b"curv" + bytes(8)
            data[at + 8 : at + 12] = (12).to_bytes(4, "big")
        if bytes(data[at : at + 4]) == b"desc":
            offset = int.from_bytes(data[at + 4 : at + 8], "big")
            size = int.from_bytes(data[at + 8 : at + 12], "big")
            text = bytes(data[offset : offset + size])
            for name in ("sRGB".encode("utf-16-be"), b"sRGB"):
                text = text.replace(name, "mine".encode("utf-16-be") if len(name) > 4 else b"mine")
            data[offset : offset + size] = text
    return bytes(data)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_colour_profiles_become_srgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"linear{suffix}"
    values = np.full((16, 16, 3), 55, np.uint8)
    Image.fromarray(values).save(path, icc_profile=profile_with_gamma_one())
    linear = 55 / 255
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)

    assert np.abs(read_image(path) - expected).max() <= 1.5


def test_srgb_unfit_and_broken_profiles_change_nothing(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, profile in enumerate((srgb, b"no profile at all", srgb[:200])):
        Image.fromarray(picture()).save(tmp_path / f"{number}.png", icc_profile=profile)
        assert np.array_equal(read_image(tmp_path / f"{number}.png"), picture())
    Image.fromarray(picture()[..., 0]).save(tmp_path / "grey.png", icc_profile=srgb)
    assert np.array_equal(read_image(tmp_path / "grey.png")[..., 1], picture()[..., 0])


def png16(path: Path, pixels: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def test_sixteen_bit_grey_is_windowed_by_percentiles(tmp_path: Path) -> None:
    ramp = np.linspace(1000, 5000, 100 * 100).astype(np.uint16).reshape(100, 100)
    ramp[0, :3] = 65535  # hot pixels do not decide
    png16(tmp_path / "a.png", ramp)
    low, high = np.percentile(ramp, [0.1, 99.9])
    expected = np.clip((ramp - low) * 255 / (high - low), 0, 255)

    assert np.array_equal(read_raw(tmp_path / "a.png")[..., 0], ramp)
    assert np.abs(read_image(tmp_path / "a.png")[..., 0] - expected).max() <= 0.5001
    own = read_image(tmp_path / "a.png", ViewSettings(window=(0, 65535)))
    assert np.abs(own[..., 0] - ramp / 257).max() <= 0.5001


def test_sixteen_bit_colours_keep_their_order_and_balance(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    rgb = (generator.random((40, 50, 3)) * [60000, 30000, 10000]).astype(np.uint16)
    png16(tmp_path / "a.png", rgb[..., ::-1])
    alpha = np.full((40, 50, 1), 65535, np.uint16)
    alpha[:20] = 0
    png16(tmp_path / "alpha.png", np.concatenate([rgb[..., ::-1], alpha], axis=2))

    assert np.array_equal(read_raw(tmp_path / "a.png"), rgb)
    view = read_image(tmp_path / "a.png").astype(float)
    # One window for all three channels: their ratio stays.
    assert view[..., 1].mean() / view[..., 0].mean() == pytest.approx(0.5, abs=0.05)
    transparent = read_image(tmp_path / "alpha.png")
    assert (transparent[:20] == 255).all()
    assert np.array_equal(transparent[20:], read_image(tmp_path / "a.png")[20:])


def test_channels_can_be_chosen(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    red = read_image(tmp_path / "a.png", ViewSettings(channels=(0,)))
    swapped = read_image(tmp_path / "a.png", ViewSettings(channels=(2, -1, 0)))

    assert np.array_equal(red, np.repeat(picture()[..., :1], 3, axis=2))
    assert np.array_equal(swapped[..., 0], picture()[..., 2])
    assert (swapped[..., 1] == 0).all()
    with pytest.raises(ImageError, match="3 channels"):
        read_image(tmp_path / "a.png", ViewSettings(channels=(3,)))
    with pytest.raises(ImageError, match="no page 2"):
        read_image(tmp_path / "a.png", ViewSettings(page=1))


def test_windows_are_the_same_everywhere_and_never_empty() -> None:
    spikes = np.zeros((100, 100), np.uint16)
    spikes[4, 5] = 700
    assert auto_window(spikes) == (0, 700)
    assert auto_window(np.full((5, 5), 9, np.int32)) == (9, 9)
    assert auto_window(np.full((5, 5), np.nan, np.float32)) == (0, 1)
    large = np.tile(np.arange(3000, dtype=np.uint16), (3000, 1))
    assert auto_window(large) == auto_window(large.copy())
    assert auto_window(large)[0] < 10
    assert auto_window(large)[1] > 2990


def test_view_settings_have_a_key_of_their_own() -> None:
    assert ViewSettings().key() == ViewSettings(page=3).key() == ""
    chosen = ViewSettings(2, (0, 2, -1), (0.5, 10.0))
    assert ViewSettings.from_key(chosen.key(), 2) == chosen
    assert ViewSettings.from_key("", 4) == ViewSettings(4)
    assert len({chosen.key(), "", ViewSettings(channels=(0,)).key()}) == 3


def test_names_may_be_anything(tmp_path: Path) -> None:
    deep = tmp_path / "Übung α 图像" / ("very long folder name " * 9).strip()
    deep.mkdir(parents=True)
    names = ["naïve ☃ 画像 %20 #1 ?.png", "x" * 251 + ".png", "'quoted\" & spaced .png", "-v.png"]
    for name in names:
        with open(deep / name, "wb") as stream:
            Image.fromarray(picture()).save(stream, "PNG")
    found = list_images(tmp_path)

    assert {path.name for path in found} == set(names)
    for path in found:
        assert probe_image(path).problem is None
        assert np.array_equal(read_image(path), picture())
        assert len(content_hash(path)) == 64


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    for name, kind in (("a.jpg", "PNG"), ("b.png", "TIFF"), ("c.tif", "BMP")):
        with open(tmp_path / name, "wb") as stream:
            Image.fromarray(picture()).save(stream, kind)
        assert np.array_equal(read_image(tmp_path / name), picture())


def test_listing_is_natural_and_leaves_out_what_is_no_image(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.PNG", "B1.jpg", "notes.txt", ".hidden.png", "2.tif", "10.tif"):
        (tmp_path / name).write_bytes(b"x")
    for folder in ("sub2", "sub10", ".git", "old.infosam"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.webp").write_bytes(b"x")
    names = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]

    assert names == [
        "2.tif",
        "10.tif",
        "B1.jpg",
        "b2.PNG",
        "b10.png",
        "sub2/c.webp",
        "sub10/c.webp",
    ]
    assert [path.name for path in list_images(tmp_path, recursive=False)][-1] == "b10.png"
    with pytest.raises(ImageError, match="not a folder"):
        list_images(tmp_path / "2.tif")


def test_animations_show_their_first_picture(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture()), Image.fromarray(picture()[::-1])
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])

    assert probe_image(tmp_path / "a.gif").pages == 1
    assert np.array_equal(read_image(tmp_path / "a.gif"), picture())


def test_a_picture_with_a_broken_exif_block_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG", exif=b"Exif\0\0II*\0garbage", quality=95)
    (tmp_path / "a.jpg").write_bytes(stream.getvalue())

    assert read_image(tmp_path / "a.jpg").shape == (24, 32, 3)


def test_real_images_are_read(data_dir: Path) -> None:
    for folder in sorted(data_dir.iterdir()):
        for path in list_images(folder / "images")[:2] if (folder / "images").is_dir() else []:
            info = probe_image(path)
            assert info.problem is None
            assert read_image(path).shape == (info.height, info.width, 3)
