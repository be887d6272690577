"""The window: menus, toolbars, docks around the canvas, and the welcome page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QSettings, QSize, Qt, QTimer, QUrl, Signal, Slot
from PySide6.QtGui import (
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
)
from PySide6.QtWidgets import (
    QFileDialog,
    QLabel,
    QMainWindow,
    QStackedWidget,
    QTabWidget,
)

from infosam_studio.ui.actions import Actions
from infosam_studio.ui.bars import fill_menus, make_rail, make_top_bar
from infosam_studio.ui.commands import Commands
from infosam_studio.ui.dialogs.confirming import confirm
from infosam_studio.ui.dialogs.export import ExportChoice
from infosam_studio.ui.dialogs.guide import GuideDialog
from infosam_studio.ui.dialogs.shortcuts import ShortcutSheet
from infosam_studio.ui.docks import LAYOUT_VERSION, Docks
from infosam_studio.ui.exchange import CANCEL, Exchange
from infosam_studio.ui.model_desk import ModelDesk
from infosam_studio.ui.opening import Opened, Opener
from infosam_studio.ui.samples import copy_samples
from infosam_studio.ui.status import StatusLine
from infosam_studio.ui.theme import theme
from infosam_studio.ui.toast import Toast
from infosam_studio.ui.tools.base import Tool
from infosam_studio.ui.welcome import Welcome, remember_project
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_inference import PredictorMaker, make_predictor

TITLE = "InfoSAM Studio"
SIZE = QSize(1280, 800)
# What a desktop puts around a window: its frame, and a bar at an edge of the screen.
AROUND = QSize(16, 60)


class MainWindow(QMainWindow):
    """Shows the welcome page or one project."""

    project_opened = Signal(object)
    project_closed = Signal()
    exported = Signal(object)

    def __init__(self, settings: QSettings, *, maker: PredictorMaker = make_predictor) -> None:
        super().__init__()
        self.settings = settings
        self._maker = maker
        self.bench: Workbench | None = None
        self.confirm: Callable[..., bool] = confirm
        self._closed = False
        self._dropped: list[Path] = []
        self._commands: Commands | None = None
        self._guide: GuideDialog | None = None
        self.setWindowTitle(TITLE)
        self.setAcceptDrops(True)
        self.setDockNestingEnabled(True)
        area = Qt.DockWidgetArea.AllDockWidgetAreas
        self.setTabPosition(area, QTabWidget.TabPosition.North)
        self.setDocumentMode(True)
        self.actions_ = Actions(self, settings)
        self.actions_.triggered.connect(self._run)
        self.status = StatusLine(self)
        self.setStatusBar(self.status)
        self.welcome = Welcome(settings)
        self._stack = QStackedWidget()
        self._stack.addWidget(self.welcome)
        self.setCentralWidget(self._stack)
        self._welcome_toast = Toast(self.welcome)
        self.opener, self.exchange = Opener(self), Exchange(self)
        self.docks = Docks(self)
        self.panels_menu = fill_menus(self, self.actions_)
        self.tool_rail = make_rail(self, self.actions_)
        self.image_name = QLabel("")
        self.top_bar = make_top_bar(self, self.actions_, self.image_name)
        self.desk = ModelDesk(self, settings)
        self._connect()
        self._show_welcome()
        self._restore_geometry()

    def _connect(self) -> None:
        self.welcome.open_wanted.connect(self._ask_folder)
        self.welcome.samples_wanted.connect(self._open_samples)
        self.welcome.path_wanted.connect(self._open_text)
        self.welcome.models_wanted.connect(self.desk.open)
        self.desk.proposed.connect(self.welcome.show_proposal)
        self.opener.opened.connect(self._install)
        self.opener.failed.connect(self._not_opened)
        self.opener.progress.connect(self._show_progress)
        self.exchange.exported.connect(self.exported)

    def _show_welcome(self) -> None:
        self._stack.setCurrentWidget(self.welcome)
        self.welcome.refresh()
        self.welcome.show_busy("")
        for bar in (self.tool_rail, self.top_bar, self.status):
            bar.hide()
        self.actions_.enable_project(False)
        self.setWindowTitle(TITLE)

    # projects ----------------------------------------------------------------------------

    def open_path(self, path: Path) -> None:
        """Open a project, a folder of images or an image; returns at once."""
        self.welcome.show_busy(f"Opening {path.name}…")
        if self.bench is not None:
            self.close_project()
            self.welcome.show_busy(f"Opening {path.name}…")
        self.opener.open(path)

    def open_files(self, paths: list[Path]) -> None:
        """Open the project of files and folders chosen together; returns at once."""
        self.close_project()
        self.welcome.show_busy("Looking at the images…")
        self.opener.open_files(paths)

    @Slot(object)
    def _install(self, opened: Opened) -> None:
        if self._closed:  # opened behind the back of somebody who has left
            opened.project.close()
            return
        if self.bench is not None:
            self.close_project()
        project = opened.project
        bench = Workbench(
            project, self, self.status, self.settings, self.actions_, maker=self._maker
        )
        self.bench, self._commands = bench, Commands(bench)
        self.exchange.attach(bench)
        self._stack.addWidget(bench.page)
        self._stack.setCurrentWidget(bench.page)
        state = self.settings.value("window/state")
        self.docks.place(
            bench.images, bench.upper_panels(), bench.lower_panels(), self.panels_menu, state
        )
        for bar in (self.tool_rail, self.top_bar, self.status):
            bar.show()
        self.actions_.enable_project(True)
        self.actions_.attach(bench.page, bench.images.list, bench.objects.list)
        bench.tools.changed.connect(self._tool_changed)
        bench.document.current_changed.connect(self._name_image)
        bench.document.history_changed.connect(self._show_undo)
        bench.drafting.changed.connect(self._show_undo)
        bench.toast.acted.connect(self._toast_acted)
        bench.rewinding.held_still.connect(self._hold_still)
        self.setWindowTitle(f"{project.images_root.name} – {project.folder} – {TITLE}")
        remember_project(self.settings, project.folder)
        self.desk.attach(bench)
        bench.start(opened.first)
        self._show_undo()
        self.exchange.tell_missing()
        self.project_opened.emit(bench)

    def may_leave(self) -> bool:
        """Ask once where an adaptation is in progress; True where the project may be closed."""
        if self.bench is None or self.bench.adapting.run is None:
            return True
        text = "The model is being adapted. Leaving stops it; your labels are saved already."
        return self.confirm(self, "Adapting", text, yes="Stop and leave", no="Stay")

    def close_project(self) -> None:
        """Close the project (everything is saved already) and show the welcome page."""
        bench, self.bench, self._commands = self.bench, None, None
        if bench is None:
            return
        self.exchange.attach(None)
        self.desk.attach(None)
        self.settings.setValue("window/state", self.saveState(LAYOUT_VERSION))
        self._stack.removeWidget(bench.page)
        bench.page.hide()
        self.docks.remove()
        bench.close()
        bench.page.deleteLater()
        bench.deleteLater()
        self._show_welcome()
        self.project_closed.emit()

    @Slot(str)
    def _not_opened(self, problem: str) -> None:
        self.welcome.show_busy("")
        self._welcome_toast.tell(problem, kind="error")

    @Slot(int, int)
    def _show_progress(self, done: int, total: int) -> None:
        if self.bench is None:
            self.welcome.show_busy(f"Looking at the images: {done} of {total}")

    @Slot()
    def _ask_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a folder of images or a project")
        if path and self.may_leave():
            self.open_path(Path(path))

    @Slot(str)
    def _open_text(self, path: str) -> None:
        self.open_path(Path(path))

    @Slot()
    def _open_samples(self) -> None:
        if self.may_leave():
            self.open_path(copy_samples())

    # actions -----------------------------------------------------------------------------

    @Slot(str, bool)
    def _run(self, name: str, checked: bool) -> None:
        method = getattr(self, f"_do_{name}", None)
        if method is not None:
            method()
        elif self._commands is not None:
            self._commands.run(name, checked)

    def _do_open(self) -> None:
        self._ask_folder()

    def _do_open_files(self) -> None:
        paths, _ = QFileDialog.getOpenFileNames(self, "Open images, or a text file that lists some")
        if len(paths) == 1:
            self.open_path(Path(paths[0]))
        elif paths:
            self.open_files([Path(one) for one in paths])

    def _do_add_images(self) -> None:
        self.exchange.ask_images()

    def _do_relocate(self) -> None:
        self.exchange.ask_moved()

    def _do_samples(self) -> None:
        self._open_samples()

    def _do_close_project(self) -> None:
        if self.may_leave():
            self.close_project()

    def _do_quit(self) -> None:
        self.close()

    def _do_toggle_theme(self) -> None:
        theme().toggle()

    def _do_models(self) -> None:
        self.desk.open()

    def _do_guide(self) -> None:
        self.show_guide()

    def show_guide(self, page: str = "") -> None:
        """Open the guide, on ``page`` where one is named; it stays open beside the work."""
        if self._guide is None:
            self._guide = GuideDialog(self)
        if page:
            self._guide.show_page(page)
        self._guide.show()
        self._guide.raise_()
        self._guide.activateWindow()

    def _do_shortcuts(self) -> None:
        sheet = ShortcutSheet(self.actions_, self)
        sheet.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        sheet.open()

    def _do_import(self) -> None:
        self.exchange.ask_import()

    def _do_export(self) -> None:
        self.exchange.ask_export()

    def export(self, choice: ExportChoice) -> None:
        """Write the labels as chosen; a message tells when it is done."""
        self.exchange.export(choice)

    @Slot(str)
    def _toast_acted(self, action: str) -> None:
        if action == CANCEL:
            self.exchange.cancel()
        elif action.startswith("show:"):
            QDesktopServices.openUrl(QUrl.fromLocalFile(action[5:]))
        else:
            self.actions_[action].trigger()

    @Slot(bool)
    def _hold_still(self, still: bool) -> None:
        """Allow no edits while a long step is carried out."""
        self.actions_.enable_project(not still)
        if self.bench is not None:
            self.docks.enable(not still)
            self.bench.page.setEnabled(not still)
            if not still:
                self._show_undo()
                self.bench.focus_canvas()

    # what is shown -----------------------------------------------------------------------

    @Slot(object)
    def _tool_changed(self, tool: Tool) -> None:
        self.actions_[tool.name].setChecked(True)

    @Slot()
    def _name_image(self) -> None:
        record = self.bench.document.current if self.bench else None
        self.image_name.setText(record.path if record else "")
        self.image_name.setToolTip(record.path if record else "")

    @Slot()
    def _show_undo(self) -> None:
        if self.bench is None:
            return
        project, draft = self.bench.document.project, self.bench.drafting
        self.actions_["undo"].setEnabled(draft.can_undo or project.can_undo())
        self.actions_["redo"].setEnabled(draft.can_redo or project.can_redo())

    # events ------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """What nobody else used: 1 to 9 choose a class, V hides the masks while held."""
        if self.bench is not None and not event.isAutoRepeat():
            number = event.key() - Qt.Key.Key_0
            plain = event.modifiers() in (
                Qt.KeyboardModifier.NoModifier,
                Qt.KeyboardModifier.KeypadModifier,
            )
            if plain and 1 <= number <= 9:
                record = self.bench.classes.choose_number(number)
                if record is not None:
                    return
            if plain and event.key() == Qt.Key.Key_V:
                self.bench.layers.set_look(hidden=True)
                return
            if plain and event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right):
                self.bench.images.step(1 if event.key() == Qt.Key.Key_Right else -1)
                return
        super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        if self.bench is not None and event.key() == Qt.Key.Key_V and not event.isAutoRepeat():
            self.bench.layers.set_look(hidden=self.actions_["hide_masks"].isChecked())
            return
        super().keyReleaseEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self._dropped = paths
            # Not within the event: where a dialog asks, the other program would wait for it.
            QTimer.singleShot(0, self._take_dropped)

    @Slot()
    def _take_dropped(self) -> None:
        paths, self._dropped = self._dropped, []
        if paths:
            self.drop(paths)

    def drop(self, paths: list[Path]) -> None:
        """Use dropped files and folders: into the open project, or as one to open."""
        if self.exchange.take(paths):
            return
        if len(paths) == 1:
            self.open_path(paths[0])
        else:
            self.open_files(paths)

    def _restore_geometry(self) -> None:
        geometry = self.settings.value("window/geometry")
        if geometry is None or not self.restoreGeometry(geometry):
            # Not self.screen(): PySide makes that a child, which goes under with the window.
            room = QGuiApplication.primaryScreen().availableSize() - AROUND
            self.resize(SIZE.boundedTo(room))

    def closeEvent(self, event: QCloseEvent) -> None:
        if not self.may_leave():
            event.ignore()
            return
        self._closed = True
        self.settings.setValue("window/geometry", self.saveGeometry())
        self.close_project()
        self.opener.close()
        self.desk.close()
        self.exchange.close()
        super().closeEvent(event)
