"""What the tests of the labels share: projects on small images, and child processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from annotation_helpers import write_images
from hypothesis import settings

from infosam_studio.annotation.project import Project

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

HERE = Path(__file__).parent


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with four images."""
    folder = tmp_path / "images"
    write_images(folder, 4)
    return folder


@pytest.fixture
def project(images: Path) -> Iterator[Project]:
    """An open project with four images and one class."""
    with Project.for_path(images) as opened:
        opened.scan()
        opened.add_class("cell")
        yield opened


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_script() -> Run:
    """Run a script of this folder in a process of its own.

    With ``namespace`` it may mount things that only it sees; the test is skipped where the
    system does not allow that.
    """

    def run(
        name: str, *arguments: object, namespace: bool = False
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HERE / name), *map(str, arguments)]
        if namespace:
            unshare = ["unshare", "--map-root-user", "--mount"]
            try:
                subprocess.run([*unshare, "true"], check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no mount namespace of our own here: {error}")
            command = unshare + command
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)

    return run
