"""The history: every edit by name; a click goes back or forth to it."""

from __future__ import annotations

import time

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QWidget

from infosam_studio.ui.document import Document
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.rewinding import Rewinding
from infosam_studio.ui.theme import theme

ID_ROLE = int(Qt.ItemDataRole.UserRole)
SHOWN = 400


class HistoryPanel(Panel):
    """Newest at the top; edits taken back are faint."""

    def __init__(self, document: Document, rewinding: Rewinding, parent: QWidget) -> None:
        super().__init__("history", "History", parent)
        self._document, self._rewinding = document, rewinding
        self.list = QListWidget()
        self.list.setAccessibleName("History of edits")
        self.list.setToolTip("Click a step to go back or forward to it")
        self.list.itemClicked.connect(self._go)
        self.column.addWidget(self.list)
        document.history_changed.connect(self._reload)
        self.visibilityChanged.connect(self._reload)
        theme().changed.connect(self._reload)

    @Slot()
    def _reload(self) -> None:
        if not self.isVisible():
            return
        entries = self._document.project.history(SHOWN)
        self.list.clear()
        faint = QColor(theme().tokens.faint)
        newest_done = max((one.id for one in entries if not one.undone), default=0)
        for entry in reversed(entries):
            item = QListWidgetItem(entry.name)
            item.setData(ID_ROLE, entry.id)
            item.setToolTip(time.strftime("%d %b %Y, %H:%M:%S", time.localtime(entry.created)))
            if entry.undone:
                item.setForeground(faint)
            self.list.addItem(item)
            if entry.id == newest_done:
                self.list.setCurrentItem(item)
        start = QListWidgetItem("Start")
        start.setData(ID_ROLE, 0)
        self.list.addItem(start)
        self.set_count(str(len(entries)) if entries else "")

    @Slot(QListWidgetItem)
    def _go(self, item: QListWidgetItem) -> None:
        self._rewinding.go_to(item.data(ID_ROLE))
