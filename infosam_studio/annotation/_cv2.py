"""OpenCV, imported in one place so that it cannot disturb Qt.

Importing ``cv2`` from the opencv-python wheel points two Qt variables at folders inside the wheel,
where no plugin for our Qt lies; a window opened afterwards might look for its platform there.
"""

from __future__ import annotations

import os

_QT_VARIABLES = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR")
_before = {name: os.environ.get(name) for name in _QT_VARIABLES}

import cv2  # noqa: E402

for _name, _value in _before.items():
    if _value is None:
        os.environ.pop(_name, None)
    else:
        # The user (or a frozen build) had set it: theirs, not OpenCV's, holds.
        os.environ[_name] = _value

__all__ = ["cv2"]
