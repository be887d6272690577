"""Kill a process while it makes, fills or migrates a project, and open what is left.

Usage: kill_beginnings.py EMPTY_FOLDER ROUNDS SEED. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from annotation_helpers import write_images

from infosam_studio.annotation.project import Project

LONGEST_SECONDS = 0.06
IMAGES = 30


def killed(work: Callable[[], object], seconds: float) -> bool:
    """Run ``work`` in a fork that is killed after a while; whether it was still at it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writing, b"x")
        finally:
            os._exit(0)
    os.close(writing)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return stream.read() == ""


def make(images: Path) -> None:
    with Project.for_path(images) as project:
        project.scan()


def main(folder: Path, rounds: int, seed: int) -> dict[str, int]:
    chance = random.Random(seed)
    write_images(folder / "images", IMAGES)
    place = folder / "images.infosam"
    old = folder / "old.db"
    db = sqlite3.connect(old)
    db.executescript(Path(__file__).with_name("schema1.sql").read_text("utf-8"))
    db.close()
    told = {"making": 0, "migrating": 0}
    for _ in range(rounds):
        told["making"] += killed(lambda: make(folder / "images"), chance.random() * LONGEST_SECONDS)
        with Project.for_path(folder / "images") as project:
            assert project.check(full=True) == []
            project.scan()
            assert len(project.images()) == IMAGES
        shutil.rmtree(place)
        place.mkdir()
        shutil.copy(old, place / "project.db")
        told["migrating"] += killed(
            lambda: Project.open(place).close(), chance.random() * LONGEST_SECONDS / 2
        )
        with Project.open(place) as project:
            assert project.check(full=True) == []
            assert len(project.objects()) == 1
            assert len(project.history()) == 3
        shutil.rmtree(place)
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
