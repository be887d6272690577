"""What every test shares: an offscreen Qt, settings of its own, few threads, the real data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

THREADS = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--headed", action="store_true", help="show the windows while testing")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--headed"):
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ.setdefault("QT_API", "pyside6")
    os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")
    # Child processes and libraries read these when they start.
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    """Keep torch to a few threads, without importing it into tests that do not need it."""
    torch = sys.modules.get("torch")
    # A torch whose import failed halfway stays in sys.modules without its functions.
    if torch is not None and getattr(torch, "get_num_threads", int)() > THREADS:
        torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _own_settings(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give every test settings, data and cache folders of its own, never the user's."""
    home = tmp_path_factory.mktemp("home")
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("APPDATA", str(home / "appdata"))
    monkeypatch.setenv("LOCALAPPDATA", str(home / "localappdata"))
    core = sys.modules.get("PySide6.QtCore")
    if core is not None:
        settings = core.QSettings
        for kind in (settings.Format.IniFormat, settings.Format.NativeFormat):
            for scope in (settings.Scope.UserScope, settings.Scope.SystemScope):
                settings.setPath(kind, scope, str(home / "config"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images, one subfolder per domain; skips where none is named."""
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    if not named:
        pytest.skip("INFOSAM_STUDIO_DATA is not set: no folder of real images")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"INFOSAM_STUDIO_DATA names {folder}, which is not a folder")
    return folder
