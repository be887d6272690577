"""Starting the window: application, theme, settings, error handling, garbage collection."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from types import TracebackType

from PySide6.QtCore import (
    QMessageLogContext,
    QObject,
    QSettings,
    Qt,
    QTimer,
    QtMsgType,
    Signal,
    Slot,
    qInstallMessageHandler,
)
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from infosam_studio import __version__
from infosam_studio.resource_files import resource_path
from infosam_studio.ui import theme
from infosam_studio.ui.garbage import collected_here
from infosam_studio.ui.main_window import MainWindow

log = logging.getLogger(__name__)

SWITCH_INTERVAL = 0.001
MEASURE_AFTER_MS = 5000


class Catcher(QObject):
    """Tells the window about errors nobody caught, from whichever thread they come."""

    caught = Signal(str)

    def install(self) -> None:
        """Become the hook for uncaught errors."""
        sys.excepthook = self._hook

    def _hook(
        self,
        kind: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        log.error("uncaught\n%s", "".join(traceback.format_exception(kind, error, trace)))
        # Delivered to the main thread by the queued connection.
        self.caught.emit(f"Something went wrong and was logged: {kind.__name__}: {error}")


class ErrorReporter(QObject):
    """Shows uncaught errors in the window that is open."""

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self._window = window

    @Slot(str)
    def show(self, text: str) -> None:
        """Tell the user, without a dialog."""
        if self._window.bench is not None:
            self._window.bench.toast.tell(text, kind="error")


def application() -> QApplication:
    """The running application, made where there is none."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    QApplication.setHighDpiScaleFactorRoundingPolicy(
        Qt.HighDpiScaleFactorRoundingPolicy.PassThrough
    )
    app = QApplication(sys.argv[:1])
    qInstallMessageHandler(_log_qt)
    app.setApplicationName("infosam-studio")
    app.setApplicationDisplayName("InfoSAM Studio")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("infosam-studio")
    app.setStyle("Fusion")
    icon = QIcon()
    for size in (16, 32, 64, 128, 256):
        icon.addFile(str(resource_path("icons", f"infosam-studio-{size}.png")))
    app.setWindowIcon(icon)
    return app


def _log_qt(kind: QtMsgType, _context: QMessageLogContext, text: str) -> None:
    """Qt's messages go to the log; the offscreen platform's remark on size hints says nothing."""
    if "propagateSizeHints" in text:
        return
    serious = kind in (QtMsgType.QtCriticalMsg, QtMsgType.QtFatalMsg)
    log.log(logging.ERROR if serious else logging.WARNING, "Qt: %s", text)


def settings() -> QSettings:
    """Window state, recent projects and keys; values of a project live in the project."""
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "infosam-studio", "window"
    )


def make_window() -> MainWindow:
    """The main window, with theme and error handling in place."""
    app = application()
    store = settings()
    theme.install(app, store)
    window = MainWindow(store)
    catcher = Catcher(window)
    reporter = ErrorReporter(window)
    catcher.caught.connect(reporter.show, Qt.ConnectionType.QueuedConnection)
    catcher.install()
    return window


def main(path: Path | None = None, *, tour: bool = False) -> int:
    """Open the window on a project, folder or image; returns the exit status."""
    if tour:
        from infosam_studio.ui.tour import run_tour

        return run_tour()
    sys.setswitchinterval(SWITCH_INTERVAL)
    app = application()
    with collected_here():
        return _run(app, path)


def _run(app: QApplication, path: Path | None) -> int:
    """The window from its opening to its end; nothing of it is held afterwards."""
    window = make_window()
    if path is not None:
        window.open_path(path)
    window.show()
    # Later, so that it takes nothing from the first image.
    QTimer.singleShot(MEASURE_AFTER_MS, window.desk.begin)
    return app.exec()
