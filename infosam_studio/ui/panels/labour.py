"""What labelling costs: clicks and seconds per object, over time."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt, Slot
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QWidget

from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui.document import Document
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.theme import theme

SHOWN = 60
SMOOTHED = 5


class Spark(QWidget):
    """A small line of the last values, with their running mean."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._values: list[float] = []
        self.setAccessibleName(name)
        self.setMinimumHeight(44)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        theme().changed.connect(self.update)

    def show_values(self, values: list[float]) -> None:
        """The values from the oldest to the newest."""
        self._values = values[-SHOWN:]
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        if len(self._values) < 2:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        tokens = theme().tokens
        box = QRectF(self.rect()).adjusted(3, 5, -3, -5)
        top = max(self._values) or 1.0
        step = box.width() / (len(self._values) - 1)

        def place(index: int, value: float) -> QPointF:
            return QPointF(box.left() + index * step, box.bottom() - value / top * box.height())

        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(tokens.faint))
        for index, value in enumerate(self._values):
            painter.drawEllipse(place(index, value), 1.6, 1.6)
        means = [
            sum(self._values[max(0, index - SMOOTHED + 1) : index + 1])
            / (index + 1 - max(0, index - SMOOTHED + 1))
            for index in range(len(self._values))
        ]
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(tokens.accent), 1.8))
        painter.drawPolyline(QPolygonF([place(i, mean) for i, mean in enumerate(means)]))


class LabourPanel(Panel):
    """Two figures and two small curves."""

    def __init__(self, document: Document, parent: QWidget) -> None:
        super().__init__("labour", "Effort", parent, scrollable=True)
        self._document = document
        self._clicks, self._seconds = Spark("Clicks per object"), Spark("Seconds per object")
        self._clicks_text, self._seconds_text = QLabel("–"), QLabel("–")
        for title, text, spark in (
            ("Clicks per object", self._clicks_text, self._clicks),
            ("Seconds per object", self._seconds_text, self._seconds),
        ):
            self.column.addLayout(self._row(title, text))
            self.column.addWidget(spark)
        self._note = QLabel("Each object you accept adds a dot. The line is the mean of five.")
        self._note.setProperty("role", "faint")
        self._note.setWordWrap(True)
        self.column.addWidget(self._note)
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
        made = sorted((one for one in objects if one.clicks), key=lambda one: one.id)
        for values, text, spark, unit in (
            ([float(one.clicks) for one in made], self._clicks_text, self._clicks, ""),
            ([one.seconds for one in made], self._seconds_text, self._seconds, " s"),
        ):
            recent = values[-10:]
            text.setText(f"{sum(recent) / len(recent):.1f}{unit}" if recent else "–")
            text.setToolTip("Mean of the last ten objects")
            spark.show_values(values)
