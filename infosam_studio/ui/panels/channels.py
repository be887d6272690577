"""Which channels of an image are shown, in which colours, between which values.

Unlike brightness and contrast this is what the model sees, too: it is kept in the project, part
of undo, and the image is encoded anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.annotation.page_facts import PageFacts, page_facts
from infosam_studio.annotation.pixels import WINDOW_PERCENTILES
from infosam_studio.annotation.view_settings import ViewSettings, Window
from infosam_studio.ui.document import Document
from infosam_studio.ui.panels.channel_mix import ChannelMix
from infosam_studio.ui.panels.frame import indent_number, name_of_field
from infosam_studio.ui.workers_images import Done, TaskThread

APPLY_AFTER_MS = 500
MOST_CHANNELS = 64
SHOWN = (
    ("auto", "As it is"),
    ("grey", "One channel"),
    ("rgb", "Three as red, green, blue"),
    ("mix", "Several in colours"),
)
WINDOWS = (
    ("auto", "Automatic"),
    ("percentiles", "Percentiles"),
    ("values", "Values"),
)
BLACK = "None"


class ChannelsBox(QWidget):
    """Choices for the current image of a document; `close_thread` when it goes."""

    busy = Signal(bool)

    def __init__(self, document: Document, parent: QWidget) -> None:
        super().__init__(parent)
        self._document = document
        self._thread = TaskThread("page facts", self)
        self._thread.done.connect(self._take)
        self._facts: dict[tuple[str, int], PageFacts] = {}
        self._shown_for: int | None = None
        self.facts: PageFacts | None = None
        self._apply_later = QTimer(self)
        self._apply_later.setSingleShot(True)
        self._apply_later.setInterval(APPLY_AFTER_MS)
        self._apply_later.timeout.connect(self.apply)
        self._make_widgets()
        self._lay_out()
        document.current_changed.connect(self.refresh)
        document.images_changed.connect(self.refresh)
        document.image_changed.connect(self._image_changed)
        self.refresh()

    def _make_widgets(self) -> None:
        self.about = QLabel()
        self.about.setProperty("role", "muted")
        self.about.setWordWrap(True)
        self.shown = _choices(SHOWN, "Channels")
        self.grey = _choices((), "Channel")
        self.rgb = [_choices((), name) for name in ("Red", "Green", "Blue")]
        self.mix = ChannelMix()
        self.window_kind = _choices(WINDOWS, "Window")
        self.low, self.high = _number("Shown black"), _number("Shown white")
        self.all = QPushButton("Use for all images")
        self.all.setToolTip("All images of the project, and those that are added later")
        self.reset = QPushButton("Back to automatic")
        for box in (self.shown, self.window_kind, self.grey, *self.rgb):
            box.currentIndexChanged.connect(self._chosen)
        for number in (self.low, self.high):
            number.valueChanged.connect(self._chosen)
        self.mix.changed.connect(self._chosen)
        self.all.clicked.connect(self.apply_to_all)
        self.reset.clicked.connect(self._reset)

    def _lay_out(self) -> None:
        self._form = QFormLayout()
        self._form.setHorizontalSpacing(12)
        self._form.setVerticalSpacing(9)
        colours = zip(("Red", "Green", "Blue"), self.rgb, strict=True)
        for name, box in (("Channels", self.shown), ("Channel", self.grey), *colours):
            self._form.addRow(name_of_field(name, box), box)
        self._form.addRow(self.mix)
        self._form.addRow(name_of_field("Window", self.window_kind), self.window_kind)
        ends = QHBoxLayout()
        ends.setSpacing(6)
        ends.addWidget(self.low, 1)
        ends.addWidget(QLabel("to"))
        ends.addWidget(self.high, 1)
        self._ends = QWidget()
        self._ends.setLayout(ends)
        ends.setContentsMargins(0, 0, 0, 0)
        self._form.addRow("", self._ends)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(9)
        column.addWidget(self.about)
        column.addLayout(self._form)
        column.addWidget(self.all)
        column.addWidget(self.reset)

    # what is shown -----------------------------------------------------------------------

    @Slot(int)
    def _image_changed(self, image_id: int) -> None:
        if image_id == self._document.current_id:
            self.refresh()

    @Slot()
    def refresh(self) -> None:
        """Show what is chosen for the current image, once it is known what it holds."""
        record = self._document.current
        self.setEnabled(record is not None and not record.problem)
        if record is None or record.problem:
            self.facts = None
            self.about.setText("")
            return
        if record.id != self._shown_for:
            self._apply_later.stop()  # what was not applied yet was meant for another image
            self._shown_for = record.id
        key = (record.sha256, record.page)
        known = self._facts.get(key)
        self.facts = known
        if known is None:
            self.about.setText("Looking at its channels…")
            self._thread.drop(lambda other: False)
            path = self._document.project.image_path(record)
            self._thread.submit(key, _Look(path, record.page))
        else:
            self._show(known, ViewSettings.from_key(record.view, record.page))

    @Slot(object)
    def _take(self, done: Done) -> None:
        if done.error is None:
            while len(self._facts) >= 500:
                self._facts.pop(next(iter(self._facts)))
            self._facts[done.key] = done.result
            record = self._document.current
            if record is not None and (record.sha256, record.page) == done.key:
                self.refresh()
        else:
            self.about.setText(str(done.error))

    def _show(self, facts: PageFacts, settings: ViewSettings) -> None:
        several = f"{facts.channels} channels" if facts.channels > 1 else "1 channel"
        self.about.setText(f"{several} of {_depth(facts.depth)}. The model sees what you choose.")
        names = [f"Channel {k + 1}" for k in range(min(facts.channels, MOST_CHANNELS))]
        blocked = [QSignalBlocker(one) for one in self._inputs()]
        _fill(self.grey, names)
        for box in self.rgb:
            _fill(box, [*names, BLACK])
        self._show_channels(settings, len(names))
        self._show_window(settings, facts)
        del blocked
        self._show_rows()

    def _inputs(self) -> list[QWidget]:
        boxes = [self.shown, self.grey, *self.rgb, self.mix, self.window_kind]
        return [*boxes, self.low, self.high]

    def _show_channels(self, settings: ViewSettings, count: int) -> None:
        channels = settings.channels or ()
        kind = "auto"
        if settings.colors is not None:
            kind = "mix"
        elif channels:
            kind = "grey" if len(channels) == 1 else "rgb"
        self.shown.setCurrentIndex(self.shown.findData(kind))
        self.grey.setCurrentIndex(channels[0] if kind == "grey" else 0)
        chosen = channels if kind == "rgb" else tuple(range(min(3, count))) + (-1,) * (3 - count)
        for box, channel in zip(self.rgb, chosen, strict=False):
            box.setCurrentIndex(channel if channel >= 0 else box.count() - 1)
        colors = dict(zip(channels, settings.colors or (), strict=False)) if kind == "mix" else None
        self.mix.show_channels(count, colors)

    def _show_window(self, settings: ViewSettings, facts: PageFacts) -> None:
        kind, ends = "auto", _around(facts.automatic)
        if settings.window is not None:
            kind, ends = "values", settings.window
        elif settings.percentiles is not None:
            kind, ends = "percentiles", settings.percentiles
        self.window_kind.setCurrentIndex(self.window_kind.findData(kind))
        self._show_ends(kind, ends)

    def _show_ends(self, kind: str, ends: Window) -> None:
        decimals = 0 if self.facts and "float" not in self.facts.depth else 4
        for number, value in zip((self.low, self.high), ends, strict=True):
            number.setDecimals(2 if kind == "percentiles" else decimals)
            number.setRange(*((0, 100) if kind == "percentiles" else (-1e9, 1e9)))
            number.setSuffix(" %" if kind == "percentiles" else "")
            number.setValue(value)

    def _show_rows(self) -> None:
        kind, window = self.shown.currentData(), self.window_kind.currentData()
        self._form.setRowVisible(self.grey, kind == "grey")
        for box in self.rgb:
            self._form.setRowVisible(box, kind == "rgb")
        self._form.setRowVisible(self.mix, kind == "mix")
        self._form.setRowVisible(self._ends, window != "auto")

    # what is chosen ----------------------------------------------------------------------

    @Slot()
    def _chosen(self) -> None:
        if self.facts is None:
            return
        if self.sender() is self.window_kind:
            kind = self.window_kind.currentData()
            percent = kind == "percentiles"
            blocked = [QSignalBlocker(self.low), QSignalBlocker(self.high)]
            self._show_ends(kind, WINDOW_PERCENTILES if percent else _around(self.facts.automatic))
            del blocked
        self._show_rows()
        self._apply_later.start()

    def settings(self) -> ViewSettings:
        """What is chosen."""
        chosen, kind = ViewSettings(), self.shown.currentData()
        if kind == "grey":
            chosen = replace(chosen, channels=(self.grey.currentIndex(),))
        elif kind == "rgb":
            last = self.rgb[0].count() - 1
            indices = (box.currentIndex() for box in self.rgb)
            chosen = replace(chosen, channels=tuple(-1 if k == last else k for k in indices))
        elif kind == "mix" and self.mix.colors():
            colors = self.mix.colors()
            chosen = replace(chosen, channels=tuple(colors), colors=tuple(colors.values()))
        ends = (self.low.value(), self.high.value())
        window = self.window_kind.currentData()
        if window == "auto" or not ends[0] < ends[1]:
            return chosen
        if window == "percentiles":
            return replace(chosen, percentiles=ends)
        return replace(chosen, window=ends)

    @Slot()
    def apply(self) -> None:
        """Show the current image as chosen, as one edit."""
        self._apply_later.stop()
        record = self._document.current
        if record is None or self.facts is None or record.id != self._shown_for:
            return
        key = self.settings().key()
        if key != record.view:
            self._document.guarded(
                self._document.update_image, record.id, name="Channels and window", view=key
            )

    @Slot()
    def apply_to_all(self) -> None:
        """Show all images as chosen, and those that are added later."""
        self._apply_later.stop()
        if self.facts is not None:
            self._document.guarded(self._document.project.set_view, self.settings())
            self._document.reload()

    @Slot()
    def _reset(self) -> None:
        self.shown.setCurrentIndex(0)
        self.window_kind.setCurrentIndex(0)
        self.apply()

    def close_thread(self) -> None:
        """End the thread."""
        self._thread.close()


@dataclass(frozen=True)
class _Look:
    """Looks at a page; runs on the thread."""

    path: Path
    page: int

    def __call__(self) -> PageFacts:
        return page_facts(self.path, self.page)


def _depth(name: str) -> str:
    bits = "".join(c for c in name if c.isdigit())
    kind = " floating-point" if "float" in name else " signed" if name.startswith("int") else ""
    return f"{bits}{kind} bits" if bits else name


def _around(windows: tuple[Window, ...]) -> Window:
    return min(w[0] for w in windows), max(w[1] for w in windows)


def _choices(entries: tuple[tuple[str, str], ...], name: str) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    # The wheel scrolls the panel; it must not change what the model sees in passing.
    box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    for value, text in entries:
        box.addItem(text, value)
    return box


def _fill(box: QComboBox, names: list[str]) -> None:
    if [box.itemText(k) for k in range(box.count())] != names:
        box.clear()
        box.addItems(names)


def _number(name: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    indent_number(box)
    box.setAccessibleName(name)
    box.setKeyboardTracking(False)
    box.setMinimumWidth(60)
    return box
