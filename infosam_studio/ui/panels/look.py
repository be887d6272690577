"""How things are shown: masks, the picture, its channels. The data never changes."""

from __future__ import annotations

from PySide6.QtCore import QSettings, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QSlider,
    QWidget,
)

from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.panels.frame import Panel

APPLY_AFTER_MS = 25


class LookPanel(Panel):
    """Opacity, outlines, colours; brightness, contrast and gamma of the picture."""

    adjusted = Signal(object)

    def __init__(self, layers: CanvasLayers, settings: QSettings, parent: QWidget) -> None:
        super().__init__("look", "View", parent, scrollable=True)
        self._layers, self._settings = layers, settings
        form = QFormLayout()
        form.setHorizontalSpacing(12)
        form.setVerticalSpacing(9)
        self.opacity = self._slider(form, "Mask opacity", 0, 100, self._stored_opacity())
        self.fill = self._check(form, "Fill masks", "fill")
        self.outlines = self._check(form, "Outlines", "outlines")
        self.by_object = self._check(form, "Colour by object", "by_object")
        form.addRow(self._rule("Picture"))
        self.brightness = self._slider(form, "Brightness", -100, 100, 0)
        self.contrast = self._slider(form, "Contrast", -100, 100, 0)
        self.gamma = self._slider(form, "Gamma", -100, 100, 0)
        self.reset = QPushButton("Reset picture")
        self.reset.clicked.connect(self._reset)
        form.addRow(self.reset)
        self.form = form
        self.column.addLayout(form)
        self.column.addStretch(1)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(APPLY_AFTER_MS)
        self._timer.timeout.connect(self._adjust)
        self.opacity.valueChanged.connect(self._set_opacity)
        for slider in (self.brightness, self.contrast, self.gamma):
            slider.valueChanged.connect(self._later)
        self._set_opacity(self.opacity.value())

    def add_section(self, title: str, section: QWidget) -> None:
        """Put more choices below those of the picture."""
        self.form.addRow(self._rule(title))
        self.form.addRow(section)

    def _stored_opacity(self) -> int:
        return int(str(self._settings.value("opacity", 42)))

    def _slider(self, form: QFormLayout, text: str, low: int, high: int, value: int) -> QSlider:
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setRange(low, high)
        slider.setValue(value)
        slider.setAccessibleName(text)
        label = QLabel(text)
        label.setBuddy(slider)
        form.addRow(label, slider)
        return slider

    def _check(self, form: QFormLayout, text: str, name: str) -> QCheckBox:
        box = QCheckBox(text)
        box.setObjectName(name)
        box.setChecked(bool(getattr(self._layers.look, name)))
        box.toggled.connect(self._toggled)
        form.addRow(box)
        return box

    def _rule(self, text: str) -> QLabel:
        label = QLabel(text)
        label.setProperty("role", "muted")
        label.setContentsMargins(0, 8, 0, 0)
        return label

    @Slot(bool)
    def _toggled(self, on: bool) -> None:
        self._layers.set_look(**{self.sender().objectName(): on})

    @Slot(int)
    def _set_opacity(self, percent: int) -> None:
        self._settings.setValue("opacity", percent)
        self._layers.set_look(opacity=percent / 100)

    @Slot()
    def _later(self) -> None:
        self._timer.start()

    @Slot()
    def _adjust(self) -> None:
        values = tuple(one.value() / 100 for one in (self.brightness, self.contrast, self.gamma))
        self.adjusted.emit(values)

    @Slot()
    def _reset(self) -> None:
        for slider in (self.brightness, self.contrast, self.gamma):
            slider.setValue(0)
