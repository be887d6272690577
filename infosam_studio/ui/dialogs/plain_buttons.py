"""Buttons of a dialog without the pictures that some desktops put on them."""

from __future__ import annotations

from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QDialogButtonBox


def plain_buttons(box: QDialogButtonBox) -> None:
    """Take the pictures off all buttons the box has now."""
    for button in box.buttons():
        button.setIcon(QIcon())
