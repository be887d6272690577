"""The classes: choose with 1 to 9, make, rename, recolour, merge, delete."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPoint, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import (
    QColorDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QStackedWidget,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QWidget,
)

from infosam_studio.annotation.model import ClassRecord
from infosam_studio.ui import icons
from infosam_studio.ui.document import Document
from infosam_studio.ui.panels.frame import IconButton, Panel, empty_hint
from infosam_studio.ui.theme import theme

ID_ROLE = int(Qt.ItemDataRole.UserRole)
KEYS = 9


class _WithKey(QStyledItemDelegate):
    """A class, and at the right the key that chooses it."""

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        super().paint(painter, option, index)
        if index.row() >= KEYS:
            return
        tokens, rect = theme().tokens, option.rect
        # Drawn as a key: a bare figure would look like a count.
        cap = QRectF(rect.right() - 26, rect.center().y() - 8, 18, 17)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QColor(tokens.faint))
        painter.drawRoundedRect(cap, 4, 4)
        painter.setPen(QColor(tokens.muted))
        painter.drawText(cap, Qt.AlignmentFlag.AlignCenter, str(index.row() + 1))
        painter.restore()


class ClassesPanel(Panel):
    """The lower right dock."""

    def __init__(self, document: Document, parent: QWidget) -> None:
        super().__init__("classes", "Classes", parent)
        self._document = document
        self._busy = False
        self.list = QListWidget()
        self.list.setAccessibleName("Classes")
        self.list.setIconSize(QSize(14, 14))
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._show_menu)
        self.list.currentItemChanged.connect(self._chosen)
        self.list.itemChanged.connect(self._renamed)
        self.list.setItemDelegate(_WithKey(self.list))
        self._stack = QStackedWidget()
        self._stack.addWidget(
            empty_hint(
                "No classes yet.\n\nAdd the kinds of things you label here, or just begin: the "
                "first object makes a class, which a double click renames."
            )
        )
        self._stack.addWidget(self.list)
        self.column.addWidget(self._stack, 1)
        self._new = QLineEdit()
        self._new.setPlaceholderText("Add a class")
        self._new.setAccessibleName("Name of a new class")
        self._new.returnPressed.connect(self._add)
        self._add_button: QToolButton = IconButton("add", "Add this class")
        self._add_button.clicked.connect(self._add)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self._new, 1)
        row.addWidget(self._add_button)
        self.column.addLayout(row)
        document.classes_changed.connect(self._reload)
        document.class_chosen.connect(self._show_chosen)
        self._reload()

    @Slot()
    def _reload(self) -> None:
        self._busy = True
        self.list.clear()
        for number, record in enumerate(self._document.classes(), start=1):
            item = QListWidgetItem(icons.swatch(record.color), record.name)
            item.setData(ID_ROLE, record.id)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            key = f"Press {number} to choose it. " if number <= KEYS else ""
            item.setToolTip(f"{key}Double click renames, right click shows more.")
            self.list.addItem(item)
        self._busy = False
        count = self.list.count()
        self._stack.setCurrentIndex(1 if count else 0)
        self.set_count(str(count) if count else "")
        self._show_chosen()

    @Slot()
    def _show_chosen(self) -> None:
        self._busy = True
        for row in range(self.list.count()):
            if self.list.item(row).data(ID_ROLE) == self._document.class_id:
                self.list.setCurrentRow(row)
        self._busy = False

    @Slot(QListWidgetItem, QListWidgetItem)
    def _chosen(self, item: QListWidgetItem | None, _before: QListWidgetItem | None) -> None:
        if not self._busy and item is not None:
            self._document.guarded(self._document.choose_class, item.data(ID_ROLE))

    def choose_number(self, number: int) -> ClassRecord | None:
        """Key 1 to 9: the class in that row."""
        classes = self._document.classes()
        if not 1 <= number <= len(classes):
            return None
        self._document.guarded(self._document.choose_class, classes[number - 1].id)
        return classes[number - 1]

    @Slot()
    def _add(self) -> None:
        name = self._new.text().strip()
        if name and self._document.guarded(self._document.add_class, name) is not None:
            self._new.clear()

    @Slot(QListWidgetItem)
    def _renamed(self, item: QListWidgetItem) -> None:
        if self._busy:
            return
        name = item.text().strip()
        record = self._document.class_of(item.data(ID_ROLE))
        if name and name != record.name:
            self._document.guarded(self._document.rename_class, record.id, name)
        self._reload()

    @Slot(QPoint)
    def _show_menu(self, position: QPoint) -> None:
        item = self.list.itemAt(position)
        if item is None:
            return
        record = self._document.class_of(item.data(ID_ROLE))
        others = [one for one in self._document.classes() if one.id != record.id]
        menu = QMenu(self)
        rename = menu.addAction("Rename")
        recolour = menu.addAction("Choose colour…")
        merge = menu.addMenu("Merge into")
        merge.setEnabled(bool(others))
        for one in others:
            merge.addAction(icons.swatch(one.color), one.name).setData(one.id)
        menu.addSeparator()
        delete = menu.addAction("Delete with its objects")
        chosen = menu.exec(self.list.viewport().mapToGlobal(position))
        if chosen is rename:
            self.list.editItem(item)
        elif chosen is recolour:
            self._recolour(record)
        elif chosen is delete:
            self._document.guarded(self._document.delete_class, record.id)
        elif chosen is not None and chosen.data() is not None:
            self._document.guarded(self._document.merge_class, record.id, int(chosen.data()))
        menu.deleteLater()

    def _recolour(self, record: ClassRecord) -> None:
        color = QColorDialog.getColor(QColor(record.color), self, f"Colour of {record.name}")
        if color.isValid():
            self._document.guarded(self._document.recolour_class, record.id, color.name())
