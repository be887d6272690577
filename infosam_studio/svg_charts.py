"""Small line charts as SVG, for reports and the guide; no plotting library is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 14.0, 46.0, 44.0
# Readable on light and dark ground alike.
INK, GRID, MUTED, ACCENT, MARK = "#7a808a", "#9aa0aa", "#8a909a", "#2f7de1", "#e08a1e"

Place = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve: (x, y) in ascending x; ``dots`` draws points instead of a line."""

    name: str
    points: Sequence[tuple[float, float]]
    muted: bool = False
    dots: bool = False


@dataclass(frozen=True)
class Mark:
    """An upright line at ``x``; dashed where it did not count."""

    x: float
    name: str = ""
    counted: bool = True


@dataclass(frozen=True)
class Chart:
    """Curves over one axis; ``top`` fixes the upper end of the y axis."""

    title: str
    x_name: str
    y_name: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    top: float | None = None


def sheet(charts: Sequence[Chart], *, ground: str | None = None) -> str:
    """The charts one below the other as one SVG document, on ``ground`` (None: transparent)."""
    height = HEIGHT * len(charts)
    body = "\n".join(draw(chart, number * HEIGHT) for number, chart in enumerate(charts))
    back = f'<rect width="100%" height="100%" fill="{ground}"/>\n' if ground else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
        f'width="{WIDTH:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="11">\n'
        f"{back}{body}\n</svg>\n"
    )


def draw(chart: Chart, top: float) -> str:
    """One chart as SVG elements, ``top`` pixels down."""
    last = max([x for line in chart.lines for x, _ in line.points] or [1.0]) or 1.0
    most = chart.top or _rounded(max([y for one in chart.lines for _, y in one.points] or [1.0]))
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / last * inner_w, top + TOP + inner_h * (1 - min(y, most) / most)

    parts = [_text(LEFT, top + 16, chart.title, size=13, weight="600")]
    parts += _grid(chart, place, last, most)
    for mark in chart.marks:
        parts += _mark(mark, place, most)
    for line in chart.lines:
        parts += _curve(line, place)
    named = [line for line in chart.lines if line.name]
    for number, line in enumerate(named):
        x = WIDTH - RIGHT - 140 * (len(named) - number)
        shown = f"{'•' if line.dots else '—'} {line.name}"
        parts.append(_text(x, top + HEIGHT - 8, shown, color=_color(line)))
    return "\n".join(parts)


def _rounded(value: float) -> float:
    """The next number whose quarters are round."""
    for scale in (0.1, 1, 10, 100, 1000, 10_000):
        for step in (1, 2, 4, 8):
            if value <= step * scale:
                return step * scale
    return value


def _color(line: Line) -> str:
    return MUTED if line.muted else ACCENT


def _curve(line: Line, place: Place) -> list[str]:
    points = [place(*point) for point in line.points]
    if line.dots:
        return [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.7" fill="{_color(line)}" opacity="0.7"/>'
            for x, y in points
        ]
    told = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [
        f'<polyline points="{told}" fill="none" stroke="{_color(line)}" stroke-width="2" '
        'stroke-linejoin="round"/>'
    ]


def _mark(mark: Mark, place: Place, most: float) -> list[str]:
    (x, low), (_, high) = place(mark.x, 0), place(mark.x, most)
    dashes = "" if mark.counted else ' stroke-dasharray="3 3"'
    parts = [
        f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="{MARK}" '
        f'stroke-width="1.4"{dashes}/>'
    ]
    if mark.name:
        parts.append(_text(x + 3, high + 10, mark.name, color=MARK, size=10))
    return parts


def _grid(chart: Chart, place: Place, last: float, most: float) -> list[str]:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        (x0, y), (x1, _) = place(0, most * share), place(last, most * share)
        parts.append(
            f'<line x1="{x0:.1f}" y1="{y:.1f}" x2="{x1:.1f}" y2="{y:.1f}" stroke="{GRID}" '
            'stroke-width="0.5" opacity="0.5"/>'
        )
        parts.append(_text(x0 - 8, y + 4, f"{most * share:g}", anchor="end"))
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = place(last * share, 0)
        parts.append(_text(x, y + 16, f"{last * share:.0f}", anchor="middle"))
    x, y = place(0, 0)
    parts.append(_text(x, y + 36, chart.x_name))
    x, y = place(0, most)
    parts.append(_text(6, y - 8, chart.y_name))
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
