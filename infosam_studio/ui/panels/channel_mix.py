"""Channels mixed in colours: one row for each, with a tick and its colour."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtGui import QColor, QPainter, QPixmap
from PySide6.QtWidgets import QCheckBox, QColorDialog, QGridLayout, QToolButton, QWidget

from infosam_studio.annotation.view_settings import MIX_COLORS


class ChannelMix(QWidget):
    """`colors` gives the ticked channels (counted from 0) and their "#rrggbb"."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnStretch(0, 1)
        self.ticks: list[QCheckBox] = []
        self.buttons: list[QToolButton] = []
        self._colors: list[str] = []

    def show_channels(self, count: int, colors: dict[int, str] | None) -> None:
        """Rows for ``count`` channels; without ``colors`` the first few are ticked."""
        while len(self.ticks) < count:
            self._add_row()
        for row, (tick, button) in enumerate(zip(self.ticks, self.buttons, strict=True)):
            tick.setVisible(row < count)
            button.setVisible(row < count)
            on = row < min(count, 4) if colors is None else row in colors
            tick.blockSignals(True)
            tick.setChecked(on and row < count)
            tick.blockSignals(False)
            default = MIX_COLORS[row % len(MIX_COLORS)]
            self._set_color(row, (colors or {}).get(row, default))

    def _add_row(self) -> None:
        row = len(self.ticks)
        tick = QCheckBox(f"Channel {row + 1}")
        button = QToolButton()
        button.setObjectName("small")
        button.setAccessibleName(f"Colour of channel {row + 1}")
        button.setToolTip(f"Colour of channel {row + 1}")
        button.setProperty("row", row)
        tick.toggled.connect(self.changed)
        button.clicked.connect(self._choose)
        self._grid.addWidget(tick, row, 0)
        self._grid.addWidget(button, row, 1)
        self.ticks.append(tick)
        self.buttons.append(button)
        self._colors.append("")

    def _set_color(self, row: int, color: str) -> None:
        if self._colors[row] != color:
            self._colors[row] = color
            pixmap = QPixmap(28, 14)
            pixmap.fill(QColor(128, 128, 128))  # an edge, so that white shows on white
            painter = QPainter(pixmap)
            painter.fillRect(pixmap.rect().adjusted(1, 1, -1, -1), QColor(color))
            painter.end()
            self.buttons[row].setIcon(pixmap)

    @Slot()
    def _choose(self) -> None:
        row = int(self.sender().property("row"))
        color = QColorDialog.getColor(QColor(self._colors[row]), self, "Colour of the channel")
        if color.isValid():
            self._set_color(row, color.name())
            self.ticks[row].setChecked(True)
            self.changed.emit()

    def colors(self) -> dict[int, str]:
        """The ticked channels and their colours."""
        return {
            row: self._colors[row]
            for row, tick in enumerate(self.ticks)
            if tick.isChecked() and not tick.isHidden()
        }
