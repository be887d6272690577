"""The window. PySide6 is chosen here, before qtawesome or pyqtgraph may pick another binding."""

from __future__ import annotations

import os

os.environ["QT_API"] = "pyside6"
os.environ["PYQTGRAPH_QT_LIB"] = "PySide6"

import PySide6.QtCore  # noqa: F401  (must be imported before any library that guesses)
