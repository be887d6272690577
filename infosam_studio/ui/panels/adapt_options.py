"""The choices of a run that most people never open."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui.automatic import EVERY
from infosam_studio.ui.panels.frame import indent_number, name_of_field

SPEEDS = {"instant": "Instant, seconds", "full": "Full, minutes"}
METHODS = {
    "auto": "Best in our study",
    "infosam": "InfoSAM",
    "lora": "LoRA alone",
    "decoder": "Decoder only",
}
RECIPES = {"studio": "Studio", "paper": "Paper"}
DEVICES = {
    "auto": "The best there is",
    "cpu": "Processor",
    "cuda": "NVIDIA GPU",
    "mps": "Apple GPU",
}
BATTERY_PERCENT = 30.0


class AdaptOptions(QWidget):
    """Speed, time, method, recipe, base model, device, battery; and the auto mode."""

    automatic_changed = Signal(bool, int)

    def __init__(self) -> None:
        super().__init__()
        self.speed, self.method = _combo(SPEEDS), _combo(METHODS)
        self.recipe, self.device = _combo(RECIPES), _combo(DEVICES)
        self.base = QComboBox()
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0, 600)
        self.minutes.setDecimals(1)
        self.minutes.setSpecialValueText("As needed")
        self.minutes.setSuffix(" min")
        self.battery = QCheckBox("Pause on low battery")
        self.battery.setToolTip(
            f"Below {BATTERY_PERCENT:.0f} % the run waits until the power supply is connected"
        )
        self.automatic = QCheckBox("By itself while I label")
        self.automatic.setToolTip(
            "Instant runs while you label, a full one when nobody works. "
            "Only proven versions are put in use."
        )
        self.every = QSpinBox()
        self.every.setRange(1, 1000)
        self.every.setValue(EVERY)
        self.every.setPrefix("every ")
        self.every.setSuffix(" objects")
        self.speed.setToolTip("Instant trains the decoder, full the encoder too")
        self.method.setToolTip("Best: what took the fewest clicks with about as many labels")
        self.recipe.setToolTip("Studio is made for clicking, paper repeats the publication")
        for number in (self.minutes, self.every):
            indent_number(number)
        self.every.setAccessibleName("Adapt after this many objects")
        self._lay_out()
        self.recipe.currentIndexChanged.connect(self._recipe_changed)
        self.automatic.toggled.connect(self._automatic_changed)
        self.every.valueChanged.connect(self._automatic_changed)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 0, 2, 0)
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setVerticalSpacing(7)
        form.setContentsMargins(0, 0, 0, 0)
        for text, widget in (
            ("Speed", self.speed),
            ("Time", self.minutes),
            ("Method", self.method),
            ("Recipe", self.recipe),
            ("Base", self.base),
            ("Device", self.device),
        ):
            widget.setAccessibleName(text)
            if isinstance(widget, QComboBox):
                widget.setSizeAdjustPolicy(
                    QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
                )
                widget.setMinimumContentsLength(10)
            form.addRow(name_of_field(text, widget), widget)
        column.addLayout(form)
        column.addWidget(self.battery)
        column.addWidget(self.automatic)
        column.addWidget(self.every)

    def show_bases(self, names: list[str], current: str) -> None:
        """The base models on this machine; the one in use is chosen."""
        if current not in names:
            names = [current, *names]
        if names != [self.base.itemData(i) for i in range(self.base.count())]:
            self.base.clear()
            for name in names:
                self.base.addItem(name, name)
        self.base.setCurrentIndex(self.base.findData(current))

    def show_automatic(self, on: bool) -> None:
        """Follow the mode where it has ended by itself."""
        self.automatic.blockSignals(True)
        self.automatic.setChecked(on)
        self.automatic.blockSignals(False)

    def choices(self) -> dict[str, Any]:
        """The fields of the wish."""
        minutes = self.minutes.value()
        found: dict[str, Any] = {
            "speed": self.speed.currentData(),
            "method": self.method.currentData(),
            "recipe": self.recipe.currentData(),
            "device": self.device.currentData(),
            "minutes": minutes if minutes > 0 else None,
            "pause_below": BATTERY_PERCENT if self.battery.isChecked() else None,
        }
        base = self.base.currentData()
        return found | ({"model": base} if base else {})

    @Slot()
    def _recipe_changed(self) -> None:
        """The paper trains the encoder: there is no instant form of it."""
        paper = self.recipe.currentData() == "paper"
        self.speed.setEnabled(not paper)
        if paper:
            self.speed.setCurrentIndex(self.speed.findData("full"))

    @Slot()
    def _automatic_changed(self) -> None:
        self.automatic_changed.emit(self.automatic.isChecked(), self.every.value())


def _combo(choices: dict[str, str]) -> QComboBox:
    box = QComboBox()
    for key, text in choices.items():
        box.addItem(text, key)
    return box
