"""The line at the foot of the window: pointer, image, zoom, and what the model is doing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QStatusBar, QWidget

from infosam_studio.ui.canvas.picture import LargePicture, Picture
from infosam_studio.ui.inference_messages import EncodeState, ModelState

MOST_VALUES = 4
ValueAt = Callable[[int, int], NDArray[np.uint8] | None]


class StatusLine(QStatusBar):
    """Fixed fields, so that nothing jumps while the pointer moves."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setSizeGripEnabled(False)
        self._pointer = self._field(150)
        self._value = self._field(110)
        self._size = self._field(110)
        self._zoom = self._field(60)
        self._latency = self._field(110)
        self._region = self._field(120)
        self._busy = QProgressBar()
        self._busy.setRange(0, 0)
        self._busy.setFixedWidth(72)
        self._busy.setTextVisible(False)
        self._model = QLabel("")
        self._model.setObjectName("modelState")
        box = QWidget()
        row = QHBoxLayout(box)
        row.setContentsMargins(0, 0, 8, 0)
        row.addWidget(self._busy)
        row.addWidget(self._model)
        self.addPermanentWidget(box)
        self._picture: Picture | LargePicture | None = None
        self._value_at: ValueAt | None = None
        self._model_text = ""
        self._busy.hide()

    def _field(self, width: int) -> QLabel:
        label = QLabel("")
        label.setMinimumWidth(width)
        self.addWidget(label)
        return label

    @property
    def model_text(self) -> str:
        """What the model's field says."""
        return self._model.text()

    def show_picture(
        self, picture: Picture | LargePicture | None, value_at: ValueAt | None = None
    ) -> None:
        """The image on the canvas; ``value_at`` looks up the colours of a huge one."""
        self._picture, self._value_at = picture, value_at
        if picture is None:
            for label in (self._pointer, self._value, self._size, self._zoom, self._latency):
                label.clear()
            return
        width, height = picture.size
        self._size.setText(f"{width} × {height} px")

    @Slot(object)
    def show_pointer(self, position: QPointF | None) -> None:
        """Coordinates under the pointer, and the file's own values there."""
        picture = self._picture
        if position is None or picture is None:
            self._pointer.clear()
            self._value.clear()
            return
        x, y = int(position.x() // 1), int(position.y() // 1)
        width, height = picture.size
        if not (0 <= x < width and 0 <= y < height):
            self._pointer.clear()
            self._value.clear()
            return
        self._pointer.setText(f"x {x}   y {y}")
        value: NDArray[Any] | None = None
        if isinstance(picture, Picture):
            values = picture.pixels if picture.values is None else picture.values
            value = values[y, x]
        elif self._value_at is not None:
            value = self._value_at(x, y)
        if value is None:
            self._value.clear()
            return
        grey = value.dtype == np.uint8 and bool(np.all(value == value[0]))
        shown = value[:1] if grey else value[:MOST_VALUES]
        self._value.setText("  ".join(f"{one:.6g}" for one in shown))
        self._value.setToolTip("  ".join(f"{one:.6g}" for one in value))

    @Slot(float)
    def show_zoom(self, zoom: float) -> None:
        """The zoom in per cent."""
        self._zoom.setText(f"{zoom * 100:.0f} %")

    def show_region(self, region: tuple[int, int, int, int] | None) -> None:
        """Whether the model looks at a part of the image only."""
        self._region.setText(f"close-up {region[2] - region[0]} px" if region else "")
        self._region.setToolTip(
            "The model looks at the part of the image around the view" if region else ""
        )

    def show_latency(self, milliseconds: float) -> None:
        """How long the last mask took."""
        self._latency.setText(f"mask in {milliseconds:.0f} ms")

    def forget_latency(self) -> None:
        """Say nothing about the last mask."""
        self._latency.clear()

    @Slot(object)
    def show_model(self, state: ModelState) -> None:
        """The model in use, or why there is none."""
        adapter = f" · {state.adapter}" if state.adapter else ""
        name = Path(state.name).stem
        self._model_text = f"{name}{adapter}"
        if state.phase == "loading":
            self._tell(f"Loading model {name}…", busy=True)
        elif state.phase == "failed":
            self._tell("No model", busy=False)
        else:
            self._tell(f"{self._model_text} on {state.device}", busy=False)

    @Slot(object)
    def show_encoding(self, state: EncodeState) -> None:
        """How far the current image is."""
        if not state.current:
            return
        if state.phase == "encoding":
            self._tell("Preparing image…", busy=True)
        elif state.phase == "ready":
            self._tell(f"{self._model_text} · ready", busy=False)
        elif state.phase == "failed":
            self._tell("This image could not be prepared", busy=False)

    def _tell(self, text: str, *, busy: bool) -> None:
        self._model.setText(text)
        self._busy.setVisible(busy)
