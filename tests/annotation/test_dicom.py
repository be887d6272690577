"""DICOM files become views: window, inversion, frames, colours, compressions; what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from infosam_studio.annotation.images import (
    ImageError,
    ViewSettings,
    list_images,
    probe_image,
    read_image,
    read_raw,
)
from infosam_studio.annotation.project import Project

pydicom = pytest.importorskip("pydicom", reason="the optional part for DICOM is not installed")

HEIGHT, WIDTH = 20, 30
RAMP = np.linspace(0, 4095, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint16)


def write(
    path: Path, pixels: np.ndarray, syntax: str = "ExplicitVRLittleEndian", **tags: Any
) -> Path:
    """A file of one or more frames, with more elements from ``tags``."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    color = pixels.ndim == 3 and pixels.shape[2] == 3
    data.SamplesPerPixel = 3 if color else 1
    data.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        data.PlanarConfiguration = 0
    frames = 1 if color or pixels.ndim == 2 else len(pixels)
    data.Rows, data.Columns = pixels.shape[:2] if frames == 1 else pixels.shape[1:3]
    if frames > 1:
        data.NumberOfFrames = frames
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def compress(path: Path, frames: list[bytes], syntax: str) -> None:
    """Put encoded frames in place of a file's pixels."""
    from pydicom.encaps import encapsulate

    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
    data.PixelData = encapsulate(frames)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)


def test_the_window_of_the_file_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", RAMP, WindowCenter=1000.5, WindowWidth=2001)
    view = read_image(path)
    info = probe_image(path)

    assert (info.width, info.height, info.pages, info.problem) == (WIDTH, HEIGHT, 1, None)
    expected = np.clip(RAMP / 2000 * 255 + 0.5, 0, 255).astype(np.uint8)
    assert np.array_equal(view[:, :, 0], expected)
    own = read_image(path, ViewSettings(window=(0, 4095)))
    assert own[-1, -1, 0] == 255
    assert own[HEIGHT // 2, 0, 0] < 140 < view[HEIGHT // 2, 0, 0]


def test_hounsfield_units_and_several_windows(tmp_path: Path) -> None:
    stored = (RAMP.astype(np.int16)) - 1000
    tags = {"RescaleSlope": 1, "RescaleIntercept": -24, "WindowCenter": [40, 600]}
    path = write(tmp_path / "ct.dcm", stored, WindowWidth=[400, 2000], **tags)

    assert read_raw(path)[0, 0, 0] == -1024
    low, high = 40 - 0.5 - 399 / 2, 40 - 0.5 + 399 / 2
    values = stored.astype(float) - 24
    expected = np.clip((values - low) * 255 / (high - low), 0, 255) + 0.5
    assert np.array_equal(read_image(path)[:, :, 1], expected.astype(np.uint8))


def test_monochrome1_is_shown_inverted(tmp_path: Path) -> None:
    tags = {"WindowCenter": 2048, "WindowWidth": 4096}
    plain = read_image(write(tmp_path / "2.dcm", RAMP, **tags))
    tags["PhotometricInterpretation"] = "MONOCHROME1"
    inverted = read_image(write(tmp_path / "1.dcm", RAMP, **tags))
    eight = (RAMP >> 4).astype(np.uint8)
    direct = read_image(write(tmp_path / "8.dcm", eight, PhotometricInterpretation="MONOCHROME1"))

    assert np.array_equal(inverted, 255 - plain)
    assert np.array_equal(direct[:, :, 0], 255 - eight)


def test_frames_are_pages_of_a_project(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    frames = np.stack([np.roll(RAMP, 5 * k, axis=1) for k in range(3)])
    write(tmp_path / "images" / "film.dcm", frames)
    # Files from a scanner often have no suffix, or end with the number of a UID.
    write(tmp_path / "images" / "IM000001", RAMP)
    write(tmp_path / "images" / "1.2.840.7", RAMP)
    (tmp_path / "images" / "notes").write_text("nothing to see")
    write(tmp_path / "images" / "DICOMDIR", RAMP)
    with Project.create(tmp_path / "p", tmp_path / "images") as project:
        project.scan()
        images = project.images()
        views = [project.read_view(image) for image in images]

    assert [(i.path, i.page) for i in images] == [
        ("1.2.840.7", 0),
        ("film.dcm", 0),
        ("film.dcm", 1),
        ("film.dcm", 2),
        ("IM000001", 0),
    ]
    assert all(image.problem is None for image in images)
    assert np.array_equal(views[2], np.roll(views[1], 5, axis=1))


def test_frames_with_windows_of_their_own(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    groups = []
    for center in (500, 3000):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 200
        group.FrameVOILUTSequence = Sequence([window])
        groups.append(group)
    path = write(tmp_path / "a.dcm", np.stack([RAMP, RAMP]))
    data = pydicom.dcmread(path)
    data.PerFrameFunctionalGroupsSequence = Sequence(groups)
    data.save_as(path)

    first, second = (read_image(path, ViewSettings(page))[:, :, 0] for page in (0, 1))
    assert RAMP[first == 255].min() < 700
    assert RAMP[second == 255].min() > 3000


def test_colours_and_palettes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    assert np.array_equal(read_image(write(tmp_path / "rgb.dcm", colors)), colors)

    planes = np.ascontiguousarray(colors.transpose(2, 0, 1))
    path = write(tmp_path / "planes.dcm", colors, PlanarConfiguration=1, PixelData=planes.tobytes())
    assert np.array_equal(read_image(path), colors)

    indices = (np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 4).astype(np.uint8)
    tables = {}
    for name, values in zip(("Red", "Green", "Blue"), rng.integers(0, 256, (3, 4)), strict=True):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        table = (values.astype(np.uint16) << 8).tobytes()
        tables[f"{name}PaletteColorLookupTableData"] = table
    path = write(tmp_path / "p.dcm", indices, PhotometricInterpretation="PALETTE COLOR", **tables)
    reds = np.frombuffer(tables["RedPaletteColorLookupTableData"], np.uint16) >> 8
    assert np.array_equal(read_image(path)[:, :, 0], reds[indices])


def test_compressions(tmp_path: Path) -> None:
    signed = RAMP.astype(np.int16) - 2048
    plain = read_image(write(tmp_path / "plain.dcm", signed))
    for syntax, encode in (
        ("JPEGLosslessSV1", lambda p: imagecodecs.ljpeg_encode(p.view(np.uint16))),
        ("JPEGLSLossless", lambda p: imagecodecs.jpegls_encode(p.view(np.uint16))),
        ("JPEG2000Lossless", lambda p: imagecodecs.jpeg2k_encode(p, level=0, codecformat="j2k")),
    ):
        path = write(tmp_path / f"{syntax}.dcm", signed)
        compress(path, [encode(signed)], syntax)
        assert probe_image(path).problem is None, syntax
        assert np.array_equal(read_image(path), plain), syntax

    packed = pydicom.dcmread(write(tmp_path / "rle.dcm", np.stack([RAMP, RAMP[::-1]])))
    packed.compress(pydicom.uid.RLELossless)
    packed.save_as(tmp_path / "rle.dcm")
    upside_down = read_image(tmp_path / "rle.dcm", ViewSettings(1))
    assert np.array_equal(upside_down, read_image(tmp_path / "rle.dcm")[::-1])


def test_without_a_decoder_one_sentence_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "video.dcm", RAMP)
    compress(path, [b"\0" * 100], "MPEG2MPML")
    with pytest.raises(ImageError) as refused:
        read_image(path)
    assert "no decoder is installed for its compression (MPEG2" in str(refused.value)
    assert "video.dcm" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_pydicom_the_command_that_mends_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    path = write(tmp_path / "images" / "a.dcm", RAMP)
    with Project.create(tmp_path / "p", tmp_path / "images") as project:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "pydicom", None)
            project.scan()
            problem = project.images()[0].problem or ""
        assert "pip install 'infosam-studio[dicom]'" in problem

        project.scan()  # once it is installed, the file is looked at again
        assert project.images()[0].problem is None
        assert project.images()[0].width == WIDTH
    assert list_images(tmp_path / "images") == [path]


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "report.dcm", RAMP)
    data = pydicom.dcmread(path)
    for name in ("PixelData", "Rows", "Columns"):
        del data[name]
    data.save_as(path)
    assert probe_image(path).problem == "this DICOM file holds no image"

    (tmp_path / "text.dcm").write_text("only a text")
    assert probe_image(tmp_path / "text.dcm").problem
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(write(tmp_path / "whole.dcm", RAMP).read_bytes()[:-200])
    with pytest.raises(ImageError, match=r"cut.dcm cannot be read"):
        read_image(cut)
