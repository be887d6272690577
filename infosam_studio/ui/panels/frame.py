"""The frame of every dock: a calm title with a count and its own buttons."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QAbstractSpinBox,
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui import icons
from infosam_studio.ui.theme import Tokens, theme

TITLE_HEIGHT = 34


class IconButton(QToolButton):
    """A small button with an icon that follows the theme."""

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon_name = name
        self.setObjectName("small")
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setIconSize(QSize(16, 16))
        self.setAutoRaise(True)
        theme().changed.connect(self._recolour)
        self._recolour(theme().tokens)

    def set_icon_name(self, name: str) -> None:
        """Show another icon."""
        self._icon_name = name
        self._recolour(theme().tokens)

    @Slot(object)
    def _recolour(self, _tokens: Tokens) -> None:
        self.setIcon(icons.icon(self._icon_name, theme().tokens.muted))


class TitleBar(QWidget):
    """Title, count and buttons; without a height while something else names the panel."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panelTitle")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.wanted = True

    def sizeHint(self) -> QSize:
        """The dock takes the height from this hint alone, of hidden bars too."""
        return QSize(super().sizeHint().width(), TITLE_HEIGHT if self.wanted else 0)

    def minimumSizeHint(self) -> QSize:
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())


class Panel(QDockWidget):
    """A dock with a body widget; remembered by its object name."""

    def __init__(self, name: str, title: str, parent: QWidget, *, scrollable: bool = False) -> None:
        super().__init__(title, parent)
        self.setObjectName(name)
        self.setFeatures(
            QDockWidget.DockWidgetFeature.DockWidgetMovable
            | QDockWidget.DockWidgetFeature.DockWidgetFloatable
            | QDockWidget.DockWidgetFeature.DockWidgetClosable
        )
        self._title = QLabel(title)
        self._count = QLabel("")
        self._count.setObjectName("count")
        self._bar = QHBoxLayout()
        self.setTitleBarWidget(self._make_bar())
        self.body = QWidget()
        self.body.setObjectName("panelBody")
        self.body.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.column = QVBoxLayout(self.body)
        self.column.setContentsMargins(8, 8, 8, 8)
        self.column.setSpacing(6)
        if scrollable:
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setFrameShape(QScrollArea.Shape.NoFrame)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            area.setWidget(self.body)
            self.setWidget(area)
        else:
            self.setWidget(self.body)

    def _make_bar(self) -> TitleBar:
        bar = TitleBar()
        bar.setLayout(self._bar)
        self._bar.setContentsMargins(12, 0, 6, 0)
        self._bar.setSpacing(4)
        self._bar.addWidget(self._title)
        self._bar.addWidget(self._count)
        self._bar.addStretch(1)
        return bar

    def show_title(self, shown: bool) -> None:
        """Without it where a tab names the panel; one with buttons keeps it."""
        bar = self.titleBarWidget()
        wanted = shown or bool(bar.findChildren(QToolButton))
        if isinstance(bar, TitleBar) and bar.wanted != wanted:
            bar.wanted = wanted
            bar.setMaximumHeight(TITLE_HEIGHT if wanted else 0)
            bar.updateGeometry()

    def set_count(self, text: str) -> None:
        """The quiet figure beside the title."""
        self._count.setText(text)

    def add_button(self, name: str, tip: str) -> IconButton:
        """A button at the right of the title."""
        button = IconButton(name, tip)
        self._bar.addWidget(button)
        return button

    def add_action(self, action: QAction, name: str) -> IconButton:
        """A button which triggers ``action``."""
        button = self.add_button(name, action.toolTip() or action.text())
        button.clicked.connect(action.trigger)
        return button


def name_of_field(text: str, field: QWidget) -> QLabel:
    """A name for a form; as high as its field, or Qt would write it a little above the middle."""
    label = QLabel(text)
    label.setBuddy(field)
    label.setMinimumHeight(field.sizeHint().height())
    return label


def indent_number(box: QAbstractSpinBox) -> None:
    """Begin its text where other fields do: the style sheet's padding does not reach it."""
    box.lineEdit().setTextMargins(6, 0, 6, 0)


def empty_hint(text: str) -> QLabel:
    """What an empty list says: what to do next."""
    label = QLabel(text)
    label.setProperty("role", "muted")
    label.setWordWrap(True)
    label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
    label.setContentsMargins(6, 6, 6, 6)
    return label
