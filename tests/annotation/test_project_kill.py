"""Killing the process at any instant loses nothing accepted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infosam_studio.annotation.project import Project

ROUNDS = 60


@pytest.mark.skipif(sys.platform == "win32", reason="forks its children")
@pytest.mark.parametrize("seed", [1])
def test_every_reported_edit_survives_kill_9(images: Path, run_script: Callable, seed: int) -> None:
    with Project.for_path(images) as project:
        project.scan()
        project.add_class("cell")
        folder = project.folder
    done = run_script("kill_rounds.py", folder, ROUNDS, seed)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    assert told["rounds"] == ROUNDS
    assert told["edits"] > ROUNDS


@pytest.mark.skipif(sys.platform == "win32", reason="forks its children")
def test_a_project_killed_while_it_is_made_or_migrated_opens(
    tmp_path: Path, run_script: Callable
) -> None:
    done = run_script("kill_beginnings.py", tmp_path, 12, 1)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(told)
    assert told["making"] > 0
