"""`doctor`: says what is wrong, and names the command that mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infosam_studio.commands import doctor


def run(extra_path: Path | None = None, **variables: str) -> dict[str, Any]:
    """The JSON report of the real command, with more packages on the path."""
    env = {**os.environ, **variables}
    if extra_path is not None:
        env["PYTHONPATH"] = str(extra_path)
    command = [sys.executable, "-m", "infosam_studio", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def add_distribution(folder: Path, name: str, module: str | None, code: str = "") -> None:
    """A package with metadata, as pip would leave it."""
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    if module is not None:
        (folder / module).mkdir()
        (folder / module / "__init__.py").write_text(code)


def test_every_dependency_is_listed_and_here() -> None:
    problems: list[doctor.Problem] = []
    rows = doctor.check_packages(None, problems)
    names = {row["name"].lower() for row in rows}
    assert {"torch", "pyside6-essentials", "peft", "opencv-python"} <= names
    assert all(row["installed"] for row in rows)
    assert problems == []


def test_what_is_optional_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[doctor.Problem] = []
    monkeypatch.setattr(doctor, "installed_version", lambda name: None)
    rows = doctor.check_optional(None, problems)
    assert rows[0]["installed"] is None
    assert rows[0]["command"].endswith(f"-m pip install {doctor.pinned('pydicom')}")
    assert problems == []


def test_broken_libraries_are_found_and_mended(tmp_path: Path) -> None:
    """A torchvision built for another torch, two OpenCVs, and a variable that misleads Qt."""
    reason = "operator torchvision::nms does not exist"
    add_distribution(tmp_path, "torchvision", "torchvision", f"raise RuntimeError({reason!r})\n")
    add_distribution(tmp_path, "opencv-python-headless", None)
    misleading = str(tmp_path / "cv2" / "qt" / "plugins")
    report = run(tmp_path, QT_QPA_PLATFORM_PLUGIN_PATH=misleading)
    assert not report["ok"]
    assert report["torch"]["version"]
    assert report["loading"]["opencv-python"] == "loads"
    assert {row["for"] for row in report["folders"]} == {"settings", "data", "cache"}
    assert reason in report["loading"]["torchvision"]
    mends = {row["problem"]: row["mend"] for row in report["problems"]}
    torchvision = next(text for text in mends if text.startswith("torchvision"))
    assert mends[torchvision].endswith("-m pip uninstall -y torchvision")
    opencv = next(text for text in mends if "opencv-python-headless" in text)
    assert "pip uninstall -y opencv-python opencv-python-headless &&" in mends[opencv]
    assert any(text.startswith("QT_QPA_PLATFORM_PLUGIN_PATH") for text in mends)
    assert not any(text.startswith("peft") for text in mends), "one cause, one problem"


def test_a_full_disk_and_a_missing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK_GIB", 1e9)
    problems: list[doctor.Problem] = []
    rows = doctor.check_folders(tmp_path / "not" / "yet", problems)
    assert rows[-1]["for"] == "project"
    assert all(row["writable"] for row in rows)
    assert any("not/yet" in Path(p.problem).as_posix() and "free some" in p.mend for p in problems)


def test_missing_files_come_back_from_where_they_came() -> None:
    in_tree = (Path(doctor.__file__).parents[2] / ".git").exists()
    assert ("git -C" if in_tree else "-m pip install") in doctor.reinstall()


def test_versions_come_from_the_constraints() -> None:
    tested = doctor.tested_versions()
    assert doctor.pinned("torch") == f"torch=={tested['torch']}"
    assert doctor.pinned("PySide6_Essentials").startswith("PySide6_Essentials==")
    assert doctor.pinned("unheard-of") == "unheard-of"


def test_a_child_that_fails_gives_its_reason() -> None:
    facts, reason = doctor.in_child("no_such_module_anywhere")
    assert facts is None
    assert "no_such_module_anywhere" in reason
