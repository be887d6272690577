"""Many calls into Qt do not use up Python's singletons."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import infosam_studio.ui
from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtGui import QGuiApplication, QPainterPath
class Sender(QObject):
    told = Signal(int)
application = QGuiApplication(["x"])
path, sender = QPainterPath(), Sender()
for number in range(200_000):
    path.moveTo(number, 1)
    sender.told.emit(number)
    sender == number
path.clear()
"""


def test_two_hundred_thousand_calls() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
