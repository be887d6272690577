"""The walk with a real X server, window manager and pointer: 13 objects in every way there is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

NEEDED = ("Xvfb", "openbox", "xdotool", "import")
MISSING = [name for name in NEEDED if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@pytest.fixture
def display() -> Iterator[str]:
    """An X server of its own with a window manager, its display's name."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "2560x1440x24"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        name = ":" + pipe.readline().strip()
    manager = subprocess.Popen(
        ["openbox"], env=os.environ | {"DISPLAY": name}, stderr=subprocess.DEVNULL
    )
    yield name
    for process in (manager, server):
        process.terminate()
        process.wait(timeout=20)


def test_ten_nuclei_and_three_lesions(display: str, data_dir: Path, tmp_path: Path) -> None:
    env = os.environ | {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
    root = Path(__file__).resolve().parents[2]
    env["PYTHONPATH"] = str(root)
    env["INFOSAM_STUDIO_DATA"] = str(data_dir)
    script = Path(__file__).with_name("walk.py")
    done = subprocess.run(
        [sys.executable, str(script), "--out", str(tmp_path / "walk")],
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "walk" / "walk.json").read_text(encoding="utf-8"))
    made = [one for one in report if one["how"] != "corrected by brush"]
    assert len(made) == 13
    for how, least in (("box", 0.6), ("brush", 0.85)):
        assert np.mean([one["iou"] for one in made if one["how"] == how]) > least
    before, corrected = report[-2], report[-1]
    assert corrected["iou"] > before["iou"]
    assert corrected["clicks"] > before["clicks"]
