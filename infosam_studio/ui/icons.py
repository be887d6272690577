"""Icons by meaning, in the colours of the theme."""

from __future__ import annotations

from functools import lru_cache

import platformdirs
import qtawesome
from PySide6.QtCore import QSize
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap

# Phosphor, one family for the whole window.
NAMES = {
    "open": "ph.folder-open",
    "export": "ph.export",
    "import": "ph.download-simple",
    "undo": "ph.arrow-u-up-left",
    "redo": "ph.arrow-u-up-right",
    "accept": "ph.check-bold",
    "cancel": "ph.x",
    "delete": "ph.trash",
    "previous": "ph.caret-left",
    "next": "ph.caret-right",
    "skip": "ph.skip-forward",
    "fit": "ph.corners-out",
    "actual": "ph.magnifying-glass-plus",
    "prompt": "ph.cursor",
    "box": "ph.bounding-box",
    "lasso": "mdi6.lasso",
    "scribble": "ph.scribble-loop",
    "brush": "ph.paint-brush",
    "eraser": "ph.eraser",
    "polygon": "ph.polygon",
    "cut": "ph.scissors",
    "hand": "ph.hand",
    "light": "ph.sun",
    "dark": "ph.moon",
    "eye": "ph.eye",
    "eye_off": "ph.eye-slash",
    "outline": "ph.circle-dashed",
    "fill": "ph.circle-half",
    "more": "ph.dots-three",
    "add": "ph.plus",
    "search": "ph.magnifying-glass",
    "filter": "ph.funnel",
    "sort": "ph.sort-ascending",
    "model": "ph.cpu",
    "adapt": "ph.sparkle",
    "images": "ph.image",
    "objects": "ph.stack",
    "classes": "ph.tag",
    "history": "ph.clock-counter-clockwise",
    "view": "ph.sliders-horizontal",
    "shortcuts": "ph.keyboard",
    "samples": "ph.flask",
    "merge": "mdi6.vector-union",
    "subtract": "mdi6.vector-difference-ba",
    "holes": "ph.circle-fill",
    "specks": "mdi6.broom",
    "smooth": "mdi6.sine-wave",
    "largest": "ph.crown-simple",
    "grow": "ph.arrows-out-simple",
    "shrink": "ph.arrows-in-simple",
    "refine": "ph.pencil-simple",
    "zoom_object": "ph.crosshair-simple",
    "only": "ph.selection-all",
    "untouched": "ph.circle",
    "in_progress": "ph.circle-half-fill",
    "done": "ph.check-circle-fill",
    "empty": "ph.prohibit",
    "flagged": "ph.flag-fill",
    "problem": "ph.warning-fill",
    "excluded": "ph.eye-slash",
    "hover": "mdi6.cursor-default-gesture-outline",
    "close": "ph.x",
    "info": "ph.info",
    "warning": "ph.warning",
    "error": "ph.warning-circle",
    "minimap": "ph.picture-in-picture",
    "region": "ph.frame-corners",
    "chart": "ph.chart-line-up",
    "help": "ph.question",
    "suggest": "ph.magic-wand",
    "next_best": "ph.compass",
}


def icon(name: str, color: str | None = None) -> QIcon:
    """The icon for a meaning; ``color`` overrides the theme's text colour."""
    from infosam_studio.ui.theme import theme

    tokens = theme().tokens
    return qtawesome.icon(
        NAMES[name],
        color=color or tokens.text,
        color_disabled=tokens.faint,
    )


def pixmap(name: str, size: int, color: str | None = None, ratio: float = 1.0) -> QPixmap:
    """The icon as a pixmap of ``size`` logical pixels, crisp at ``ratio``."""
    return icon(name, color).pixmap(QSize(size, size), ratio)


@lru_cache(maxsize=256)
def swatch(color: str, size: int = 14) -> QIcon:
    """A round dot in a class's colour."""
    picture = QPixmap(size * 2, size * 2)
    picture.setDevicePixelRatio(2)
    picture.fill(QColor(0, 0, 0, 0))
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor(color))
    painter.setPen(QColor(color).darker(125))
    painter.drawEllipse(1, 1, size - 2, size - 2)
    painter.end()
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # else a selected row tints the colour
    return icon


def arrow_file(color: str) -> str:
    """A small arrow as a file, since a style sheet takes pictures only from files."""
    return _svg_file("arrow", color, "M1.5 3.5 L5 7 L8.5 3.5")


def tick_file(color: str) -> str:
    """The tick of a checked box, as a file."""
    return _svg_file("tick", color, "M2 5.2 L4.2 7.4 L8.2 2.8")


@lru_cache(maxsize=16)
def _svg_file(name: str, color: str, path: str) -> str:
    folder = platformdirs.user_cache_path("infosam-studio", appauthor=False) / "icons"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{color.lstrip('#')}.svg"
    file.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10">'
        f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/></svg>'
    )
    return file.as_posix()
