"""What all imports share: conflicts, class mapping, one undo step, cancelling, previews."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from label_projects import MakeProject, add, disc, image_id, labels

from infosam_studio.annotation.project import Project
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.interchange import importing
from infosam_studio.interchange.importing import ImportOptions
from infosam_studio.interchange.registry import importer

WIDTH, HEIGHT = 12, 10
SQUARES = [[2, 2, 6, 2, 6, 6, 2, 6], [7, 7, 9, 7, 9, 9, 7, 9]]


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project({"a.png": (WIDTH, HEIGHT), "b.png": (WIDTH, HEIGHT)})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
            {"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
        ],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "junk"}],
        "annotations": [
            {"id": k, "image_id": i, "category_id": k % 2 + 1, "segmentation": [SQUARES[k % 2]]}
            for k, i in enumerate([1, 1, 2, 2])
        ],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))
    return path


def test_an_import_is_one_step_that_can_be_undone(
    project: Project, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 1)
    add(project, "a.png", disc(WIDTH, HEIGHT, 5, 5, 2))
    before = labels(project), project.classes(), project.images()
    importer("coco")(project, source)
    after = labels(project), project.classes(), project.images()
    assert [i.state for i in project.images()] == ["in_progress", "done"]
    assert [h.name for h in project.history()][-1] == "Import labels.json"
    project.undo()
    assert (labels(project), project.classes(), project.images()) == before
    project.redo()
    assert (labels(project), project.classes(), project.images()) == after


def test_the_same_labels_come_in_once(project: Project, source: Path) -> None:
    importer("coco")(project, source)
    again = importer("coco")(project, source)
    assert (again.objects, again.already_there) == (0, 4)
    assert len(project.objects()) == 4


@pytest.mark.parametrize(("conflict", "on_a"), [("add", 3), ("replace", 2), ("skip", 1)])
def test_images_with_objects(project: Project, source: Path, conflict: str, on_a: int) -> None:
    add(project, "a.png", disc(WIDTH, HEIGHT, 5, 5, 2))
    report = importer("coco")(project, source, options=ImportOptions(conflict=conflict))
    counts = project.object_counts()
    assert counts[image_id(project, "a.png")] == on_a
    assert counts[image_id(project, "b.png")] == 2
    assert report.replaced == (1 if conflict == "replace" else 0)
    assert report.skipped_images == (1 if conflict == "skip" else 0)


def test_classes_under_other_names_or_not_at_all(project: Project, source: Path) -> None:
    add(project, "a.png", disc(WIDTH, HEIGHT, 5, 5, 2), name="Zelle")
    names: dict[str, str | None] = {"cell": "Zelle", "junk": None}
    report = importer("coco")(project, source, options=ImportOptions(class_names=names))
    assert report.classes == {"Zelle": 2}
    assert [c.name for c in project.classes()] == ["Zelle"]


@pytest.mark.parametrize("stop_after", [0, 1, 3])
def test_a_cancelled_import_leaves_nothing(
    project: Project, source: Path, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 1)
    asked = iter(range(100))
    before = labels(project), project.classes(), project.history()
    with pytest.raises(Cancelled):
        importer("coco")(project, source, cancelled=lambda: next(asked) >= stop_after)
    assert (labels(project), project.classes(), project.history()) == before


def test_an_import_that_fails_halfway_leaves_nothing(
    project: Project, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "CHUNK", 1)
    monkeypatch.setattr(importing, "MAX_CLASSES", 1)
    with pytest.raises(StudioError, match="classes"):
        importer("coco")(project, source)
    assert not project.objects()
    assert not project.can_undo()


def test_a_preview_writes_nothing(project: Project, source: Path) -> None:
    add(project, "a.png", disc(WIDTH, HEIGHT, 5, 5, 2))
    found = importer("coco").preview(project, source)
    assert (found.images, found.objects, found.conflicts) == (2, 4, 1)
    assert found.classes == {"cell": 2, "junk": 2}
    assert len(project.objects()) == 1


def test_progress_rises_to_its_total(project: Project, source: Path) -> None:
    seen: list[tuple[int, int]] = []
    importer("coco")(project, source, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 0


def test_a_project_open_for_reading_takes_nothing_in(project: Project, source: Path) -> None:
    with (
        Project.open(project.folder, read_only=True) as reader,
        pytest.raises(StudioError, match="reading only"),
    ):
        importer("coco")(reader, source)


def test_what_is_not_there_says_so(project: Project, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="nothing at"):
        importer("coco")(project, tmp_path / "missing.json")
    with pytest.raises(StudioError, match="no format"):
        importer("svg")
