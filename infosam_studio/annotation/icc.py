"""Colour profiles: 8-bit colours to sRGB, which is what SAM was trained on and screens show."""

from __future__ import annotations

import io
import logging

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}


def convert_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An L, RGB or CMYK image as sRGB; unchanged where the profile is sRGB, unfit or unreadable.

    A profile that belongs to another colour space (a grey image with an RGB profile is common)
    says nothing about the image and is left out of account.
    """
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES.get(image.mode):
            return image
        # A conversion from sRGB to itself could still round some values.
        if image.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError) as error:
        log.info("colour profile left out of account: %s", error)
        return image
    return image if converted is None else converted


def to_srgb(pixels: npt.NDArray[np.uint8], profile: bytes) -> npt.NDArray[np.uint8]:
    """``convert_profile`` for an RGB array [H, W, 3]."""
    image = convert_profile(Image.fromarray(np.ascontiguousarray(pixels)), profile)
    return np.asarray(image)
