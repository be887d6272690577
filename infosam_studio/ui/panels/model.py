"""The model dock: adapt it, watch it learn, choose among its versions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QPoint, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QInputDialog,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QProgressBar,
    QPushButton,
    QWidget,
)

from infosam_studio.ui.adapting import Adapting, RunState
from infosam_studio.ui.panels.card import Curves, ResultCard
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.workers_adapt import Ended
from infosam_studio.ui.workers_versions import VersionRow

NAME_ROLE = int(Qt.ItemDataRole.UserRole)


class ModelPanel(Panel):
    """One big button; choices most people never open; the versions below."""

    def __init__(self, adapting: Adapting, adapt: QAction, parent: QWidget) -> None:
        super().__init__("model", "Model", parent, scrollable=True)
        self._adapting = adapting
        self._state = QLabel("")
        self._state.setWordWrap(True)
        self._state.setProperty("role", "muted")
        self.button = QPushButton("Adapt model")
        self.button.setProperty("kind", "primary")
        self.button.setToolTip(adapt.toolTip())
        self.button.clicked.connect(self._pressed)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.curves = Curves()
        self.card = ResultCard()
        self.card.use_wanted.connect(self._use)
        self.card.back_wanted.connect(self._back)
        self.card.retry_wanted.connect(self._start)
        self.options_button = QPushButton("Options")
        self.options_button.setProperty("kind", "link")
        self.options_button.setCheckable(True)
        self.options = self._make_options()
        self.options_button.toggled.connect(self.options.setVisible)
        self.versions = self._make_versions()
        for widget in (
            self._state,
            self.button,
            self.progress,
            self.curves,
            self.card,
            self.options_button,
            self.options,
            self._heading("Versions"),
            self.versions,
        ):
            self.column.addWidget(widget)
        self.column.addStretch(1)
        adapting.changed.connect(self._show)
        adapting.versions_changed.connect(self._show_versions)
        adapting.finished.connect(self._show_end)
        self._show()
        self._show_versions()

    def _heading(self, text: str) -> QLabel:
        label = QLabel(text)
        label.setProperty("role", "muted")
        label.setContentsMargins(2, 8, 0, 0)
        return label

    def _make_options(self) -> QWidget:
        box = QWidget()
        form = QFormLayout(box)
        form.setContentsMargins(2, 0, 2, 0)
        self.speed, self.method, self.recipe = QComboBox(), QComboBox(), QComboBox()
        self.speed.addItem("Instant: decoder, seconds", "instant")
        self.speed.addItem("Full: encoder too, minutes", "full")
        self.method.addItem("InfoSAM", "infosam")
        self.method.addItem("LoRA without InfoSAM", "lora")
        self.method.addItem("Decoder only", "decoder")
        self.recipe.addItem("Studio", "studio")
        self.recipe.addItem("Paper", "paper")
        self.minutes = QDoubleSpinBox()
        self.minutes.setRange(0, 600)
        self.minutes.setSpecialValueText("As needed")
        self.minutes.setSuffix(" min")
        self.automatic = QCheckBox("By itself after every 10 objects")
        self.automatic.setToolTip("Instant runs; only proven versions are put in use")
        self.automatic.toggled.connect(self._adapting.set_automatic)
        for text, widget in (
            ("Speed", self.speed),
            ("Time", self.minutes),
            ("Method", self.method),
            ("Recipe", self.recipe),
        ):
            form.addRow(text, widget)
        form.addRow(self.automatic)
        box.hide()
        return box

    def _make_versions(self) -> QListWidget:
        found = QListWidget()
        found.setAccessibleName("Versions of the model")
        found.setMinimumHeight(90)
        found.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        found.customContextMenuRequested.connect(self._menu)
        found.itemDoubleClicked.connect(self._double_clicked)
        return found

    # state -------------------------------------------------------------------------------

    @Slot()
    def _show(self) -> None:
        run = self._adapting.run
        self.progress.setVisible(run is not None)
        self.curves.setVisible(run is not None and bool(run.losses))
        if run is None:
            self.button.setText("Adapt model")
            self.button.setProperty("kind", "primary")
            self.button.setEnabled(self._adapting.possible)
            self._state.setText(self._adapting.needs())
        else:
            self.card.hide()
            self.button.setText("Cancel")
            self.button.setProperty("kind", "")
            self.button.setEnabled(True)
            self._show_run(run)
        self.button.style().unpolish(self.button)
        self.button.style().polish(self.button)

    def _show_run(self, run: RunState) -> None:
        text = f"{run.stage}…"
        if run.of:
            text += f" {run.step} of {run.of}"
        if run.left is not None:
            text += f", about {_time(run.left)} left"
        self._state.setText(text + "\nYou can go on labelling.")
        self.progress.setRange(0, max(0, run.of))
        self.progress.setValue(run.step)
        self.curves.show_values(run.losses, run.ious)

    @Slot(object)
    def _show_end(self, ended: Ended) -> None:
        self.card.show_end(ended, self._adapting.in_use)

    @Slot()
    def _show_versions(self) -> None:
        used = self._adapting.in_use
        self.versions.clear()
        rows = [VersionRow(self._adapting.model, None), *self._adapting.versions]
        for row in rows:
            name = row.name if row.path is not None else None
            item = QListWidgetItem(_line(row, name == used))
            item.setData(NAME_ROLE, name)
            item.setToolTip(_tip(row))
            if name == used:
                font = item.font()
                font.setBold(True)
                item.setFont(font)
            self.versions.addItem(item)
        self.set_count(used or "base")
        if self._adapting.last is not None and self.card.isVisible():
            self.card.show_end(self._adapting.last, used)

    # actions -----------------------------------------------------------------------------

    @Slot()
    def _pressed(self) -> None:
        if self._adapting.run is not None:
            self._adapting.cancel()
        else:
            self._start()

    @Slot()
    def _start(self) -> None:
        minutes = self.minutes.value()
        self._adapting.start(
            speed=self.speed.currentData(),
            method=self.method.currentData(),
            recipe=self.recipe.currentData(),
            minutes=minutes if minutes > 0 else None,
        )

    @Slot(str)
    def _use(self, name: str) -> None:
        self._adapting.use(name)

    @Slot()
    def _back(self) -> None:
        self._adapting.roll_back()

    @Slot(QListWidgetItem)
    def _double_clicked(self, item: QListWidgetItem) -> None:
        self._adapting.use(item.data(NAME_ROLE))

    @Slot(QPoint)
    def _menu(self, position: QPoint) -> None:
        item = self.versions.itemAt(position)
        if item is None:
            return
        name = item.data(NAME_ROLE)
        choices: list[tuple[str, Callable[[], None]]] = []
        if name != self._adapting.in_use:
            choices.append(("Use", partial(self._adapting.use, name)))
        if name is not None:
            choices += [
                ("Rename…", partial(self._rename, name)),
                ("Export…", partial(self._export, name)),
                ("Delete", partial(self._adapting.delete, name)),
            ]
        choices.append(("Import a version…", self._import))
        menu = QMenu(self)
        handlers = {menu.addAction(text): handler for text, handler in choices}
        chosen = menu.exec(self.versions.viewport().mapToGlobal(position))
        if chosen in handlers:
            handlers[chosen]()
        menu.deleteLater()

    def _rename(self, name: str) -> None:
        new, good = QInputDialog.getText(self, "Rename version", "New name", text=name)
        if good and new.strip():
            self._adapting.rename(name, new.strip())

    def _export(self, name: str) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export version", f"{name}.zip")
        if path:
            self._adapting.export(name, Path(path))

    def _import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import version", "", "Versions (*.zip)")
        if path:
            self._adapting.import_version(Path(path))


def _line(row: VersionRow, used: bool) -> str:
    parts = [row.name if row.path is not None else f"{Path(row.name).stem} (base)"]
    if row.problem:
        parts.append("damaged")
    elif row.after.get("noc85") is not None:
        parts.append(f"{row.after['noc85']:.1f} clicks")
    if used:
        parts.append("in use")
    return "  ·  ".join(parts)


def _tip(row: VersionRow) -> str:
    if row.path is None:
        return "The model as it came. Double click to use it."
    if row.problem:
        return row.problem
    lines = [f"{row.method}, {row.speed}", row.created.replace("T", " ")[:16]]
    if row.before.get("noc85") is not None and row.after.get("noc85") is not None:
        lines.append(f"Clicks per object {row.before['noc85']:.1f} → {row.after['noc85']:.1f}")
    lines.append("Double click to use it.")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
