"""The objects of the current image, topmost first."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtWidgets import QAbstractItemView, QListView, QMenu, QStackedWidget, QWidget

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui import icons
from infosam_studio.ui.document import Document
from infosam_studio.ui.panels.frame import Panel, empty_hint
from infosam_studio.ui.suggestion_rules import confidence, is_suggestion

ID_ROLE = int(Qt.ItemDataRole.UserRole)
Index = QModelIndex | QPersistentModelIndex


class ObjectModel(QAbstractListModel):
    """One row per object of the current image."""

    def __init__(self, document: Document, parent: QWidget) -> None:
        super().__init__(parent)
        self._document = document
        self._records: list[ObjectRecord] = []
        self.reload()

    @Slot()
    def reload(self) -> None:
        """Take over the document's objects."""
        records = sorted(self._document.objects.values(), key=lambda one: (-one.z, -one.id))
        self.beginResetModel()
        self._records = records
        self.endResetModel()

    def row_of(self, object_id: int) -> int | None:
        """The row of an object."""
        for row, record in enumerate(self._records):
            if record.id == object_id:
                return row
        return None

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._records)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self._records):
            return None
        record = self._records[index.row()]
        kind = self._document.class_of(record.class_id)
        if role == Qt.ItemDataRole.DisplayRole:
            number = len(self._records) - index.row()
            name = f"{kind.name} {number}"
            return f"{name}  ·  suggested, {_sure(record)} %" if is_suggestion(record) else name
        if role == Qt.ItemDataRole.DecorationRole:
            return icons.swatch(kind.color)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tip(record)
        if role == ID_ROLE:
            return record.id
        return None


def _sure(record: ObjectRecord) -> int:
    return round(100 * confidence(record))


def _tip(record: ObjectRecord) -> str:
    lines = [f"{masks.area(record.mask):,} px"]
    if is_suggestion(record):
        lines.append(f"Suggested, {_sure(record)} % sure. Enter accepts, R corrects, Del dismisses")
    if record.clicks:
        clicks = "1 click" if record.clicks == 1 else f"{record.clicks} clicks"
        lines.append(f"{clicks}, {record.seconds:.0f} s")
    if record.hand_corrected:
        lines.append("Corrected by hand")
    if record.adapter:
        lines.append(f"Made with {record.adapter}")
    if record.excluded:
        lines.append("Left out of training")
    return "\n".join(lines)


class ObjectsPanel(Panel):
    """The upper right dock."""

    refine_wanted = Signal(object)
    zoom_wanted = Signal()
    delete_wanted = Signal()
    operation_wanted = Signal(str)

    def __init__(self, document: Document, parent: QWidget) -> None:
        super().__init__("objects", "Objects", parent)
        self._document = document
        self._busy = False
        self.model = ObjectModel(document, self)
        self.list = QListView()
        self.list.setAccessibleName("Objects of this image")
        self.list.setModel(self.model)
        self.list.setIconSize(QSize(14, 14))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.list.setUniformItemSizes(True)  # measuring tens of thousands of rows is felt
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.list.customContextMenuRequested.connect(self._show_menu)
        self.list.selectionModel().selectionChanged.connect(self._rows_selected)
        self.list.doubleClicked.connect(self._double_clicked)
        self._stack = QStackedWidget()
        self._stack.addWidget(
            empty_hint("No objects yet.\n\nClick one in the image, then press Enter to keep it.")
        )
        self._stack.addWidget(self.list)
        self.column.addWidget(self._stack)
        document.objects_changed.connect(self._reload)
        document.classes_changed.connect(self._reload)
        document.selection_changed.connect(self._show_selection)
        self._reload()

    @Slot()
    def _reload(self) -> None:
        self._busy = True
        self.model.reload()
        self._busy = False
        count = self.model.rowCount()
        self.set_count(str(count) if count else "")
        self._stack.setCurrentIndex(1 if count else 0)
        self._show_selection()

    @Slot()
    def _show_selection(self) -> None:
        selection = QItemSelection()
        for object_id in self._document.selected:
            row = self.model.row_of(object_id)
            if row is not None:
                selection.select(self.model.index(row), self.model.index(row))
        self._busy = True
        flags = QItemSelectionModel.SelectionFlag.ClearAndSelect
        self.list.selectionModel().select(selection, flags)
        if selection.indexes():
            self.list.scrollTo(selection.indexes()[0])
        self._busy = False

    @Slot()
    def _rows_selected(self) -> None:
        if not self._busy:
            rows = self.list.selectionModel().selectedIndexes()
            self._document.select([row.data(ID_ROLE) for row in rows])

    @Slot(QModelIndex)
    def _double_clicked(self, index: QModelIndex) -> None:
        self.zoom_wanted.emit()

    @Slot(QPoint)
    def _show_menu(self, position: QPoint) -> None:
        selected = self._document.selected
        if not selected:
            return
        menu = QMenu(self)
        refine = menu.addAction("Refine with clicks")
        zoom = menu.addAction("Zoom to it")
        kinds = menu.addMenu("Label as")
        for kind in self._document.classes():
            kinds.addAction(icons.swatch(kind.color), kind.name).setData(kind.id)
        menu.addSeparator()
        all_out = all(self._document.objects[key].excluded for key in selected)
        training = menu.addAction("Use for training" if all_out else "Leave out of training")
        menu.addSeparator()
        delete = menu.addAction("Delete")
        chosen = menu.exec(self.list.viewport().mapToGlobal(position))
        if chosen is refine:
            self.refine_wanted.emit(selected)
        elif chosen is zoom:
            self.zoom_wanted.emit()
        elif chosen is training:
            self._document.guarded(self._document.exclude_objects, selected, not all_out)
        elif chosen is delete:
            self.delete_wanted.emit()
        elif chosen is not None and chosen.data() is not None:
            self._document.guarded(self._document.relabel, selected, int(chosen.data()))
        menu.deleteLater()
