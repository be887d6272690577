"""Edit a project on a drive of one megabyte until it is full, then make room.

Usage: tiny_drive.py EMPTY_FOLDER, in a mount namespace of its own. Prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from annotation_helpers import make_object, write_images

from infosam_studio.annotation.project import DiskFull, Project


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def state(project: Project) -> tuple[object, ...]:
    return project.objects(), project.history(), project.draft()


def main(drive: Path) -> dict[str, object]:
    mount(drive, "size=1m")
    images = drive / "images"
    write_images(images, 4)
    project = Project.for_path(images)
    project.scan()
    project.add_class("cell")
    accepted, refusals, before = 0, [], state(project)
    while len(refusals) < 3:
        try:
            project.add_objects([make_object(1, 1, k) for k in range(20)])
            accepted += 1
            before = state(project)
        except DiskFull as error:
            refusals.append(str(error))
            assert state(project) == before
    project.close()
    with Project.open(images.with_name("images.infosam")) as project:
        assert state(project) == before
        assert project.check(full=True) == []
    subprocess.run(["mount", "-o", "remount,size=4m", str(drive)], check=True)
    with Project.open(images.with_name("images.infosam")) as project:
        assert state(project) == before
        project.add_objects([make_object(1, 1)])
        assert project.check(full=True) == []
    return {"accepted": accepted, "refusals": refusals}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
