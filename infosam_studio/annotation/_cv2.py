"""OpenCV, imported in one place: its wheel points Qt at plugins that PySide6 must not load."""

from __future__ import annotations

import os

import cv2

for _name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR"):
    os.environ.pop(_name, None)

__all__ = ["cv2"]
