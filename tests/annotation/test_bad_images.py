"""Files that cannot be read are listed with a reason and never stop the others."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from infosam_studio.annotation.images import ImageError, probe_image, read_image
from infosam_studio.annotation.project import Project

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def saved(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "TIFF16":
        tifffile.imwrite(stream, NOISE.astype(np.uint16), photometric="rgb", compression="zlib")
    else:
        Image.fromarray(NOISE).save(stream, kind)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        checksum = zlib.crc32(name + data)
        chunks += struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff_claiming(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((8, 8), np.uint8), metadata=None)
    data = bytearray(stream.getvalue())
    count = struct.unpack_from("<H", data, 8)[0]
    assert struct.unpack_from("<I", data, 4)[0] == 8
    for entry in range(count):
        at = 10 + 12 * entry
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in (256, 257, 278):
            struct.pack_into("<HII", data, at + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


def bmp_claiming(width: int, height: int) -> bytes:
    data = bytearray(saved("BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


KINDS = ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "TIFF16"]
BAD = {
    "empty.png": (b"", "empty"),
    "empty.tif": (b"", "empty"),
    "text.jpg": (b"this is not a picture", "not an image"),
    "page.png": (b"<html><body>404</body></html>", "not an image"),
    "header only.png": (saved("PNG")[:20], ""),
    "signature only.tif": (b"II*\0", ""),
    "zeros.tif": (b"II*\0" + bytes(400), ""),
    "zeros.bmp": (bytes(4000), ""),
    "huge.png": (png_claiming(200_000, 200_000), "gigapixel"),
    "just too large.png": (png_claiming(50_000, 20_001), "gigapixel"),
    "huge.tif": (tiff_claiming(100_000, 100_000), "gigapixel"),
    "huge.bmp": (bmp_claiming(60_000, 60_000), "gigapixel"),
    "none.png": (png_claiming(0, 7), ""),
    **{f"half.{kind}.jpg": (saved(kind)[: len(saved(kind)) // 2], "") for kind in KINDS},
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_reason_is_told(tmp_path: Path, name: str) -> None:
    data, reason = BAD[name]
    (tmp_path / name).write_bytes(data)
    info = probe_image(tmp_path / name)

    assert info.problem
    assert reason in info.problem
    assert "\n" not in info.problem
    with pytest.raises(ImageError) as told:
        read_image(tmp_path / name)
    assert name in str(told.value)


def test_missing_files_folders_and_links(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")

    assert "missing" in str(probe_image(tmp_path / "absent.png").problem)
    for name in ("folder.png", "gone.png", "circle.png"):
        assert probe_image(tmp_path / name).problem


def test_large_images_within_the_limit_raise_no_alarm(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png_claiming(30_000, 30_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = probe_image(tmp_path / "large.png")

    assert (info.width, info.height, info.problem) == (30_000, 30_000, None)


def test_bad_files_do_not_stop_the_others(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name, (data, _) in BAD.items():
        (images / name).write_bytes(data)
    for kind in KINDS:
        (images / f"good.{kind}.png").write_bytes(saved(kind))
    with Project.for_path(images) as project:
        project.scan()
        problems = {image.path: image.problem for image in project.images()}

    assert {name for name, problem in problems.items() if problem} == set(BAD)
    assert len(problems) == len(BAD) + len(KINDS)


@settings(max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    st.floats(0.05, 1),
)
def test_damage_of_any_kind_is_an_image_error_or_an_image(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    changes: list[tuple[float, int]],
    kept: float,
) -> None:
    data = bytearray(saved(kind))
    for where, value in changes:
        data[int(where * len(data))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(data[: max(1, int(kept * len(data)))]))
    info = probe_image(path)
    # A flipped byte in the header may claim any size up to the limit: do not decode these here.
    if info.problem is None and info.width * info.height < 10_000_000:
        try:
            view = read_image(path)
        except ImageError:
            return
        assert view.shape == (info.height, info.width, 3)
