"""Small line charts as SVG, for the guide; no plotting library is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 34.0, 44.0
# Readable on light and dark ground alike.
INK, GRID, MUTED, ACCENT, MARK = "#7a808a", "#9aa0aa", "#8a909a", "#2f7de1", "#e08a1e"


@dataclass(frozen=True)
class Line:
    """One curve: (x, y) in ascending x."""

    name: str
    points: Sequence[tuple[float, float]]
    muted: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves over one axis; ``marks`` are (x, whether it counted): solid or dashed."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, bool]] = field(default_factory=list)


def write_charts(charts: Sequence[Chart], path: Path) -> None:
    """The charts one below the other."""
    height = HEIGHT * len(charts)
    body = "\n".join(draw(chart, number * HEIGHT) for number, chart in enumerate(charts))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
        f'width="{WIDTH:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="11">\n'
        f"{body}\n</svg>\n",
        encoding="utf-8",
    )


def draw(chart: Chart, top: float) -> str:
    """One chart as SVG elements, ``top`` pixels down."""
    last = max((x for line in chart.lines for x, _ in line.points), default=1.0)
    most = max((y for line in chart.lines for _, y in line.points), default=1.0)
    most = max(1.0, -(-most // 1))
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / last * inner_w, top + TOP + inner_h * (1 - y / most)

    parts = [_text(LEFT, top + 18, chart.title, size=13, weight="600")]
    parts += _grid(chart, place, last, most)
    for x, counted in chart.marks:
        (px, y0), (_, y1) = place(x, 0), place(x, most)
        dashes = "" if counted else ' stroke-dasharray="3 3"'
        parts.append(
            f'<line x1="{px:.1f}" y1="{y0:.1f}" x2="{px:.1f}" y2="{y1:.1f}" stroke="{MARK}" '
            f'stroke-width="1.4"{dashes}/>'
        )
    for number, line in enumerate(chart.lines):
        color = MUTED if line.muted else ACCENT
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in (place(*p) for p in line.points))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2" '
            'stroke-linejoin="round"/>'
        )
        x = WIDTH - RIGHT - 250 + 125 * number
        parts.append(_text(x, top + HEIGHT - 8, f"— {line.name}", color=color))
    return "\n".join(parts)


def _grid(chart: Chart, place: object, last: float, most: float) -> list[str]:
    assert callable(place)
    parts = []
    step = max(1, round(most / 4))
    for value in range(0, int(most) + 1, step):
        (x0, y), (x1, _) = place(0, value), place(last, value)
        parts.append(
            f'<line x1="{x0:.1f}" y1="{y:.1f}" x2="{x1:.1f}" y2="{y:.1f}" stroke="{GRID}" '
            'stroke-width="0.5" opacity="0.5"/>'
        )
        parts.append(_text(x0 - 8, y + 4, str(value), anchor="end"))
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = place(last * share, 0)
        parts.append(_text(x, y + 16, f"{last * share:.0f}", anchor="middle"))
    x, y = place(0, 0)
    parts.append(_text(x, y + 34, chart.x_name))
    x, y = place(0, most)
    parts.append(_text(6, y - 6, chart.y_name))
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    color: str = INK,
    anchor: str = "start",
    size: int = 11,
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" '
        f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
    )
