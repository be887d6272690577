"""One model of the manager: what it is, how quick it is here, and what can be done with it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui.dialogs.guide import CARD, GuideText, pages
from infosam_studio.ui.models import Fetching, Models
from infosam_studio.ui.workers_models import ModelRow, seconds_text

STATES = {
    "ready": "ready",
    "partial": "partly downloaded",
    "absent": "not downloaded",
    "missing": "file is gone",
}
PHASES = {
    "waiting": "waiting",
    "running": "downloading",
    "paused": "paused",
    "failed": "download failed",
}
LONGEST_PATH = 76
FIELDS = ("State", "Speed here", "Licence", "Architecture", "File", "SHA-256")


class ModelDetails(QWidget):
    """Follows `Models`; `show_model` chooses which one."""

    use_wanted = Signal(str)

    def __init__(self, models: Models) -> None:
        super().__init__()
        self._models = models
        self.name, self._in_use, self._project = "", "", False
        self.title, self._about = QLabel(), QLabel()
        self.title.setProperty("role", "heading")
        self._about.setWordWrap(True)
        self._values = {name: QLabel() for name in FIELDS}
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress_text, self.note = QLabel(), QLabel()
        self.progress_text.setProperty("role", "muted")
        self.progress_text.setWordWrap(True)
        self.note.setWordWrap(True)
        self.get_button = self._button("Download", self._get, primary=True)
        self.use_button = self._button("Use in this project", self._use, primary=True)
        self.pause_button = self._button("Pause", self._pause)
        self.cancel_button = self._button("Cancel", self._cancel)
        self.verify_button = self._button("Verify", self._verify)
        self.remove_button = self._button("Remove", self._remove)
        self.card = GuideText()
        self.card.setOpenExternalLinks(True)
        self.card.setMinimumHeight(220)
        self.card.setFrameShape(QFrame.Shape.NoFrame)
        self._lay_out()
        models.changed.connect(self._show)

    def _button(self, text: str, pressed: object, *, primary: bool = False) -> QPushButton:
        button = QPushButton(text)
        if primary:
            button.setProperty("kind", "primary")
        button.clicked.connect(pressed)
        return button

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 2, 8, 4)
        column.setSpacing(10)
        column.addWidget(self.title)
        column.addWidget(self._about)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        grid.setHorizontalSpacing(18)
        for line, (name, value) in enumerate(self._values.items()):
            label = QLabel(name)
            label.setProperty("role", "muted")
            value.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            # A long path must not widen the window.
            value.setMinimumWidth(60)
            grid.addWidget(label, line, 0)
            grid.addWidget(value, line, 1)
        column.addLayout(grid)
        for widget in (self.progress, self.progress_text, self.note):
            column.addWidget(widget)
        row = QHBoxLayout()
        for button in (
            self.get_button,
            self.use_button,
            self.pause_button,
            self.cancel_button,
            self.verify_button,
            self.remove_button,
        ):
            row.addWidget(button)
        row.addStretch(1)
        column.addLayout(row)
        column.addWidget(self.card, 1)
        column.addStretch(0)

    # what is shown -----------------------------------------------------------------------

    def show_model(self, name: str) -> None:
        """Choose the model."""
        self.name = name
        starter = name == "starter"
        if starter and not self.card.toPlainText():
            page = next((one for one in pages() if one.name == CARD), None)
            self.card.setMarkdown(_below_a_title(page.text) if page is not None else "")
        self.card.setVisible(starter)
        self._show()

    def show_in_use(self, name: str, *, project: bool) -> None:
        """The model in use, and whether there is a project to choose for."""
        self._in_use, self._project = name, project
        self.use_button.setText("Use in this project" if project else "Use for new projects")
        self._show()

    @Slot()
    def _show(self) -> None:
        row = self._models.row(self.name)
        if row is None:
            return
        fetching = self._models.fetching.get(row.name)
        self.title.setText(row.name)
        self._about.setText(row.description)
        texts = {
            "State": f"{size_text(row.size_bytes)}, {state_text(row, fetching)}",
            "Speed here": self._speed(row),
            "Licence": row.licence or "not stated",
            "Architecture": row.architecture,
            "File": _shortened(str(row.path or "–")),
            "SHA-256": row.sha256,
        }
        for name, text in texts.items():
            self._values[name].setText(text)
        self._values["File"].setToolTip(str(row.path or ""))
        self._values["SHA-256"].setText(f"{row.sha256[:16]}…" if row.sha256 else "–")
        self._values["SHA-256"].setToolTip(row.sha256)
        self._show_progress(row, fetching)
        self._show_note(row)
        self._show_buttons(row, fetching)

    def _speed(self, row: ModelRow) -> str:
        if row.encode_s is None or row.click_s is None:
            return "measuring…" if self._models.measuring else "not measured"
        listing = self._models.listing
        date = f" (measured {listing.measured})" if listing and listing.measured else ""
        encode, click = seconds_text(row.encode_s), seconds_text(row.click_s)
        return f"{encode} for an image, {click} for a click{date}"

    def _show_progress(self, row: ModelRow, fetching: Fetching | None) -> None:
        done = fetching.done if fetching is not None else row.partial_bytes
        total = (fetching.total if fetching is not None else None) or row.size_bytes
        shown = fetching is not None or row.state == "partial"
        self.progress.setVisible(shown)
        self.progress_text.setVisible(shown)
        self.progress.setRange(0, 1000)
        self.progress.setValue(round(1000 * done / total) if total else 0)
        self.progress_text.setText(_progress_text(done, total, fetching))

    def _show_note(self, row: ModelRow) -> None:
        text, kind = self._models.notes.get(row.name, ("", ""))
        fetching = self._models.fetching.get(row.name)
        if fetching is not None and fetching.problem:
            text, kind = fetching.problem, "bad"
        busy = self._models.busy.get(row.name, "")
        self.note.setText(busy or text)
        self.note.setProperty("role", "muted" if busy else kind or "muted")
        self.note.style().polish(self.note)
        self.note.setVisible(bool(self.note.text()))

    def _show_buttons(self, row: ModelRow, fetching: Fetching | None) -> None:
        phase = fetching.phase if fetching is not None else ""
        active = phase in ("waiting", "running")
        stopped = phase in ("paused", "failed") or (not phase and row.state == "partial")
        fetchable = row.origin == "published" and row.state in ("absent", "partial")
        label = "Retry" if phase == "failed" else "Resume" if stopped else "Download"
        self.get_button.setText(label)
        self.get_button.setVisible(fetchable and not active)
        self.pause_button.setVisible(active)
        self.cancel_button.setVisible(active or stopped)
        ready, busy = row.state == "ready", row.name in self._models.busy
        self.use_button.setVisible(ready)
        self.use_button.setEnabled(row.name != self._in_use)
        self.verify_button.setVisible(ready)
        self.verify_button.setEnabled(not busy)
        self.remove_button.setVisible(row.origin != "shipped" and row.state in ("ready", "missing"))
        self.remove_button.setEnabled(not busy and row.name != self._in_use)
        self.remove_button.setToolTip(
            "Files you added stay where they are" if row.origin == "own" else "Deletes the file"
        )

    # actions -----------------------------------------------------------------------------

    @Slot()
    def _get(self) -> None:
        self._models.get(self.name)

    @Slot()
    def _pause(self) -> None:
        self._models.pause(self.name)

    @Slot()
    def _cancel(self) -> None:
        self._models.cancel(self.name)

    @Slot()
    def _verify(self) -> None:
        self._models.verify(self.name)

    @Slot()
    def _remove(self) -> None:
        self._models.remove(self.name)

    @Slot()
    def _use(self) -> None:
        self.use_wanted.emit(self.name)


def state_text(row: ModelRow, fetching: Fetching | None) -> str:
    """One or two words about where a model stands."""
    if fetching is None:
        return STATES.get(row.state, row.state)
    if fetching.phase in ("running", "paused") and fetching.total:
        return f"{PHASES[fetching.phase]}, {fetching.done / fetching.total:.0%}"
    return PHASES.get(fetching.phase, fetching.phase)


def size_text(count: int) -> str:
    """Bytes for people, in powers of ten as download pages have them."""
    if count >= 10**9:
        return f"{count / 10**9:.1f} GB"
    return f"{count / 10**6:.0f} MB"


def _shortened(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[:16]}…{path[16 - LONGEST_PATH :]}"


def _progress_text(done: int, total: int, fetching: Fetching | None) -> str:
    text = f"{size_text(done)} of {size_text(total)}"
    if fetching is None or fetching.phase != "running":
        return text
    text += f", {fetching.bytes_per_s / 10**6:.1f} MB/s"
    if fetching.seconds_left is not None:
        minutes = fetching.seconds_left / 60
        text += f", {minutes:.0f} min left" if minutes >= 2 else f", {60 * minutes:.0f} s left"
    return text


def _below_a_title(text: str) -> str:
    """A page without its own title, which stands above already, and with quiet headings."""
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    return "\n".join(f"##{line}" if line.startswith("##") else line for line in lines)
