"""Draw the PNG sizes of the app icon from its SVG, and the .ico and .icns of the installers.

python packaging/render_icons.py
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PIL import Image
from PySide6.QtCore import QByteArray
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

ICONS = Path(__file__).resolve().parent.parent / "resources" / "icons"
NAME = "infosam-studio"
SIZES = (16, 32, 64, 128, 256, 512)


def main() -> None:
    renderer = QSvgRenderer(QByteArray((ICONS / f"{NAME}.svg").read_bytes()))
    for size in SIZES:
        image = QImage(size, size, QImage.Format.Format_ARGB32)
        image.fill(0)
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        renderer.render(painter)
        painter.end()
        image.save(str(ICONS / f"{NAME}-{size}.png"))
    largest = Image.open(ICONS / f"{NAME}-512.png")
    largest.save(ICONS / f"{NAME}.ico", sizes=[(s, s) for s in SIZES if s <= 256])
    largest.save(ICONS / f"{NAME}.icns")


if __name__ == "__main__":
    main()
