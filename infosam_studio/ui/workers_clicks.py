"""The click protocol for the guided tour (the window itself never clicks by itself)."""

from __future__ import annotations

from infosam_studio.segmentation.clicks import next_click

__all__ = ["next_click"]
