"""The first page: open a folder, go on where you stopped, or try the samples."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSettings, QSize, Qt, Signal, Slot
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.resource_files import resource_path
from infosam_studio.ui import icons
from infosam_studio.ui.theme import theme

MOST_RECENT = 6


class Welcome(QWidget):
    """Shown while no project is open."""

    open_wanted = Signal()
    samples_wanted = Signal()
    path_wanted = Signal(str)
    models_wanted = Signal()

    def __init__(self, settings: QSettings, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._settings = settings
        outer = QHBoxLayout(self)
        outer.addStretch(1)
        middle = QVBoxLayout()
        outer.addLayout(middle)
        outer.addStretch(1)
        middle.addStretch(2)
        self._add_words(middle)
        self._add_buttons(middle)
        self._recent_title = QLabel("Recent")
        self._recent_title.setProperty("role", "muted")
        self._recent = QVBoxLayout()
        self._recent.setSpacing(1)
        middle.addSpacing(26)
        middle.addWidget(self._recent_title)
        middle.addLayout(self._recent)
        self._add_proposal(middle)
        self._busy = QLabel("")
        self._busy.setProperty("role", "muted")
        self._busy.setMinimumHeight(24)
        middle.addSpacing(12)
        middle.addWidget(self._busy)
        middle.addStretch(3)
        theme().changed.connect(self._recolour)
        self.refresh()

    def _add_words(self, column: QVBoxLayout) -> None:
        mark = QLabel()
        picture = QPixmap(str(resource_path("icons", "infosam-studio-256.png")))
        picture.setDevicePixelRatio(4)
        mark.setPixmap(picture)
        column.addWidget(mark)
        column.addSpacing(10)
        title = QLabel("InfoSAM Studio")
        title.setProperty("role", "title")
        column.addWidget(title)
        text = QLabel("Click an object, get its mask. The model learns from what you accept.")
        text.setProperty("role", "muted")
        column.addWidget(text)
        column.addSpacing(24)

    def _add_buttons(self, column: QVBoxLayout) -> None:
        self.open_button = QPushButton("  Open a folder of images…")
        self.open_button.setProperty("kind", "primary")
        self.open_button.clicked.connect(self.open_wanted)
        self.samples_button = QPushButton("  Try the samples")
        self.samples_button.clicked.connect(self.samples_wanted)
        for button in (self.open_button, self.samples_button):
            button.setIconSize(QSize(18, 18))
            button.setMinimumHeight(40)
            button.setMinimumWidth(440)
            column.addWidget(button)
        column.addSpacing(10)
        drop = QLabel("or drop a folder, a project or images anywhere in this window")
        drop.setProperty("role", "muted")
        column.addWidget(drop)

    def _add_proposal(self, column: QVBoxLayout) -> None:
        self.proposal = QLabel("")
        self.proposal.setProperty("role", "muted")
        self.proposal.setWordWrap(True)
        self.models_button = QPushButton("Models…")
        self.models_button.setProperty("kind", "link")
        self.models_button.clicked.connect(self.models_wanted)
        row = QHBoxLayout()
        row.addWidget(self.proposal, 1)
        row.addWidget(self.models_button, 0, Qt.AlignmentFlag.AlignBottom)
        column.addSpacing(22)
        column.addLayout(row)
        self.show_proposal("")

    @Slot(str)
    def show_proposal(self, text: str) -> None:
        """Which model suits this machine; empty: nothing to say."""
        self.proposal.setText(text)
        self.proposal.setVisible(bool(text))
        self.models_button.setVisible(bool(text))

    @Slot()
    def refresh(self) -> None:
        """Show the recent projects that still exist."""
        while self._recent.count():
            item = self._recent.takeAt(0)
            widget = item.widget() if item is not None else None
            if widget is not None:
                widget.hide()  # it is deleted a little later
                widget.deleteLater()
        paths = recent_projects(self._settings)
        self._recent_title.setVisible(bool(paths))
        for path in paths:
            self._recent.addWidget(self._recent_row(path))
        self._recolour()

    def _recent_row(self, path: Path) -> QWidget:
        """The project's name to press, and quietly where it is."""
        button = QPushButton(path.stem)
        button.setProperty("kind", "link")
        button.setToolTip(str(path))
        button.setProperty("path", str(path))
        button.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        button.clicked.connect(self._recent_clicked)
        place = QLabel(_shorten(path.parent))
        place.setProperty("role", "muted")
        row = QWidget()
        line = QHBoxLayout(row)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(button)
        line.addWidget(place)
        line.addStretch(1)
        return row

    def show_busy(self, text: str) -> None:
        """What is going on while a folder is being opened."""
        self._busy.setText(text)
        for button in (self.open_button, self.samples_button):
            button.setEnabled(not text)

    @Slot()
    def _recent_clicked(self) -> None:
        self.path_wanted.emit(self.sender().property("path"))

    @Slot()
    def _recolour(self) -> None:
        self.open_button.setIcon(icons.icon("open", theme().tokens.on_accent))
        self.samples_button.setIcon(icons.icon("samples"))


def recent_projects(settings: QSettings) -> list[Path]:
    """Recent paths that still exist, newest first."""
    stored = str(settings.value("recent", "") or "")
    paths = [Path(line) for line in stored.split("\n") if line]
    return [path for path in paths if path.exists()][:MOST_RECENT]


def remember_project(settings: QSettings, path: Path) -> None:
    """Put a path at the head of the recent ones."""
    paths = [path, *(one for one in recent_projects(settings) if one != path)]
    settings.setValue("recent", "\n".join(str(one) for one in paths[:MOST_RECENT]))


def _shorten(path: Path) -> str:
    home = Path.home()
    text = f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)
    return text if len(text) <= 48 else f"{text[:16]}…{text[-31:]}"
