"""Non-modal messages at the foot of the canvas."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QTimer, Signal, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QFrame,
    QGraphicsDropShadowEffect,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QWidget,
)

from infosam_studio.ui import icons
from infosam_studio.ui.panels.frame import IconButton
from infosam_studio.ui.theme import theme

SHORT_MS = 4500
LONG_MS = 12000


class Toast(QFrame):
    """One message at a time; the newest replaces the one before. May offer one action."""

    acted = Signal(str)

    def __init__(self, host: QWidget) -> None:
        super().__init__(host)
        self.setObjectName("toast")
        self._host = host
        self._action = ""
        self._mark = QLabel()
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._button = QPushButton()
        self._button.setProperty("kind", "link")
        self._button.clicked.connect(self._act)
        self._close = IconButton("close", "Dismiss")
        self._close.clicked.connect(self.hide)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 8, 8)
        row.setSpacing(10)
        for widget in (self._mark, self._text, self._button, self._close):
            row.addWidget(widget)
        row.setStretch(1, 1)
        shadow = QGraphicsDropShadowEffect(self)
        shadow.setBlurRadius(24)
        shadow.setOffset(0, 4)
        shadow.setColor(QColor(0, 0, 0, 70))
        self.setGraphicsEffect(shadow)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.hide)
        host.installEventFilter(self)
        self.hide()

    @property
    def text(self) -> str:
        """The message shown last."""
        return self._text.text()

    def tell(self, text: str, *, kind: str = "info", action: str = "", label: str = "") -> None:
        """Show a message; ``kind`` is info, warning or error, ``action`` comes back by signal."""
        tokens = theme().tokens
        color = {"info": tokens.accent, "warning": tokens.warn, "error": tokens.bad}[kind]
        self._mark.setPixmap(icons.pixmap(kind, 18, color, self.devicePixelRatioF()))
        self._text.setText(text)
        self._action = action
        self._button.setText(label)
        self._button.setVisible(bool(label))
        self._timer.start(SHORT_MS if kind == "info" and not action else LONG_MS)
        self.show()
        self.raise_()
        self._place()

    @Slot()
    def _act(self) -> None:
        self.hide()
        self.acted.emit(self._action)

    def _place(self) -> None:
        room = max(200, self._host.width() - 48)
        metrics = self._text.fontMetrics()
        wanted = metrics.horizontalAdvance(self._text.text()) + 24
        self._text.setMinimumWidth(min(wanted, room - 140, 560))
        self._text.setMaximumWidth(max(160, min(560, room - 100)))
        self.adjustSize()
        left = (self._host.width() - self.width()) // 2
        self.move(max(12, left), self._host.height() - self.height() - 20)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return False
