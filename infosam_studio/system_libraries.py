"""The system libraries Qt needs on Linux: which are missing, and the line that installs them.

Standard library only: `packaging/bootstrap.py` uses it before anything is installed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterable, Sequence

# What PySide6's wheels expect of the system: library -> Debian package. Without the first
# group Qt cannot be imported at all; the second is needed only to open a window on X11.
QT_LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
X11_LIBRARIES = {
    "libX11-xcb.so.1": "libx11-xcb1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}
DEBIAN_PACKAGES = {**QT_LIBRARIES, **X11_LIBRARIES}


def missing_libraries(libraries: Iterable[str] = DEBIAN_PACKAGES) -> list[str]:
    """Return those which the dynamic linker cannot load (Linux only; empty elsewhere)."""
    if not sys.platform.startswith("linux"):
        return []
    missing = []
    for name in libraries:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def install_line(missing: Sequence[str]) -> str:
    """Return one line to copy that installs the missing libraries on this system."""
    if shutil.which("apt-get"):
        return "sudo apt-get install -y " + " ".join(DEBIAN_PACKAGES[name] for name in missing)
    if shutil.which("dnf"):
        return "sudo dnf install -y " + " ".join(f"'{name}()(64bit)'" for name in missing)
    return "install with your package manager: " + " ".join(missing)


def has_display() -> bool:
    """Whether a window could be shown: on Linux, whether X11 or Wayland is named."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
