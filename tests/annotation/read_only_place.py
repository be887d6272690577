"""Use a project in a place where nothing can be written.

Usage: read_only_place.py FOLDER, which holds `images` and `images.infosam`, and a second such
pair `killed` whose writer was killed; in a mount namespace of its own. Prints one JSON object.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from infosam_studio.annotation.project import Project, ProjectReadOnly


def main(folder: Path) -> dict[str, object]:
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
    told: dict[str, object] = {}
    try:
        Project.open(folder / "images.infosam")
    except ProjectReadOnly as error:
        told["refused"] = str(error)
    for name in ("images", "killed"):
        with Project.open(folder / f"{name}.infosam", read_only=True) as project:
            told[name] = [len(project.images()), len(project.objects())]
            with project.snapshot() as snapshot:
                assert snapshot.objects() == project.objects()
            assert project.check(full=True) == []
    (elsewhere := folder / "new").exists()
    with Project.for_path(elsewhere) as project:
        project.scan()
        project.add_class("cell")
        told["elsewhere"] = [str(project.folder), len(project.images())]
    with Project.for_path(elsewhere) as project:
        told["again"] = [str(project.folder), len(project.images())]
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
