"""DICOM files, read with pydicom, which is an optional part of the installation.

Every frame is a page. Values are those of the modality (Hounsfield units where the file says how
to get them); the window is the file's own, MONOCHROME1 is shown with its small values white, and
YBR colours and palettes become RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from infosam_studio.annotation.pixels import Raw, Samples
from infosam_studio.annotation.view_settings import Window

SUFFIXES: Final = frozenset({".dcm", ".dicom", ".dic"})
HEAD: Final = 132  # bytes that tell a DICOM file: 128 of anything, then a mark
MISSING: Final = "DICOM needs pydicom; run pip install 'infosam-studio[dicom]' and open it again"

_LOSSLESS_JPEG: Final = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_JPEG_LS: Final = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")


class DicomError(Exception):
    """Why a DICOM file cannot be shown, as the end of a sentence."""


@dataclass(frozen=True)
class DicomLayout:
    """What the header says; ``samples`` is how many values one frame has."""

    width: int
    height: int
    frames: int
    mode: str
    samples: int


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file beginning with ``head`` (``HEAD`` bytes) is DICOM, by its mark or its name.

    Old files lack the mark; only where the name says so are they taken for DICOM.
    """
    return head[128:132] == b"DICM" or path.suffix.lower() in SUFFIXES


def dicom_layout(path: Path) -> DicomLayout:
    """Read the header; DicomError where it is not of an image."""
    data = _read(path, pixels=False)
    height, width = _number(data, "Rows", 0), _number(data, "Columns", 0)
    if not height or not width:
        raise DicomError("this DICOM file holds no image")
    channels = _number(data, "SamplesPerPixel", 1)
    photometric = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    return DicomLayout(
        width,
        height,
        max(1, _number(data, "NumberOfFrames", 1)),
        f"dicom {photometric.lower()} {_number(data, 'BitsStored', 8)} bit",
        width * height * channels,
    )


def read_dicom(path: Path, frame: int) -> Raw:
    """The samples of one frame; DicomError where they cannot be decoded."""
    data = _read(path, pixels=True)
    if not any(name in data for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DicomError("this DICOM file holds no image")
    samples = _pixels(data, frame)
    photometric = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if samples.ndim == 3:
        return Raw(_eight_bit_colors(samples, data), color=samples.shape[2] == 3)
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return Raw(_eight_bit_colors(apply_color_lut(samples, data)[:, :, :3], data), color=True)
    values = _modality_values(samples, data, frame)
    window = _window(data, frame)
    if window is None and data.get("VOILUTSequence"):
        from pydicom.pixels.processing import apply_voi

        values = np.asarray(apply_voi(values, data))
    return Raw(values[:, :, None], False, window=window, inverted=photometric == "MONOCHROME1")


def _read(path: Path, *, pixels: bool) -> Any:
    try:
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise DicomError(MISSING) from error
    try:
        data = dcmread(path, stop_before_pixels=not pixels, force=True)
    except InvalidDicomError as error:
        raise DicomError("this is not a DICOM file") from error
    if not len(data):
        raise DicomError("this is not a DICOM file")
    if not getattr(data, "file_meta", None) or "TransferSyntaxUID" not in data.file_meta:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        # Files from before the standard had a header: this is what they are encoded in.
        data.file_meta = getattr(data, "file_meta", None) or FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return data


def _number(data: Any, name: str, missing: int) -> int:
    value = data.get(name)
    try:
        return missing if value is None else int(value)
    except (TypeError, ValueError):
        return missing


def _pixels(data: Any, frame: int) -> Samples:
    """One frame, [H, W] or RGB [H, W, 3], as stored."""
    syntax = data.file_meta.TransferSyntaxUID
    if str(syntax) in (*_LOSSLESS_JPEG, *_JPEG_LS):
        return _with_imagecodecs(data, frame, str(syntax))
    from pydicom.pixels.utils import pixel_array

    try:
        return np.asarray(pixel_array(data, index=frame))
    except (NotImplementedError, RuntimeError, ImportError) as error:
        if not syntax.is_compressed:
            raise
        raise DicomError(
            f"no decoder is installed for its compression ({syntax.name}); run pip install "
            "pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or save it uncompressed"
        ) from error


def _with_imagecodecs(data: Any, frame: int, syntax: str) -> Samples:
    """Compressions that pydicom has no decoder for, and we have."""
    import imagecodecs
    from pydicom.encaps import get_frame

    count = max(1, _number(data, "NumberOfFrames", 1))
    stored = get_frame(data.PixelData, frame, number_of_frames=count)
    lossless = syntax in _LOSSLESS_JPEG
    pixels = (imagecodecs.ljpeg_decode if lossless else imagecodecs.jpegls_decode)(stored)
    shape = _number(data, "Rows", 0), _number(data, "Columns", 0)
    if pixels.shape[:2] != shape:
        raise DicomError("its pixels are of another size than its header says")
    if _number(data, "PixelRepresentation", 0) == 1:
        unused = 8 * pixels.dtype.itemsize - _number(data, "BitsStored", 8 * pixels.dtype.itemsize)
        signed = pixels.view(f"i{pixels.dtype.itemsize}")
        pixels = (signed << unused) >> unused
    return np.asarray(pixels)


def _eight_bit_colors(samples: Samples, data: Any) -> Samples:
    """Colours as uint8; deeper ones keep their depth for the window."""
    if samples.dtype == np.uint8 or samples.dtype.kind == "f":
        return samples
    if str(data.get("PhotometricInterpretation")) == "PALETTE COLOR":
        descriptor = data.get("RedPaletteColorLookupTableDescriptor")
        return (samples >> (int(descriptor[2]) - 8 if descriptor else 8)).astype(np.uint8)
    return samples


def _modality_values(samples: Samples, data: Any, frame: int) -> Samples:
    if data.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(samples, data))
    slope = _one(_find(data, frame, "PixelValueTransformationSequence", "RescaleSlope"), 1.0)
    shift = _one(_find(data, frame, "PixelValueTransformationSequence", "RescaleIntercept"), 0.0)
    if (slope, shift) == (1.0, 0.0):
        return samples
    if slope.is_integer() and shift.is_integer() and abs(slope) < 2**12 and abs(shift) < 2**24:
        return samples.astype(np.int32) * np.int32(slope) + np.int32(shift)
    return samples.astype(np.float32) * np.float32(slope) + np.float32(shift)


def _window(data: Any, frame: int) -> Window | None:
    """The first window of the file as its smallest and largest value (PS3.3 C.11.2.1.2)."""
    center = _one(_find(data, frame, "FrameVOILUTSequence", "WindowCenter"), np.nan)
    width = _one(_find(data, frame, "FrameVOILUTSequence", "WindowWidth"), np.nan)
    if not np.isfinite(center) or not np.isfinite(width) or width <= 0:
        return None
    function = _find(data, frame, "FrameVOILUTSequence", "VOILUTFunction")
    if function == "LINEAR_EXACT":
        return center - width / 2, center + width / 2
    return center - 0.5 - max(width - 1, 0.5) / 2, center - 0.5 + max(width - 1, 0.5) / 2


def _find(data: Any, frame: int, group: str, name: str) -> Any:
    """A value of the file, or of this frame where the file describes its frames one by one."""
    if data.get(name) is not None:
        return data.get(name)
    places = [
        *list(data.get("PerFrameFunctionalGroupsSequence") or ())[frame : frame + 1],
        *list(data.get("SharedFunctionalGroupsSequence") or ())[:1],
    ]
    for place in places:
        for item in list(place.get(group) or ())[:1]:
            if item.get(name) is not None:
                return item.get(name)
    return None


def _one(value: Any, missing: float) -> float:
    """A number of an element that may have several, or none, or nonsense."""
    if hasattr(value, "__len__") and not isinstance(value, str):
        value = value[0] if len(value) else None
    try:
        return missing if value is None else float(value)
    except (TypeError, ValueError):
        return missing
