"""The progress report: what labelling cost over time, as a page (HTML) or a picture (PNG)."""

from __future__ import annotations

import datetime
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

from infosam_studio import svg_charts
from infosam_studio.annotation.effort import Effort, effort_of, running_mean
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.svg_charts import Chart, Line, Mark

WINDOW = 10
PAPER = "#ffffff"
SCALE = 2.0

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 700px; margin: 32px auto; padding: 0 16px; }
table { border-collapse: collapse; } td { padding: 3px 18px 3px 0; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
p { color: #7a808a; } svg { max-width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class Progress:
    """What the report tells of one project."""

    title: str
    images: int
    finished: int
    effort: Effort


def progress_of(
    title: str, images: int, finished: int, objects: Sequence[ObjectRecord]
) -> Progress:
    """The progress of a project: its images, how many are finished, and its objects."""
    return Progress(title, images, finished, effort_of(objects))


def figures(progress: Progress) -> list[tuple[str, str]]:
    """What is told in words: (name, value)."""
    effort = progress.effort
    rows = [
        ("Images finished", f"{progress.finished} of {progress.images}"),
        ("Objects", str(effort.objects)),
        ("Clicks in all", f"{sum(effort.clicks):.0f}"),
        ("Time in all", _time(sum(effort.seconds))),
        ("Clicks per object, first 10 → last 10", _ends(effort.clicks)),
        ("Seconds per object, first 10 → last 10", _ends(effort.seconds)),
    ]
    first = [value for _, value in effort.known_first()]
    if first:
        rows.append(("First mask kept (IoU), first 10 → last 10", _ends(first, digits=2)))
    if effort.suggested:
        rows.append(("Of these, accepted suggestions", str(effort.suggested)))
    return rows


def charts(effort: Effort) -> list[Chart]:
    """Clicks, seconds and corrective IoU over the objects, with the versions marked."""
    marks = tuple(Mark(float(change.place) + 0.5, change.name) for change in effort.changes)
    found = [
        _chart("Clicks per object", "clicks", list(enumerate(effort.clicks, 1)), marks),
        _chart("Seconds per object", "seconds", list(enumerate(effort.seconds, 1)), marks),
    ]
    first = [(place + 1, value) for place, value in effort.known_first()]
    if first:
        name = "First mask against the accepted one"
        found.append(_chart(name, "IoU", first, marks, top=1.0))
    return found


def _chart(
    title: str,
    unit: str,
    points: Sequence[tuple[float, float]],
    marks: tuple[Mark, ...],
    top: float | None = None,
) -> Chart:
    means = running_mean([value for _, value in points], WINDOW)
    mean = [(x, value) for (x, _), value in zip(points, means, strict=True)]
    dots = Line("each", points, muted=True, dots=True)
    return Chart(title, "objects", unit, [dots, Line(f"mean of {WINDOW}", mean)], marks, top)


def as_html(progress: Progress) -> str:
    """The whole report as one page without any other file."""
    title = html.escape(progress.title)
    rows = "\n".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
        for name, value in figures(progress)
    )
    drawn = svg_charts.sheet(charts(progress.effort)) if progress.effort.objects else ""
    today = datetime.date.today().isoformat()
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>Labelling progress, {today}. "
        "Upright lines: another version of the model came into use.</p>\n"
        f"<table>\n{rows}\n</table>\n{drawn}</body></html>\n"
    )


def as_image(progress: Progress) -> QImage:
    """The charts with the figures above them, as a picture for a slide or a chat."""
    rows = figures(progress)
    drawn = charts(progress.effort)
    head = 40 + 20 * len(rows)
    height = head + svg_charts.HEIGHT * len(drawn)
    image = QImage(
        round(svg_charts.WIDTH * SCALE), round(height * SCALE), QImage.Format.Format_RGB32
    )
    image.fill(QColor(PAPER))
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(SCALE, SCALE)
    _write_figures(painter, progress.title, rows)
    if drawn:
        renderer = QSvgRenderer(QByteArray(svg_charts.sheet(drawn).encode()))
        place = QRectF(0, head, svg_charts.WIDTH, svg_charts.HEIGHT * len(drawn))
        renderer.render(painter, place)
    painter.end()
    return image


def _write_figures(painter: QPainter, title: str, rows: Sequence[tuple[str, str]]) -> None:
    font = painter.font()
    font.setPixelSize(15)
    font.setBold(True)
    painter.setFont(font)
    painter.setPen(QColor("#24272c"))
    painter.drawText(16, 26, title)
    font.setPixelSize(12)
    font.setBold(False)
    painter.setFont(font)
    for number, (name, value) in enumerate(rows):
        painter.drawText(16, 48 + 20 * number, name)
        painter.drawText(330, 48 + 20 * number, value)


def write(progress: Progress, path: Path) -> Path:
    """Write the report; the name's end says how (.png, else .html). StudioError if it cannot."""
    try:
        if path.suffix.lower() == ".png":
            if not as_image(progress).save(str(path), "PNG"):  # type: ignore[call-overload]
                raise OSError("the picture could not be written")
            return path
        if path.suffix.lower() not in (".html", ".htm"):
            path = path.with_name(path.name + ".html")
        path.write_text(as_html(progress), encoding="utf-8")
    except OSError as error:
        raise StudioError(
            f"{path} cannot be written ({error.strerror or error}): choose another place."
        ) from error
    return path


def _ends(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return "–"
    first, last = values[:WINDOW], values[-WINDOW:]
    return f"{sum(first) / len(first):.{digits}f} → {sum(last) / len(last):.{digits}f}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
