"""The image list: thumbnails, states, search, filter and order."""

from __future__ import annotations

from PySide6.QtCore import (
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRect,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QAction, QActionGroup, QColor, QPainter, QPainterPath, QPixmap
from PySide6.QtWidgets import (
    QLineEdit,
    QListView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.ui import icons
from infosam_studio.ui.document import Document
from infosam_studio.ui.next_images import Place
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.panels.image_model import (
    COUNT_ROLE,
    ID_ROLE,
    PLACE_ROLE,
    RECORD_ROLE,
    STATE_TEXT,
    ImageFilter,
    ImageModel,
)
from infosam_studio.ui.theme import theme
from infosam_studio.ui.thumbnails import Thumbnails

ROW_HEIGHT = 60
PICTURE = 46


class ImageDelegate(QStyledItemDelegate):
    """A row: thumbnail, name, what is known about it, state."""

    def __init__(self, document: Document, thumbnails: Thumbnails, parent: QWidget) -> None:
        super().__init__(parent)
        self._document, self._thumbnails = document, thumbnails

    def sizeHint(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        return QSize(180, ROW_HEIGHT)

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        record: ImageRecord = index.data(RECORD_ROLE)
        tokens = theme().tokens
        rect: QRect = option.rect.adjusted(2, 2, -2, -2)  # type: ignore[attr-defined]
        state = option.state  # type: ignore[attr-defined]
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        if state & QStyle.StateFlag.State_Selected:
            painter.setBrush(QColor(tokens.selected))
            painter.drawRoundedRect(rect, 7, 7)
        elif state & QStyle.StateFlag.State_MouseOver:
            painter.setBrush(QColor(tokens.hover))
            painter.drawRoundedRect(rect, 7, 7)
        picture = QRect(rect.x() + 5, rect.y() + 5, PICTURE, PICTURE)
        self._draw_picture(painter, picture, record)
        self._draw_text(painter, rect, picture.right() + 10, index)
        name = "problem" if record.problem else record.state
        mark = icons.pixmap(name, 16, _state_color(record), painter.device().devicePixelRatio())
        painter.drawPixmap(rect.right() - 24, rect.center().y() - 7, mark)
        painter.restore()

    def _draw_picture(self, painter: QPainter, rect: QRect, record: ImageRecord) -> None:
        pixmap = None if record.problem else self._thumbnails.get(self._document.job(record))
        path = QPainterPath()
        path.addRoundedRect(rect, 5, 5)
        if pixmap is None:
            painter.fillPath(path, QColor(theme().tokens.pressed))
            return
        painter.save()
        painter.setClipPath(path)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawPixmap(rect, pixmap, QRect(0, 0, pixmap.width(), pixmap.height()))
        painter.restore()

    def _draw_text(
        self,
        painter: QPainter,
        rect: QRect,
        left: int,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        tokens = theme().tokens
        width = rect.right() - 30 - left
        metrics = painter.fontMetrics()
        name = metrics.elidedText(str(index.data()), Qt.TextElideMode.ElideMiddle, width)
        painter.setPen(QColor(tokens.text))
        middle = rect.center().y()
        painter.drawText(QRect(left, middle - 20, width, 20), _VCENTER, name)
        painter.setPen(QColor(tokens.muted))
        font = painter.font()
        font.setPointSizeF(font.pointSizeF() * 0.9)
        painter.setFont(font)
        line = painter.fontMetrics().elidedText(
            _second_line(index), Qt.TextElideMode.ElideRight, width
        )
        painter.drawText(QRect(left, middle, width, 19), _VCENTER, line)


_VCENTER = int(Qt.AlignmentFlag.AlignVCenter)


def _second_line(index: QModelIndex | QPersistentModelIndex) -> str:
    record: ImageRecord = index.data(RECORD_ROLE)
    if record.problem:
        return "Cannot be read"
    count = index.data(COUNT_ROLE)
    place = index.data(PLACE_ROLE)
    if place is not None and not count:
        return f"{place.place + 1}. {place.short}"
    parts = []
    if count:
        parts.append("1 object" if count == 1 else f"{count} objects")
    if not count or record.state not in ("untouched", "in_progress"):
        parts.append(STATE_TEXT[record.state].lower() if parts else STATE_TEXT[record.state])
    return " · ".join(parts)


def _state_color(record: ImageRecord) -> str:
    tokens = theme().tokens
    if record.problem:
        return tokens.bad
    return {
        "untouched": tokens.faint,
        "in_progress": tokens.accent,
        "done": tokens.good,
        "empty": tokens.muted,
        "flagged": tokens.warn,
    }[record.state]


class ImagesPanel(Panel):
    """The left dock."""

    state_wanted = Signal(object, str)
    places_wanted = Signal()

    def __init__(self, document: Document, thumbnails: Thumbnails, parent: QWidget) -> None:
        super().__init__("images", "Images", parent)
        self._document = document
        self._filtering = self._has_places = False
        self.model = ImageModel(document, self)
        self.filter = ImageFilter(self)
        self.filter.setSourceModel(self.model)
        self._search = QLineEdit()
        self._search.setPlaceholderText("Search images")
        self._search.setAccessibleName("Search images")
        self._search.setClearButtonEnabled(True)
        self._search.textChanged.connect(self._searched)
        self.list = self._make_list(thumbnails)
        self.column.addWidget(self._search)
        self.column.addWidget(self.list, 1)
        self._add_filter_menu()
        thumbnails.ready.connect(self.model.touch)
        document.current_changed.connect(self._show_current)
        document.images_changed.connect(self._recount)
        document.image_changed.connect(self._recount)
        self._recount()

    def _make_list(self, thumbnails: Thumbnails) -> QListView:
        view = QListView()
        view.setAccessibleName("Images")
        view.setModel(self.filter)
        view.setItemDelegate(ImageDelegate(self._document, thumbnails, view))
        view.setUniformItemSizes(True)
        view.setMouseTracking(True)
        view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(self._show_menu)
        view.selectionModel().currentChanged.connect(self._row_changed)
        return view

    def _add_filter_menu(self) -> None:
        button = self.add_button("filter", "Filter and order images")
        menu = QMenu(button)
        states = QActionGroup(menu)
        choices = {"All images": frozenset[str](), "Still to do": frozenset(_TO_DO)}
        choices |= {text: frozenset({state}) for state, text in STATE_TEXT.items()}
        for text, wanted in choices.items():
            action = states.addAction(text)
            action.setCheckable(True)
            action.setChecked(not wanted)
            action.setData(wanted)
        menu.addActions(states.actions())
        states.triggered.connect(self._filter_chosen)
        menu.addSeparator()
        orders = QActionGroup(menu)
        self._orders: dict[str, QAction] = {}
        for text, order in (
            ("Order by name", "name"),
            ("Order by objects", "objects"),
            ("Order by state", "state"),
            ("Order by what to label next", "next"),
        ):
            action = orders.addAction(text)
            action.setCheckable(True)
            action.setChecked(order == "name")
            action.setData(order)
            self._orders[order] = action
        menu.addActions(orders.actions())
        orders.triggered.connect(self._order_chosen)
        button.setMenu(menu)
        button.setPopupMode(button.ToolButtonPopupMode.InstantPopup)

    # slots -------------------------------------------------------------------------------

    @Slot(str)
    def _searched(self, text: str) -> None:
        self._filtering = True
        self.filter.search(text)
        self._filtered()

    @Slot(QAction)
    def _filter_chosen(self, action: QAction) -> None:
        self._filtering = True
        self.filter.show_states(action.data())
        self._filtered()

    def _filtered(self) -> None:
        """A filter changes the list, never the image on the canvas."""
        self._filtering = False
        self._show_current()
        self._recount()

    @Slot(QAction)
    def _order_chosen(self, action: QAction) -> None:
        self.order_by(action.data())

    def order_by(self, order: str) -> None:
        """Order the list, as the menu does."""
        self._orders[order].setChecked(True)
        self.filter.order_by(order)
        if order == "next" and not self._has_places:
            self.places_wanted.emit()

    def offer_places(self, on: bool) -> None:
        """Whether the menu has the order of what to label next."""
        self._orders["next"].setVisible(on)

    def show_places(self, places: dict[int, Place]) -> None:
        """Take over what to label next, with the reasons."""
        self._has_places = bool(places)
        self.model.show_places(places)
        self.filter.invalidate()

    @Slot()
    def _recount(self) -> None:
        total = self.model.rowCount()
        finished = sum(1 for one in self._document.images() if one.state in ("done", "empty"))
        shown = self.filter.rowCount()
        text = f"{finished} of {total} finished" if total else ""
        self.set_count(text if shown == total else f"{shown} of {total} shown")

    @Slot(QModelIndex, QModelIndex)
    def _row_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        image_id = current.data(ID_ROLE)
        if image_id is not None and not self._filtering:
            self._document.open_image(image_id)

    @Slot()
    def _show_current(self) -> None:
        image_id = self._document.current_id
        row = self.model.row_of(image_id) if image_id is not None else None
        if row is None:
            return
        index = self.filter.mapFromSource(self.model.index(row))
        if index.isValid() and index != self.list.currentIndex():
            self.list.setCurrentIndex(index)
        if index.isValid():
            self.list.scrollTo(index)

    def step(self, direction: int, *, unfinished: bool = False) -> bool:
        """Go to the next (1) or previous (-1) image shown; False at the end."""
        row = self.list.currentIndex().row() + direction
        while 0 <= row < self.filter.rowCount():
            index = self.filter.index(row, 0)
            record = index.data(RECORD_ROLE)
            if not unfinished or (record.state in _TO_DO and not record.problem):
                self.list.setCurrentIndex(index)
                return True
            row += direction
        return False

    def following(self, count: int) -> list[int]:
        """The images after the current one, then the one before: what to prepare ahead."""
        row = self.list.currentIndex().row()
        rows = [*range(row + 1, row + 1 + count), row - 1]
        valid = [one for one in rows if 0 <= one < self.filter.rowCount()]
        return [self.filter.index(one, 0).data(ID_ROLE) for one in valid]

    @Slot(QPoint)
    def _show_menu(self, position: QPoint) -> None:
        index = self.list.indexAt(position)
        record = index.data(RECORD_ROLE)
        if record is None:
            return
        menu = QMenu(self)
        for state, text in STATE_TEXT.items():
            action = menu.addAction(_icon_for(state), text)
            action.setData(state)
            action.setEnabled(state != record.state)
        menu.addSeparator()
        excluded = menu.addAction(
            "Use for training" if record.excluded else "Leave out of training"
        )
        excluded.setData("excluded")
        chosen = menu.exec(self.list.viewport().mapToGlobal(position))
        if chosen is not None:
            self.state_wanted.emit(record.id, str(chosen.data()))
        menu.deleteLater()


_TO_DO = ("untouched", "in_progress", "flagged")


def _icon_for(state: str) -> QPixmap:
    return icons.pixmap(state, 16, theme().tokens.muted)
