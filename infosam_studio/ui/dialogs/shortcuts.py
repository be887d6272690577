"""The shortcut sheet; a double click on an action gives it other keys."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui.actions import Actions

NAME_ROLE = int(Qt.ItemDataRole.UserRole)

# What is no action but a gesture on the canvas.
GESTURES = (
    ("Left click", "Add to the object"),
    ("Right click, Shift or Alt and click", "Remove from the object"),
    ("Drag", "Draw a box; on a point: move it"),
    ("Right click on a point", "Delete the point"),
    ("Tab, Shift+Tab", "Next or previous candidate"),
    ("Ctrl+click, Ctrl+Shift+click", "Select one or several objects"),
    ("1 to 9", "Class of the next or the selected objects"),
    ("V (hold)", "Peek below the masks"),
    ("X (hold)", "See another version's mask for the same prompts"),
    ("Wheel", "Zoom at the pointer"),
    ("Space or middle button and drag", "Pan"),
    ("[ and ], Shift and wheel", "Brush size"),
)


class ShortcutSheet(QDialog):
    """Every action with its keys, searchable and remappable."""

    def __init__(self, actions: Actions, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        self._actions = actions
        self._search = QLineEdit()
        self._search.setPlaceholderText("Search actions")
        self._search.textChanged.connect(self._filter)
        self.tree = QTreeWidget()
        self.tree.setAccessibleName("Actions and keys")
        self.tree.setColumnCount(2)
        self.tree.setHeaderLabels(["Action", "Keys"])
        self.tree.setRootIsDecorated(False)
        self.tree.setIndentation(12)
        self.tree.header().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.tree.header().setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
        self.tree.header().setStretchLastSection(False)
        self.tree.currentItemChanged.connect(self._chosen)
        self.keys = QKeySequenceEdit()
        self.keys.setMaximumSequenceLength(1)
        self.keys.setEnabled(False)
        self.assign = QPushButton("Assign")
        self.assign.setEnabled(False)
        self.assign.clicked.connect(self._assign)
        self._note = QLabel("Choose an action to give it other keys.")
        self._note.setProperty("role", "muted")
        self._lay_out()
        self._fill()
        self.resize(600, 660)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 14)
        column.setSpacing(10)
        column.addWidget(self._search)
        column.addWidget(self.tree, 1)
        column.addWidget(self._note)
        row = QHBoxLayout()
        reset = QPushButton("Reset all")
        reset.clicked.connect(self._reset)
        close = QPushButton("Close")
        close.clicked.connect(self.accept)
        row.addWidget(self.keys, 1)
        row.addWidget(self.assign)
        row.addSpacing(16)
        row.addWidget(reset)
        row.addWidget(close)
        column.addLayout(row)

    def _fill(self) -> None:
        self.tree.ensurePolished()  # or rows out of sight are as high as without the style sheet
        self.tree.clear()
        groups: dict[str, QTreeWidgetItem] = {}
        for spec in self._actions.specs():
            group = self._group(groups, spec.group)
            item = QTreeWidgetItem(group, [spec.text, self._shown(spec.name)])
            item.setData(0, NAME_ROLE, spec.name)
        gestures = self._group(groups, "On the canvas")
        for keys, text in GESTURES:
            QTreeWidgetItem(gestures, [text, keys])
        self.tree.expandAll()

    def _group(self, groups: dict[str, QTreeWidgetItem], name: str) -> QTreeWidgetItem:
        if name not in groups:
            item = groups[name] = QTreeWidgetItem(self.tree, [name])
            font = item.font(0)
            font.setBold(True)
            item.setFont(0, font)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
        return groups[name]

    def _shown(self, name: str) -> str:
        native = QKeySequence.SequenceFormat.NativeText
        return ", ".join(QKeySequence(key).toString(native) for key in self._actions.keys(name))

    @Slot(str)
    def _filter(self, text: str) -> None:
        words = text.casefold().split()
        for number in range(self.tree.topLevelItemCount()):
            group = self.tree.topLevelItem(number)
            if group is None:
                continue
            shown = 0
            for row in range(group.childCount()):
                item = group.child(row)
                if item is None:
                    continue
                line = f"{item.text(0)} {item.text(1)}".casefold()
                matches = all(word in line for word in words)
                item.setHidden(not matches)
                shown += matches
            group.setHidden(not shown)

    @Slot()
    def _chosen(self) -> None:
        item = self.tree.currentItem()
        name = item.data(0, NAME_ROLE) if item is not None else None
        self.keys.setEnabled(name is not None)
        self.assign.setEnabled(name is not None)
        known = self._actions.keys(name) if name is not None else ()
        self.keys.setKeySequence(QKeySequence(known[0] if known else ""))

    @Slot()
    def _assign(self) -> None:
        item = self.tree.currentItem()
        if item is None:
            return
        name = item.data(0, NAME_ROLE)
        text = self.keys.keySequence().toString(QKeySequence.SequenceFormat.PortableText)
        taken = self._actions.remap(name, (text,) if text else ())
        if taken is not None:
            self._note.setText(f"{text} belongs to “{self._actions[taken].text()}” already.")
            return
        item.setText(1, self._shown(name))
        self._note.setText(f"“{item.text(0)}” is now {item.text(1) or 'without a key'}.")

    @Slot()
    def _reset(self) -> None:
        self._actions.reset_keys()
        self._fill()
        self._note.setText("All keys are as they were at first.")
