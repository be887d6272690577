"""The versions as a timeline: the base model first, each with scores, labels, date and remark."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QModelIndex,
    QPersistentModelIndex,
    QPointF,
    QRect,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QColor, QFont, QFontMetrics, QKeyEvent, QPainter, QPen
from PySide6.QtWidgets import (
    QListWidget,
    QListWidgetItem,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)

from infosam_studio.ui.theme import theme
from infosam_studio.ui.workers_versions import VersionRow

NAME_ROLE = int(Qt.ItemDataRole.UserRole)
ENTRY_ROLE = NAME_ROLE + 1
MOST_ROWS = 6
GUTTER, PAD = 26, 6


class Entry:
    """What one row shows."""

    def __init__(self, row: VersionRow, *, used: bool, model: str) -> None:
        base = row.path is None
        self.name = f"{Path(row.name).stem}" if base else row.name
        self.used, self.damaged = used, bool(row.problem)
        self.other_base = bool(row.checkpoint) and row.checkpoint != model
        self.state = "in use" if used else ""
        self.facts = "The model as it came" if base else _facts(row, other=self.other_base)
        self.remark = row.remark
        self.tip = "The model as it came." if base else _tip(row)

    @property
    def spoken(self) -> str:
        """The row in one line, for those who listen."""
        return ", ".join(part for part in (self.name, self.state, self.facts, self.remark) if part)


class Timeline(QListWidget):
    """Enter or a double click uses a version, F2 renames it, Del deletes it."""

    use_wanted = Signal(object)
    rename_wanted = Signal(str)
    delete_wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Versions of the model")
        self.setItemDelegate(_Painter(self))
        self.setVerticalScrollMode(self.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.itemDoubleClicked.connect(self._double_clicked)
        theme().changed.connect(self._repaint)

    def show_rows(self, rows: list[VersionRow], used: str | None, model: str) -> None:
        """All versions, the base first; the choice of the user is kept."""
        chosen = self.chosen()
        self.clear()
        for row in rows:
            name = row.name if row.path is not None else None
            entry = Entry(row, used=name == used, model=model)
            item = QListWidgetItem()
            item.setData(NAME_ROLE, name)
            item.setData(ENTRY_ROLE, entry)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, entry.spoken)
            item.setToolTip(entry.tip)
            self.addItem(item)
            if name == chosen:
                self.setCurrentItem(item)
        heights = sum(self.sizeHintForRow(i) for i in range(min(self.count(), MOST_ROWS)))
        self.setFixedHeight(max(52, heights + 4))
        self.scrollToBottom()

    def chosen(self) -> Any:
        """The name of the selected version, None for the base model, "" for nothing."""
        item = self.currentItem()
        return item.data(NAME_ROLE) if item is not None else ""

    def texts(self) -> list[str]:
        """Every row in one line."""
        return [self.item(i).data(ENTRY_ROLE).spoken for i in range(self.count())]

    @Slot(QListWidgetItem)
    def _double_clicked(self, item: QListWidgetItem) -> None:
        self.use_wanted.emit(item.data(NAME_ROLE))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        name = self.chosen()
        key = event.key()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and name != "":
            self.use_wanted.emit(name)
        elif key == Qt.Key.Key_F2 and name:
            self.rename_wanted.emit(name)
        elif key in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and name:
            self.delete_wanted.emit(name)
        else:
            super().keyPressEvent(event)

    @Slot()
    def _repaint(self) -> None:
        self.viewport().update()


class _Painter(QStyledItemDelegate):
    """A dot on a line, the name, the facts, and the remark where there is one."""

    def sizeHint(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        line = option.fontMetrics.height()
        entry: Entry = index.data(ENTRY_ROLE)
        return QSize(120, (3 if entry.remark else 2) * line + 2 * PAD + 2)

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        entry: Entry = index.data(ENTRY_ROLE)
        tokens, rect = theme().tokens, option.rect
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        flags = option.state
        if flags & (QStyle.StateFlag.State_Selected | QStyle.StateFlag.State_MouseOver):
            chosen = bool(flags & QStyle.StateFlag.State_Selected)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(tokens.selected if chosen else tokens.hover))
            painter.drawRoundedRect(rect.adjusted(1, 1, -1, -1), 5, 5)
        self._rail(painter, rect, index, entry)
        self._words(painter, option, entry)
        painter.restore()

    def _rail(
        self,
        painter: QPainter,
        rect: QRect,
        index: QModelIndex | QPersistentModelIndex,
        entry: Entry,
    ) -> None:
        tokens = theme().tokens
        middle = QPointF(rect.left() + GUTTER / 2, rect.top() + PAD + 9)
        painter.setPen(QPen(QColor(tokens.border), 2))
        if index.row():
            painter.drawLine(QPointF(middle.x(), rect.top()), middle)
        if index.row() < index.model().rowCount() - 1:
            painter.drawLine(middle, QPointF(middle.x(), rect.bottom() + 1))
        color = tokens.accent if entry.used else tokens.bad if entry.damaged else tokens.faint
        painter.setPen(QPen(QColor(color), 2))
        painter.setBrush(QColor(color if entry.used else tokens.panel))
        painter.drawEllipse(middle, 5, 5)

    def _words(self, painter: QPainter, option: QStyleOptionViewItem, entry: Entry) -> None:
        tokens = theme().tokens
        bold, small = QFont(option.font), QFont(option.font)
        bold.setBold(entry.used)
        small.setPointSizeF(max(7.5, small.pointSizeF() - 0.5))
        area = option.rect.adjusted(GUTTER, PAD, -PAD, -PAD)
        line = option.fontMetrics.height()
        texts = [(entry.name, bold, tokens.text), (entry.facts, small, tokens.muted)]
        if entry.remark:
            texts.append((entry.remark, small, tokens.text))
        for number, (text, font, color) in enumerate(texts):
            place = QRect(area.left(), area.top() + number * line, area.width(), line)
            if number == 0 and entry.state:
                mark = QFontMetrics(small).horizontalAdvance(entry.state) + 8
                _write(painter, place, entry.state, small, tokens.accent, right=True)
                place.setWidth(place.width() - mark)
            _write(painter, place, text, font, color)


def _write(
    painter: QPainter, place: QRect, text: str, font: QFont, color: str, *, right: bool = False
) -> None:
    painter.setFont(font)
    painter.setPen(QColor(color))
    shown = QFontMetrics(font).elidedText(text, Qt.TextElideMode.ElideRight, place.width())
    side = Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft
    painter.drawText(place, side | Qt.AlignmentFlag.AlignVCenter, shown)


def _facts(row: VersionRow, *, other: bool) -> str:
    if row.problem:
        return "damaged"
    parts = []
    if row.after.get("noc85") is not None:
        parts.append(f"{row.after['noc85']:.1f} clicks")
    labels = row.notes.get("train_objects")
    if labels:
        parts.append(f"{labels} object{'s' * (labels != 1)}")
    elif row.train_images:
        parts.append(f"{row.train_images} image{'s' * (row.train_images != 1)}")
    if other:
        parts.append(f"on {row.checkpoint}")
    parts.append(_date(row.created, short=True))
    return " · ".join(part for part in parts if part)


def _tip(row: VersionRow) -> str:
    if row.problem:
        return row.problem
    lines = [f"{row.method}, {row.recipe}, {row.speed}, on {row.checkpoint}", _date(row.created)]
    if row.train_images:
        labels = row.notes.get("train_objects")
        objects = f"{labels} objects on " if labels else ""
        lines.append(f"Learnt from {objects}{row.train_images} images in {row.seconds:.0f} s")
    if row.before.get("noc85") is not None and row.after.get("noc85") is not None:
        lines.append(f"Clicks per object {row.before['noc85']:.1f} → {row.after['noc85']:.1f}")
    lines.append(str(row.gate.get("reason") or ""))
    if row.remark:
        lines.append(row.remark)
    return "\n".join(line for line in lines if line)


def _date(created: str, *, short: bool = False) -> str:
    """The local time of an ISO time in UTC."""
    try:
        moment = datetime.fromisoformat(created).astimezone()
    except ValueError:
        return created[:16].replace("T", " ")
    text = f"{moment.day} {moment:%b}, {moment:%H:%M}"
    return text if short else f"{moment.day} {moment:%b %Y}, {moment:%H:%M}"
