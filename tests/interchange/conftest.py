"""Projects that are closed at the end of each test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from label_projects import MakeProject, add, disc, write_images

from infosam_studio.annotation.project import Project


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[MakeProject]:
    """`make(sizes, name="p")`: an open project of pictures; closed at the end of the test."""
    opened: list[Project] = []

    def make(sizes: Mapping[str, tuple[int, int]], name: str = "p") -> Project:
        folder = tmp_path / f"{name}-images"
        write_images(folder, sizes)
        project = Project.create(tmp_path / f"{name}.infosam", folder)
        project.scan()
        opened.append(project)
        return project

    yield make
    for project in opened:
        project.close()


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    """Two pictures with a disc each."""
    project = make_project({"a.png": (12, 10), "b.png": (12, 10)})
    for path in ("a.png", "b.png"):
        add(project, path, disc(12, 10, 5, 5, 3))
    return project
