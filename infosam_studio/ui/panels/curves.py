"""Live curves of a run: the loss by part, and IoU and clicks on held-out objects."""

from __future__ import annotations

import importlib
import math
import threading
from typing import Any

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from infosam_studio.ui.run_state import RunState
from infosam_studio.ui.theme import theme

REFRESH_MS = 300
LOSS_PARTS = {
    "mask": ("mask", "accent"),
    "iou": ("IoU guess", "good"),
    "compression": ("compression", "warn"),
    "distillation": ("distillation", "bad"),
    "keep": ("background", "muted"),
}
LOSS_TIP = (
    "What training lowers. Mask: pixels that are wrong. IoU guess: how wrongly the model judges "
    "its own masks. Compression and distillation: InfoSAM's part, which keeps what it knew before. "
    "Background: how differently it answers clicks beside the objects."
)
HELD_TIP = (
    "Objects on the images kept aside for testing, which the model does not learn from. "
    "IoU: how well a mask covers the true object, from 0 to 1."
)


class Curves(QWidget):
    """Two small plots. pyqtgraph takes half a second to import, so a thread does that first."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Training curves")
        self._run: RunState | None = None
        self._plots: list[Any] = []
        self._lines: dict[str, Any] = {}
        self._graph: Any = None
        self._importer: threading.Thread | None = None
        self._loss_text, self._held_text = QLabel(), QLabel()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        for label in (self._loss_text, self._held_text):
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setWordWrap(True)
            label.hide()
            self._column.addWidget(label)
        self._loss_text.setToolTip(LOSS_TIP)
        self._held_text.setToolTip(HELD_TIP)
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._draw)
        theme().changed.connect(self._recolour)

    def follow(self, run: RunState | None) -> None:
        """Show this run while it goes on; None leaves the last picture as it is."""
        if run is None:
            self._timer.stop()
            self._draw()
            self._run = None
            return
        if run is self._run:
            return
        self._run = run
        self._loss_text.hide()
        self._held_text.hide()
        for plot in self._plots:
            plot.hide()
        if self._importer is None:
            self._importer = threading.Thread(target=_import_graph, name="curves", daemon=True)
            self._importer.start()
        self._timer.start()

    def _ready(self) -> bool:
        """Whether there is something to draw on; the first time it is known, it is made."""
        if self._graph is None and self._importer is not None and not self._importer.is_alive():
            self._graph = _import_graph()
            self._make()
        return self._graph is not None

    def _make(self) -> None:
        for label in (self._loss_text, self._held_text):
            plot = self._graph.PlotWidget()
            plot.setFixedHeight(88)
            plot.getPlotItem().layout.setContentsMargins(0, 7, 4, 0)
            plot.getPlotItem().showAxis("bottom", False)
            plot.setMenuEnabled(False)
            plot.setMouseEnabled(False, False)
            plot.hideButtons()
            plot.getPlotItem().getAxis("left").setWidth(34)
            plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            plot.hide()
            self._column.insertWidget(self._column.indexOf(label) + 1, plot)
            self._plots.append(plot)
        self._plots[1].setYRange(0, 1, padding=0.02)
        self._paint_axes()

    def _paint_axes(self) -> None:
        tokens = theme().tokens
        for plot in self._plots:
            plot.setBackground(tokens.panel)
            axis = plot.getPlotItem().getAxis("left")
            axis.setPen(tokens.border)
            axis.setTextPen(tokens.muted)

    @Slot()
    def _recolour(self) -> None:
        self._paint_axes()
        for plot in self._plots:
            plot.getPlotItem().clear()
        self._lines.clear()
        self._draw()

    def _line(self, name: str, plot: Any, color: str, dashed: bool = False) -> Any:
        if name not in self._lines:
            style = Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine
            pen = self._graph.mkPen(getattr(theme().tokens, color), width=1.6, style=style)
            self._lines[name] = plot.plot(pen=pen, connect="finite")
        return self._lines[name]

    @Slot()
    def _draw(self) -> None:
        run = self._run
        if run is None or not self.isVisible():
            return
        self._draw_losses(run)
        self._draw_held(run)

    def _draw_losses(self, run: RunState) -> None:
        parts = {name: run.losses[name] for name in LOSS_PARTS if name in run.losses}
        self._loss_text.setVisible(bool(parts))
        if not parts:
            return
        self._loss_text.setText("Loss: " + ", ".join(_named(name) for name in parts))
        if self._ready():
            for name, values in parts.items():
                line = self._line(name, self._plots[0], LOSS_PARTS[name][1])
                line.setData(run.steps, values)
            for name in set(self._lines) & set(LOSS_PARTS) - set(parts):
                self._lines[name].setData([], [])
            self._plots[0].show()

    def _draw_held(self, run: RunState) -> None:
        found = run.validations
        self._held_text.setVisible(bool(found))
        if not found:
            return
        self._held_text.setText(_held(run))
        if self._ready() and len(found) > 1:
            steps = [one.step for one in found]
            mean = self._line("held", self._plots[1], "accent")
            mean.setData(steps, [one.iou for one in found])
            first = self._line("first", self._plots[1], "muted", dashed=True)
            first.setData(steps, [one.iou_first for one in found])
            self._plots[1].show()


def _import_graph() -> Any:
    return importlib.import_module("pyqtgraph")


def _named(name: str) -> str:
    title, color = LOSS_PARTS[name]
    return f'<span style="color:{getattr(theme().tokens, color)}">{title}</span>'


def _held(run: RunState) -> str:
    last, tokens = run.validations[-1], theme().tokens
    text = (
        f'Held-out objects: <span style="color:{tokens.accent}">IoU {last.iou:.2f}</span>, '
        f'<span style="color:{tokens.muted}">after 1 click {last.iou_first:.2f}</span>'
    )
    if last.clicks is not None and math.isfinite(last.clicks):
        first = run.validations[0].clicks
        was = f"{first:.1f} → " if first is not None and len(run.validations) > 1 else ""
        text += f", {was}{last.clicks:.1f} clicks"
    return text
