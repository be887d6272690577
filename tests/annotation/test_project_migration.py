"""Projects of older formats are brought to the newest, and nothing of them is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from annotation_helpers import write_images

from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ClassRecord, ImageRecord, ObjectRecord, Prompts
from infosam_studio.annotation.project import Project
from infosam_studio.annotation.schema import APPLICATION_ID, SCHEMA_VERSION

SCRIPT = Path(__file__).with_name("schema1.sql").read_text("utf-8")

IMAGE = ImageRecord(1, "0.png", "ab", 4, 2, state="in_progress", fully_labelled=True, split="val")
OBJECT = ObjectRecord(
    1, 1, 1, Rle(2, 4, "323"), Prompts(points=((1.0, 1.0, 1),)), clicks=1, seconds=2.5, z=1
)


def layout(path: Path) -> tuple[object, ...]:
    """Tables with their columns and indexes, and the numbers in the header."""
    db = sqlite3.connect(path)
    tables = {}
    for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        # Columns by name: those that were added later stand at the end.
        columns = {row[1]: row[2:] for row in db.execute(f"PRAGMA table_info({name})")}
        indexes = sorted(
            str([column[2] for column in db.execute(f"PRAGMA index_info({row[1]})")])
            for row in db.execute(f"PRAGMA index_list({name})")
        )
        keys = sorted(row[2:] for row in db.execute(f"PRAGMA foreign_key_list({name})"))
        tables[name] = columns, indexes, keys
    numbers = [
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id")
    ]
    db.close()
    return tables, numbers


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The folder of a project in format 1."""
    folder = tmp_path / "images.infosam"
    folder.mkdir()
    (tmp_path / "images").mkdir()
    db = sqlite3.connect(folder / "project.db")
    db.executescript(SCRIPT)
    db.close()
    return folder


def check_contents(project: Project) -> None:
    assert project.images() == [IMAGE]
    assert project.classes() == [ClassRecord(1, "cell", "#e69f00", "")]
    assert project.objects() == [OBJECT]
    assert [entry.undone for entry in project.history()] == [False, False, True]
    assert project.images_root == project.folder.with_name("images")
    assert project.draft() is None
    assert project.check(full=True) == []


def test_the_script_is_of_this_app() -> None:
    assert f"application_id = {APPLICATION_ID};" in SCRIPT


def test_an_old_project_becomes_a_new_one(old: Path) -> None:
    before = (old / "project.db").read_bytes()
    with Project.open(old) as project:
        check_contents(project)
        # The history of the old format can be undone and made again in the new one.
        for _ in range(2):
            project.undo()
        assert project.objects() == []
        assert project.classes() == []
        assert project.images()[0].state == "in_progress"
        project.go_to(3)
        assert project.objects() == [OBJECT]
        assert project.images()[0].state == "done"
        project.save_draft(1, {"points": []})
        project.update_object(1, extra={"from": "elsewhere"})

    with Project.open(old) as project:
        assert project.objects()[0].extra == {"from": "elsewhere"}
    kept = sqlite3.connect(old / "project-format1.db")
    assert kept.execute("PRAGMA user_version").fetchone()[0] == 1
    assert kept.execute("SELECT COUNT(*) FROM objects").fetchone()[0] == 1
    kept.close()
    assert before


def test_a_migrated_project_is_laid_out_like_a_new_one(old: Path, tmp_path: Path) -> None:
    Project.open(old).close()
    Project.create(tmp_path / "new.infosam", tmp_path / "images").close()

    migrated = layout(old / "project.db")
    assert migrated == layout(tmp_path / "new.infosam" / "project.db")
    assert migrated[1] == [SCHEMA_VERSION, APPLICATION_ID]


def test_reading_an_old_project_leaves_it_alone(old: Path) -> None:
    before = (old / "project.db").read_bytes()
    with Project.open(old, read_only=True) as project:
        check_contents(project)
        with project.snapshot() as snapshot:
            check_contents(snapshot)

    assert (old / "project.db").read_bytes() == before
    assert {p.name for p in old.iterdir()} == {"project.db"}


def test_a_migration_that_fails_changes_nothing(old: Path) -> None:
    db = sqlite3.connect(old / "project.db")
    db.execute("CREATE TABLE draft (something INTEGER)")
    db.commit()
    db.close()
    before = layout(old / "project.db")
    with pytest.raises(sqlite3.OperationalError, match="draft"):
        Project.open(old)

    assert layout(old / "project.db") == before


def test_after_the_migration_images_are_found_by_content(old: Path) -> None:
    write_images(old.with_name("images"), 1)
    with Project.open(old) as project:
        report = project.scan()
        assert report.replaced == ["0.png"]
        image = project.images()[0]
        assert len(image.sha256) == 64
        assert "do not fit" in str(image.problem)
        assert (image.width, image.height) == (4, 2)
        assert project.objects() == [OBJECT]
