"""Adding images, and finding them again."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from annotation_helpers import HEIGHT, WIDTH, make_object, write_images
from PIL import Image

from infosam_studio.annotation.images import ImageError, content_hash
from infosam_studio.annotation.project import Project, ScanReport


def paths(project: Project) -> list[str]:
    return [image.path for image in project.images()]


def test_images_are_added_with_size_and_hash(project: Project, images: Path) -> None:
    first = project.images()[0]

    assert paths(project) == ["0.png", "1.png", "2.png", "3.png"]
    assert (first.width, first.height, first.page) == (WIDTH, HEIGHT, 0)
    assert (first.state, first.split, first.problem, first.view) == ("untouched", None, None, "")
    assert first.sha256 == content_hash(images / "0.png")
    assert project.image_path(first) == images / "0.png"
    assert project.read_view(first).shape == (HEIGHT, WIDTH, 3)
    assert not project.scan().added


def test_images_come_in_natural_order(project: Project, images: Path) -> None:
    write_images(images, 2, first=9)
    write_images(images / "b2", 1, first=20)
    write_images(images / "b10", 1, first=21)
    project.scan()

    assert paths(project)[3:] == ["3.png", "9.png", "10.png", "b2/20.png", "b10/21.png"]


def test_the_records_of_all_given_files_come_back_in_their_order(project: Project) -> None:
    extra = write_images(project.images_root / "more", 2, first=30)
    told: list[tuple[int, int]] = []
    given = [extra[1], project.images_root / "2.png", extra[0]]
    records = project.add_images(given, lambda done, total: told.append((done, total)))

    assert [r.path for r in records] == ["more/31.png", "2.png", "more/30.png"]
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(project.images()) == 6


def test_adding_can_be_stopped_and_keeps_what_it_has(project: Project) -> None:
    extra = write_images(project.images_root / "more", 10, first=30)
    done: list[int] = []
    records = project.add_images(
        extra, lambda n, _: done.append(n), cancelled=lambda: len(done) >= 4
    )

    assert len(records) == 4
    assert len(project.images()) == 8
    assert len(project.add_images(extra)) == 10


def test_files_elsewhere_are_kept_by_relative_path(project: Project, tmp_path: Path) -> None:
    (path,) = write_images(tmp_path / "elsewhere", 1, first=50)
    (record,) = project.add_images([path])

    assert record.path == "../elsewhere/50.png"
    assert project.read_view(record).shape == (HEIGHT, WIDTH, 3)
    assert project.scan().missing == []


def test_pages_are_images(project: Project) -> None:
    pages = np.random.default_rng(1).integers(0, 4000, (3, 20, 30), np.uint16)
    tifffile.imwrite(project.images_root / "stack.tif", pages, photometric="minisblack")
    with tifffile.TiffWriter(project.images_root / "two.tif") as writer:
        writer.write(pages[0], metadata=None)
        writer.write(pages[1, :10], metadata=None)
    project.scan()
    stack = [image for image in project.images() if image.path == "stack.tif"]
    two = [image for image in project.images() if image.path == "two.tif"]

    assert [(i.page, i.width, i.height) for i in stack] == [(0, 30, 20), (1, 30, 20), (2, 30, 20)]
    assert [(i.page, i.width, i.height) for i in two] == [(0, 30, 20), (1, 30, 10)]
    views = [project.read_view(image) for image in stack]
    assert not np.array_equal(views[0], views[1])
    project.update_image(stack[1].id, view='{"channels":[0],"window":[0,4000]}')
    view = project.read_view(project.image(stack[1].id))
    assert np.abs(view[..., 0] - pages[1] / 4000 * 255).max() <= 0.5001


def test_moved_files_keep_their_labels(project: Project, images: Path) -> None:
    project.add_objects([make_object(2, 1)])
    (images / "1.png").rename(images / "renamed.png")
    (images / "sub").mkdir()
    (images / "2.png").rename(images / "sub" / "2.png")
    report = project.scan()

    assert sorted(report.moved) == [("1.png", "renamed.png"), ("2.png", "sub/2.png")]
    assert (report.added, report.missing, report.replaced) == ([], [], [])
    assert project.image(2).path == "renamed.png"
    assert project.image(3).path == "sub/2.png"
    assert project.undo()


def test_missing_files_are_said_and_found_again(project: Project, images: Path) -> None:
    aside = images.with_name("aside.png")
    (images / "1.png").rename(aside)
    assert project.scan().missing == ["1.png"]
    assert project.image(2).problem == "the file is missing"
    assert project.scan().missing == []
    aside.rename(images / "1.png")
    assert project.scan().found_again == ["1.png"]
    assert project.image(2).problem is None


def test_replaced_files_are_noticed(project: Project, images: Path) -> None:
    project.add_objects([make_object(1, 1), make_object(2, 1)])
    before = project.image(1).sha256
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(images / "0.png")
    Image.fromarray(pixels[:5]).save(images / "1.png")
    Image.fromarray(pixels[:7]).save(images / "2.png")
    (images / "3.png").write_bytes(b"")
    report = project.scan()

    assert report.replaced == ["0.png", "1.png", "2.png", "3.png"]
    assert project.image(1).sha256 != before
    assert project.image(1).problem is None
    # Labels of another size are kept and the reason is told; without labels the size is new.
    assert "do not fit" in str(project.image(2).problem)
    assert project.image(2).height == HEIGHT
    assert (project.image(3).height, project.image(3).problem) == (7, None)
    assert project.image(4).problem == "the file is empty"
    assert project.scan().replaced == []


def test_touched_but_equal_files_are_not_replaced(project: Project, images: Path) -> None:
    os.utime(images / "0.png", (1, 1))

    assert project.scan() == project.scan()


def test_a_problem_found_on_decoding_is_kept(project: Project) -> None:
    project.set_problem(1, "the file is damaged")
    assert project.image(1).problem == "the file is damaged"
    assert len(project.history()) == 1


def test_project_and_images_can_be_moved(project: Project, tmp_path: Path) -> None:
    project.close()
    place = tmp_path / "another place"
    place.mkdir()
    shutil.move(project.images_root, place)
    shutil.move(project.folder, place)
    with Project.open(place / "images.infosam") as moved:
        assert moved.images_root == place / "images"
        assert moved.scan().missing == []
    # The project alone: the images are where they were.
    shutil.move(place / "images.infosam", tmp_path / "p.infosam")
    with Project.open(tmp_path / "p.infosam") as alone:
        assert alone.images_root == place / "images"
        shutil.move(place / "images", tmp_path / "new name")
        # A drive that is not there does not make every image a missing one.
        with pytest.raises(ImageError, match="choose the folder"):
            alone.scan()
        alone.set_images_root(tmp_path / "new name")
        assert alone.scan() == ScanReport()
    with Project.open(tmp_path / "p.infosam") as again:
        assert again.images_root == tmp_path / "new name"


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux only")
def test_a_name_that_is_no_text_is_listed_with_its_reason(project: Project, images: Path) -> None:
    shutil.copy(images / "0.png", os.path.join(os.fsencode(images), b"caf\xe9.png"))
    report = project.scan()

    assert len(report.added) == 1
    (bad,) = [image for image in project.images() if image.problem]
    assert "rename" in str(bad.problem)
    assert "caf" in bad.path
    assert not project.scan().added


def test_many_images_are_added_and_listed_quickly(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (one,) = write_images(images, 1)
    for number in range(1, 1500):
        os.link(one, images / f"{number}.png")
    started = time.process_time()
    with Project.for_path(images) as project:
        assert len(project.scan().added) == 1500
        added = time.process_time()
        assert len(project.images()) == 1500
        assert project.object_counts() == {}
        assert not project.scan().added
    # Ten times as many are to be bearable on one slow core.
    assert added - started < 10
    assert time.process_time() - added < 2
