"""The image list as a Qt model, with search, filter and order."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
    Slot,
)

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.ui.document import Document
from infosam_studio.ui.next_images import Place

Index = QModelIndex | QPersistentModelIndex

ID_ROLE = int(Qt.ItemDataRole.UserRole)
RECORD_ROLE = ID_ROLE + 1
COUNT_ROLE = ID_ROLE + 2
PLACE_ROLE = ID_ROLE + 3

STATE_TEXT = {
    "untouched": "Not started",
    "in_progress": "In progress",
    "done": "Fully labelled",
    "empty": "Nothing here",
    "flagged": "Flagged",
}


class ImageModel(QAbstractListModel):
    """One row per image of the project."""

    def __init__(self, document: Document, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._document = document
        self._ids: list[int] = []
        self._rows: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._places: dict[int, Place] = {}
        document.images_changed.connect(self.reload)
        document.image_changed.connect(self.touch)
        self.reload()

    @Slot()
    def reload(self) -> None:
        """Take over the document's images."""
        records = self._document.images()
        ids = [record.id for record in records]
        if ids == self._ids:
            if ids:
                self.dataChanged.emit(self.index(0), self.index(len(ids) - 1))
            return
        self.beginResetModel()
        self._ids = ids
        self._rows = {image_id: row for row, image_id in enumerate(ids)}
        self._names = {record.id: _name(record) for record in records}
        self.endResetModel()

    @Slot(int)
    def touch(self, image_id: int) -> None:
        """One image's state, count or thumbnail changed."""
        row = self._rows.get(image_id)
        if row is not None:
            index = self.index(row)
            self.dataChanged.emit(index, index)

    def show_places(self, places: dict[int, Place]) -> None:
        """Take over the order in which images should be labelled."""
        self._places = places
        if self._ids:
            self.dataChanged.emit(self.index(0), self.index(len(self._ids) - 1))

    def row_of(self, image_id: int) -> int | None:
        """The row of an image."""
        return self._rows.get(image_id)

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._ids)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid() or index.row() >= len(self._ids):
            return None
        image_id = self._ids[index.row()]
        record = self._document.image(image_id)
        if record is None:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._names[image_id]
        if role == ID_ROLE:
            return image_id
        if role == RECORD_ROLE:
            return record
        if role == COUNT_ROLE:
            return self._document.count(image_id)
        if role == PLACE_ROLE:
            # What is labelled by now has no place among the next ones any more.
            return None if self._document.count(image_id) else self._places.get(image_id)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(record)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{self._names[image_id]}, {STATE_TEXT[record.state]}"
        return None

    def _tip(self, record: ImageRecord) -> str:
        if record.problem:
            return f"{record.path}\n{record.problem}"
        lines = [record.path, f"{record.width} × {record.height} px", STATE_TEXT[record.state]]
        place = self._places.get(record.id)
        if place is not None and not self._document.count(record.id):
            lines.append(f"Number {place.place + 1} to label next: {place.reason}")
        if record.split == "val":
            lines.append("Held out for validation")
        if record.excluded:
            lines.append("Left out of training")
        return "\n".join(lines)


def _rank(index: Index) -> tuple[int, int]:
    """Images with a place by it, the others after them in the list's own order."""
    place = index.data(PLACE_ROLE)
    return (0, place.place) if place is not None else (1, index.row())


def _name(record: ImageRecord) -> str:
    name = record.path.rsplit("/", 1)[-1]
    return f"{name} · page {record.page + 1}" if record.page else name


class ImageFilter(QSortFilterProxyModel):
    """Search text, state and order."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._text = ""
        self._states: frozenset[str] = frozenset()
        self._order = "name"
        self.setDynamicSortFilter(True)

    def search(self, text: str) -> None:
        """Keep images whose path contains all words."""
        self._text = text.casefold()
        self.invalidate()

    def show_states(self, states: frozenset[str]) -> None:
        """Keep images in these states; an empty set keeps all."""
        self._states = states
        self.invalidate()

    def order_by(self, order: str) -> None:
        """``name``, ``objects`` (most first), ``state`` or ``next`` (what to label next)."""
        self._order = order
        self.sort(-1 if order == "name" else 0)
        self.invalidate()

    def filterAcceptsRow(self, row: int, parent: Index) -> bool:
        index = self.sourceModel().index(row, 0)
        record = index.data(RECORD_ROLE)
        if record is None:
            return False
        if self._states and record.state not in self._states:
            return False
        path = record.path.casefold()
        return all(word in path for word in self._text.split())

    def lessThan(self, left: Index, right: Index) -> bool:
        if self._order == "next":
            return _rank(left) < _rank(right)
        if self._order == "objects":
            return bool(left.data(COUNT_ROLE) > right.data(COUNT_ROLE))
        order = list(STATE_TEXT)
        first, second = left.data(RECORD_ROLE).state, right.data(RECORD_ROLE).state
        return order.index(first) < order.index(second)
