"""What labelling costs: clicks and seconds per object, over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QPointF, QRectF, Qt, Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.annotation.effort import effort_of, running_mean
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.ui.document import Document
from infosam_studio.ui.panels.frame import Panel, empty_hint
from infosam_studio.ui.report import Progress, progress_of, write
from infosam_studio.ui.theme import theme

SHOWN = 60
SMOOTHED = 5
IDLE = "Pauses of more than 20 seconds do not count"
KEPT = "How much of the model's first mask you kept: 1 means nothing to correct"


class Spark(QWidget):
    """A small line of the last values, with their running mean."""

    def __init__(self, name: str, top: float | None = None) -> None:
        super().__init__()
        self._values: list[float] = []
        self._marks: list[int] = []
        self._top = top
        self.setAccessibleName(name)
        self.setMinimumHeight(44)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme().changed.connect(self.update)

    def show_values(self, values: list[float], marks: Sequence[int] = ()) -> None:
        """The values from the oldest to the newest, and the places before which to draw marks."""
        self._values = values[-SHOWN:]
        left_out = len(values) - len(self._values)
        self._marks = [mark - left_out for mark in marks if mark > left_out]
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if len(self._values) < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        tokens = theme().tokens
        box = QRectF(self.rect()).adjusted(3, 5, -3, -5)
        top = self._top or max(self._values) or 1.0
        step = box.width() / (len(self._values) - 1)

        def place(index: int, value: float) -> QPointF:
            return QPointF(box.left() + index * step, box.bottom() - value / top * box.height())

        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(tokens.faint))
        for index, value in enumerate(self._values):
            painter.drawEllipse(place(index, value), 1.6, 1.6)
        means = running_mean(self._values, SMOOTHED)
        painter.setPen(QPen(QColor(tokens.warn), 1.2))
        for mark in self._marks:
            x = place(0, 0).x() + (mark - 0.5) * step
            painter.drawLine(QPointF(x, box.top() - 3), QPointF(x, box.bottom() + 3))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(tokens.accent), 1.8))
        painter.drawPolyline(QPolygonF([place(i, mean) for i, mean in enumerate(means)]))


class LabourPanel(Panel):
    """Three figures and small curves, and the report."""

    told = Signal(str, str)
    written = Signal(object)

    def __init__(self, document: Document, parent: QWidget) -> None:
        super().__init__("labour", "Effort", parent, scrollable=True)
        self._document = document
        self._clicks, self._seconds = Spark("Clicks per object"), Spark("Seconds per object")
        self._first = Spark("First mask kept", top=1.0)
        self._clicks_text, self._seconds_text, self._first_text = (QLabel("–") for _ in range(3))
        self._empty = empty_hint(
            "Nothing to show yet.\n\nObjects you make with clicks, boxes or the brush show here "
            "what they cost, and whether the model gets better."
        )
        self._figures = QWidget()
        figures = QVBoxLayout(self._figures)
        figures.setContentsMargins(0, 0, 0, 0)
        figures.setSpacing(self.column.spacing())
        for title, text, spark, tip in (
            ("Clicks per object", self._clicks_text, self._clicks, ""),
            ("Seconds per object", self._seconds_text, self._seconds, "\n" + IDLE),
            ("First mask kept (IoU)", self._first_text, self._first, "\n" + KEPT),
        ):
            text.setToolTip(f"Mean of the last ten objects{tip}")
            figures.addLayout(self._row(title, text))
            figures.addWidget(spark)
        self._note = QLabel(
            "Each object you accept adds a dot. The line is the mean of five; an upright line "
            "means that another version of the model came into use."
        )
        self._note.setProperty("role", "muted")
        self._note.setWordWrap(True)
        figures.addWidget(self._note)
        self.report = QPushButton("Export report…")
        self.report.setToolTip("Clicks, seconds and first masks over time, as a page or a picture")
        self.report.clicked.connect(self.ask_report)
        figures.addWidget(self.report)
        self.column.addWidget(self._empty)
        self.column.addWidget(self._figures)
        self.column.addStretch(1)
        document.history_changed.connect(self._reload)
        self.visibilityChanged.connect(self._reload)

    def _row(self, title: str, text: QLabel) -> QHBoxLayout:
        row = QHBoxLayout()
        label = QLabel(title)
        label.setProperty("role", "muted")
        text.setProperty("role", "heading")
        row.addWidget(label)
        row.addStretch(1)
        row.addWidget(text)
        return row

    @Slot()
    def _reload(self) -> None:
        if self.isVisible():
            self.show_objects(self._document.project.objects())

    def show_objects(self, objects: list[ObjectRecord]) -> None:
        """Draw the effort of these objects, in the order they were made."""
        effort = effort_of(objects)
        self.report.setEnabled(effort.objects > 0)
        self._empty.setVisible(effort.objects == 0)
        self._figures.setVisible(effort.objects > 0)
        marks = [change.place for change in effort.changes]
        first = effort.known_first()
        moved = [sum(1 for place, _ in first if place < mark) for mark in marks]
        for values, text, spark, shown, own in (
            (list(effort.clicks), self._clicks_text, self._clicks, "{:.1f}", marks),
            (list(effort.seconds), self._seconds_text, self._seconds, "{:.1f} s", marks),
            ([value for _, value in first], self._first_text, self._first, "{:.2f}", moved),
        ):
            recent = values[-10:]
            text.setText(shown.format(sum(recent) / len(recent)) if recent else "–")
            spark.show_values(values, own)

    # the report --------------------------------------------------------------------------

    def progress(self) -> Progress:
        """What the report tells of the project as it is now."""
        project, images = self._document.project, self._document.images()
        finished = sum(1 for one in images if one.state in ("done", "empty"))
        name = project.images_root.name
        return progress_of(name, len(images), finished, project.objects())

    @Slot()
    def ask_report(self) -> None:
        """Ask where to write the report, and write it."""
        start = self._document.project.folder / "exports" / "progress.html"
        path, chosen = QFileDialog.getSaveFileName(
            self, "Export report", str(start), "Page (*.html);;Picture (*.png)"
        )
        if path:
            wanted = Path(path)
            if not wanted.suffix:
                wanted = wanted.with_suffix(".png" if "png" in chosen else ".html")
            self.write_report(wanted)

    def write_report(self, path: Path) -> None:
        """Write the report; a message tells where, or why not."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            done = write(self.progress(), path)
        except (StudioError, OSError) as problem:
            self.told.emit(str(problem), "error")
            return
        self.told.emit(f"{done.name} is in {done.parent}.", "info")
        self.written.emit(done)
