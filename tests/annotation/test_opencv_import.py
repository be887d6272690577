"""OpenCV must leave Qt's variables alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = (
    "import os; from infosam_studio.annotation._cv2 import cv2; "
    "print(os.environ.get('QT_QPA_PLATFORM_PLUGIN_PATH'), os.environ.get('QT_QPA_FONTDIR'))"
)


@pytest.mark.parametrize("value", [None, "/usr/share/of/the/user"])
def test_qt_variables_are_as_before(value: str | None) -> None:
    names = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    if value is not None:
        environment |= dict.fromkeys(names, value)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [str(value)] * 2
