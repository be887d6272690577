"""The guide: every page of `resources/guide`, the model card, and a search over all of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QByteArray, QSize, Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QImage, QPainter, QTextCursor, QTextDocument
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.resource_files import resource_path
from infosam_studio.ui.theme import Tokens, theme

NAME_ROLE = int(Qt.ItemDataRole.UserRole)
CARD = "model_card"
# In the order of use; pages not named here follow by title.
FIRST = (
    "start",
    "labelling",
    "adapting",
    "suggestions",
    "next_image",
    "models",
    CARD,
    "images",
    "formats",
    "recipe_studio",
    "recipe_paper",
)


@dataclass(frozen=True)
class Page:
    """One page: its file's stem, its title (the first heading) and its Markdown."""

    name: str
    title: str
    text: str
    folder: Path


def pages() -> list[Page]:
    """All pages of the guide, in the order of the index; unreadable ones are left out."""
    files = sorted(resource_path("guide").glob("*.md"))
    files.append(resource_path("models", f"{CARD}.md"))
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError:
            continue
        heading = next((line for line in text.splitlines() if line.startswith("# ")), path.stem)
        found.append(Page(path.stem, heading.lstrip("# ").strip(), text, path.parent))
    places = {name: place for place, name in enumerate(FIRST)}
    return sorted(found, key=lambda one: (places.get(one.name, len(FIRST)), one.title))


class GuideText(QTextBrowser):
    """Markdown whose pictures fit the width; SVG is drawn crisp at the screen's resolution."""

    folder = Path()

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        url = QUrl(name) if isinstance(name, str) else name
        path = self.folder / url.fileName()
        if kind == QTextDocument.ResourceType.ImageResource.value and path.is_file():
            return self._picture(path)
        return None

    def _picture(self, path: Path) -> QImage:
        room, ratio = max(240, self.viewport().width() - 48), self.devicePixelRatioF()
        if path.suffix != ".svg":
            image = QImage(str(path))
            if image.width() > room * ratio:
                mode = Qt.TransformationMode.SmoothTransformation
                image = image.scaledToWidth(round(room * ratio), mode)
            image.setDevicePixelRatio(ratio)
            return image
        renderer = QSvgRenderer(QByteArray(path.read_bytes()))
        size = renderer.defaultSize().scaled(
            QSize(min(room, 720), 100_000), Qt.AspectRatioMode.KeepAspectRatio
        )
        image = QImage(size * ratio, QImage.Format.Format_ARGB32_Premultiplied)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        renderer.render(painter)
        painter.end()
        image.setDevicePixelRatio(ratio)
        return image


class GuideDialog(QDialog):
    """Index on the left, page on the right; stays open beside the work."""

    def __init__(self, parent: QWidget | None = None, page: str = "") -> None:
        super().__init__(parent)
        self.setWindowTitle("Guide")
        self._pages = {one.name: one for one in pages()}
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search the guide")
        self.search.setAccessibleName("Search the guide")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.index = QListWidget()
        self.index.setAccessibleName("Pages of the guide")
        self.index.setFixedWidth(240)
        self.index.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.index.currentItemChanged.connect(self._chosen)
        self.text = GuideText()
        self.text.setAccessibleName("Page")
        self.text.setOpenLinks(False)
        self.text.anchorClicked.connect(self._follow)
        self._none = QLabel("No page has all of these words.")
        self._none.setProperty("role", "muted")
        self._none.setWordWrap(True)
        self._none.hide()
        self._shown = ""
        self._lay_out()
        for one in self._pages.values():
            item = QListWidgetItem(one.title)
            item.setData(NAME_ROLE, one.name)
            item.setToolTip(one.title)
            self.index.addItem(item)
        theme().changed.connect(self._recolour)
        self.resize(980, 700)
        self.show_page(page or next(iter(self._pages), ""))

    def _lay_out(self) -> None:
        left = QVBoxLayout()
        left.addWidget(self.search)
        left.addWidget(self.index, 1)
        left.addWidget(self._none)
        close = QPushButton("Close")
        close.clicked.connect(self.accept)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(close)
        right = QVBoxLayout()
        right.addWidget(self.text, 1)
        right.addLayout(foot)
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 16, 16, 14)
        row.setSpacing(12)
        row.addLayout(left)
        row.addLayout(right, 1)

    @property
    def page(self) -> str:
        """The page shown."""
        return self._shown

    def show_page(self, name: str) -> None:
        """Show a page by its name (the file's stem)."""
        page = self._pages.get(name)
        if page is None:
            return
        self._shown = name
        self.text.folder = page.folder
        self.text.document().setDefaultFont(self.font())
        self.text.document().setDocumentMargin(14)
        self.text.setMarkdown(page.text)
        self.text.moveCursor(QTextCursor.MoveOperation.Start)
        for row in range(self.index.count()):
            item = self.index.item(row)
            if item.data(NAME_ROLE) == name:
                self.index.setCurrentItem(item)

    @Slot()
    def _chosen(self) -> None:
        item = self.index.currentItem()
        if item is not None and item.data(NAME_ROLE) != self._shown:
            self.show_page(item.data(NAME_ROLE))

    @Slot(QUrl)
    def _follow(self, url: QUrl) -> None:
        """Links to pages stay here; others go to the browser."""
        stem = Path(url.fileName()).stem
        if not url.scheme() and stem in self._pages:
            self.show_page(stem)
        elif url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(url)

    @Slot(str)
    def _filter(self, text: str) -> None:
        """Keep the pages that have all words; mark the first one on the page shown."""
        words = text.casefold().split()
        shown: list[str] = []
        for row in range(self.index.count()):
            item = self.index.item(row)
            name = str(item.data(NAME_ROLE))
            page = self._pages[name].text.casefold()
            matches = all(word in page for word in words)
            item.setHidden(not matches)
            if matches:
                shown.append(name)
        self._none.setVisible(not shown)
        if shown and self._shown not in shown:
            self.show_page(shown[0])
        self.text.moveCursor(QTextCursor.MoveOperation.Start)
        if words:
            self.text.find(words[0])

    @Slot(object)
    def _recolour(self, _tokens: Tokens) -> None:
        self.show_page(self._shown)
