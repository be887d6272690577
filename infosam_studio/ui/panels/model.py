"""The model dock: adapt it, watch it learn, choose among its versions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QPoint, Qt, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QWidget,
)

from infosam_studio.ui.adapting import Adapting
from infosam_studio.ui.dialogs.comparing import CompareDialog
from infosam_studio.ui.dialogs.confirming import confirm
from infosam_studio.ui.panels.adapt_options import AdaptOptions
from infosam_studio.ui.panels.card import ResultCard
from infosam_studio.ui.panels.curves import Curves
from infosam_studio.ui.panels.frame import IconButton, Panel
from infosam_studio.ui.panels.timeline import Timeline
from infosam_studio.ui.run_state import LOG_LINES, RunState
from infosam_studio.ui.workers_adapt import Ended
from infosam_studio.ui.workers_versions import VersionRow

FINE = 1000


class ModelPanel(Panel):
    """One big button; choices most people never open; the versions below."""

    def __init__(self, adapting: Adapting, adapt: QAction, parent: QWidget) -> None:
        super().__init__("model", "Model", parent, scrollable=True)
        self._adapting, self._action = adapting, adapt
        self._state = QLabel("")
        self._state.setWordWrap(True)
        self._state.setProperty("role", "muted")
        self._auto = QLabel("")
        self._auto.setProperty("role", "good")
        self._auto.setWordWrap(True)
        self.button = QPushButton("Adapt model")
        self.button.setProperty("kind", "primary")
        self.button.setToolTip(adapt.toolTip())
        self.button.clicked.connect(self._pressed)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Progress of the adaptation")
        self.curves = Curves()
        self.card = ResultCard()
        self.options = AdaptOptions()
        self.log = QPlainTextEdit()
        self.versions = Timeline()
        self._written = 0
        self._lay_out()
        self._connect()
        self._show()
        self._show_versions()

    def _lay_out(self) -> None:
        self.log.setReadOnly(True)
        self.log.setMaximumBlockCount(LOG_LINES)
        self.log.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.log.setAccessibleName("Log of the adaptation")
        self.log.setFixedHeight(130)
        self.log.hide()
        self.options.hide()
        self.options_button, self.log_button = _link("Options"), _link("Log")
        links = QHBoxLayout()
        links.setContentsMargins(0, 0, 0, 0)
        links.addWidget(self.options_button)
        links.addWidget(self.log_button)
        links.addStretch(1)
        heading = QLabel("Versions")
        heading.setProperty("role", "muted")
        self.more = IconButton("more", "Use, compare, rename, export or import versions")
        self.more.clicked.connect(self._menu_of_chosen)
        title = QHBoxLayout()
        title.setContentsMargins(2, 8, 0, 0)
        title.addWidget(heading, 1)
        title.addWidget(self.more)
        for widget in (self.card, self._auto, self._state, self.button, self.progress, self.curves):
            self.column.addWidget(widget)
        self.column.addLayout(links)
        self.column.addWidget(self.options)
        self.column.addWidget(self.log)
        self.column.addLayout(title)
        self.column.addWidget(self.versions)
        self.column.addStretch(1)

    def _connect(self) -> None:
        adapting = self._adapting
        self.card.use_wanted.connect(adapting.use)
        self.card.back_wanted.connect(self._back)
        self.card.retry_wanted.connect(self._retry)
        self.card.log_wanted.connect(self._open_log)
        self.options_button.toggled.connect(self.options.setVisible)
        self.log_button.toggled.connect(self._toggle_log)
        self.options.automatic_changed.connect(self._switch_automatic)
        self.versions.use_wanted.connect(adapting.use)
        self.versions.rename_wanted.connect(self._rename)
        self.versions.delete_wanted.connect(self._delete)
        self.versions.customContextMenuRequested.connect(self._menu)
        adapting.changed.connect(self._show)
        adapting.ticked.connect(self._show)
        adapting.automatic.changed.connect(self._show)
        adapting.versions_changed.connect(self._show_versions)
        adapting.finished.connect(self._show_end)

    # state -------------------------------------------------------------------------------

    @Slot()
    def _show(self) -> None:
        run = self._adapting.run
        self.progress.setVisible(run is not None)
        self.curves.setVisible(run is not None and bool(run.steps))
        self.curves.follow(run)
        automatic = self._adapting.automatic
        self._auto.setText(automatic.text)
        self._auto.setVisible(automatic.on)
        self.options.show_automatic(automatic.on)
        if run is None:
            self.button.setText("Adapt model")
            self.button.setEnabled(self._adapting.possible)
            self._state.setText(self._adapting.needs())
        else:
            self.card.hide()
            self.button.setText("Cancel")
            self.button.setEnabled(not run.stopping)
            self._show_run(run)
        # The tool bar's button tells too: this panel may lie behind another one.
        self._action.setText(
            "Adapting…" if run is not None else "Adapt model" + " · auto" * automatic.on
        )
        self._paint_button("" if run is not None else "primary")
        self.set_count("adapting" if run is not None else self._adapting.in_use or "base")
        self._show_log(run)

    def _paint_button(self, kind: str) -> None:
        if self.button.property("kind") != kind:
            self.button.setProperty("kind", kind)
            self.button.style().unpolish(self.button)
            self.button.style().polish(self.button)

    def _show_run(self, run: RunState) -> None:
        # Always two lines, so that the button below does not move away from the pointer.
        self._state.setText("\n".join((f"{run.title}…", _detail(run) or " ", *run.warnings[-2:])))
        fraction = run.fraction()
        # Without a range the bar runs to and fro: nothing is known yet.
        self.progress.setRange(0, 0 if fraction is None else FINE)
        if fraction is not None:
            self.progress.setValue(round(FINE * fraction))

    def _show_log(self, run: RunState | None) -> None:
        if run is None:
            return
        fresh = run.logged - self._written
        if fresh < 0:
            self.log.clear()
            fresh = run.logged
        if fresh:
            lines = list(run.log)[-min(fresh, LOG_LINES) :]
            self.log.appendPlainText("\n".join(lines))
            self._written = run.logged

    @Slot(object)
    def _show_end(self, ended: Ended) -> None:
        self.log.setPlainText("\n".join(ended.log))
        self._written = 0
        self.card.show_end(ended, self._adapting.in_use)
        self._to_top()

    def _to_top(self) -> None:
        area = self.widget()
        if isinstance(area, QScrollArea):
            area.verticalScrollBar().setValue(0)

    @Slot()
    def _show_versions(self) -> None:
        adapting = self._adapting
        rows = [VersionRow(adapting.model, None), *adapting.versions]
        self.versions.show_rows(rows, adapting.in_use, adapting.model)
        self.options.show_bases(adapting.store.bases, adapting.model)
        self.set_count("adapting" if adapting.run is not None else adapting.in_use or "base")
        if adapting.last is not None and self.card.isVisible():
            self.card.show_end(adapting.last, adapting.in_use)

    # actions -----------------------------------------------------------------------------

    @Slot()
    def _pressed(self) -> None:
        if self._adapting.run is not None:
            self._adapting.cancel()
        else:
            self._to_top()
            self._adapting.start(**self.options.choices())

    @Slot()
    def _retry(self) -> None:
        self._adapting.retry()

    @Slot()
    def _back(self) -> None:
        self._adapting.roll_back()

    @Slot()
    def _open_log(self) -> None:
        self.log_button.setChecked(True)

    @Slot(bool)
    def _toggle_log(self, shown: bool) -> None:
        self.log.setVisible(shown)
        if shown:
            bar = self.log.verticalScrollBar()
            bar.setValue(bar.maximum())

    @Slot(bool, int)
    def _switch_automatic(self, on: bool, every: int) -> None:
        self._adapting.automatic.switch(on, every)

    @Slot(QPoint)
    def _menu(self, position: QPoint) -> None:
        item = self.versions.itemAt(position)
        chosen = self.versions.chosen() if item is not None else ""
        self._offer(chosen, self.versions.viewport().mapToGlobal(position))

    @Slot()
    def _menu_of_chosen(self) -> None:
        """The same menu for those who look for a button."""
        chosen = self.versions.chosen()
        name = self._adapting.in_use if chosen == "" else chosen
        self._offer(name, self.more.mapToGlobal(self.more.rect().bottomLeft()))

    def _offer(self, name: str | None, place: QPoint) -> None:
        choices = self.choices_for(name)
        menu = QMenu(self)
        handlers = {}
        for text, handler in choices:
            if text:
                handlers[menu.addAction(text)] = handler
            else:
                menu.addSeparator()
        chosen = menu.exec(place)
        if chosen in handlers:
            handlers[chosen]()
        menu.deleteLater()

    def choices_for(self, name: str | None) -> list[tuple[str, Callable[[], object]]]:
        """What can be done with a version (None: the base, "": none); no text is a line."""
        used = self._adapting.in_use
        found: list[tuple[str, Callable[[], object]]] = []
        if name != "" and name != used:
            found += [
                ("Use", partial(self._adapting.use, name)),
                (f"Compare with {used or 'the base model'}…", partial(self._compare, name)),
            ]
        if name:
            found += [
                ("Rename…", partial(self._rename, name)),
                ("Remark…", partial(self._annotate, name)),
                ("Delete…", partial(self._delete, name)),
                ("", _nothing),
                ("Export as a zip file…", partial(self._export, name, ".zip")),
                ("Export as a folder…", partial(self._export, name, "")),
            ]
        if found:
            found.append(("", _nothing))
        found += [
            ("Import a zip file…", self._import_zip),
            ("Import a folder…", self._import_folder),
        ]
        return found

    def _compare(self, name: str | None) -> None:
        rows = {row.name: row for row in self._adapting.versions}
        base = VersionRow(self._adapting.model, None)
        pair = [rows.get(one or "", base) for one in (self._adapting.in_use, name)]
        dialog = CompareDialog(pair[0], pair[1], self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.use_wanted.connect(self._adapting.use)
        dialog.open()

    @Slot(str)
    def _rename(self, name: str) -> None:
        new, good = QInputDialog.getText(self, "Rename version", "New name", text=name)
        if good and new.strip():
            self._adapting.store.rename(name, new.strip())

    def _annotate(self, name: str) -> None:
        row = self._adapting.store.row(name)
        text, good = QInputDialog.getText(
            self, f"Remark on {name}", "Remark", text=row.remark if row else ""
        )
        if good:
            self._adapting.store.annotate(name, text)

    @Slot(str)
    def _delete(self, name: str) -> None:
        used = name == self._adapting.in_use
        text = f"Delete {name}? This cannot be undone."
        if used:
            text = f"Delete {name}, which is in use? The base model takes its place."
        if confirm(self, "Delete version", text, yes="Delete"):
            self._adapting.store.delete(name)

    def _export(self, name: str, suffix: str) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export version", f"{name}{suffix}")
        if path:
            target = Path(path)
            if suffix and target.suffix.lower() != suffix:
                target = target.with_name(target.name + suffix)
            self._adapting.store.export(name, target)

    def _import_zip(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import version", "", "Versions (*.zip)")
        if path:
            self._adapting.store.import_version(Path(path))

    def _import_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Import the folder of a version")
        if path:
            self._adapting.store.import_version(Path(path))


def _nothing() -> None:
    """What a line in a menu does."""


def _link(text: str) -> QPushButton:
    button = QPushButton(text)
    button.setProperty("kind", "link")
    button.setCheckable(True)
    return button


def _detail(run: RunState) -> str:
    """How far the stage is and how long it will all take, as far as that is known."""
    if run.paused:
        return "Goes on when the power supply is connected."
    # Where time decides, the last step is only known when it is over.
    counted = run.step < run.of and not run.stopping
    parts = [f"{run.step} of {run.of}"] if counted else []
    left = run.remaining()
    if left is not None:
        parts.append(f"{_time(left)} left")
    return " · ".join(parts)


def _time(seconds: float) -> str:
    """About how long, no more exact than it is known."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s"
    return f"about {seconds / 60:.0f} min"
