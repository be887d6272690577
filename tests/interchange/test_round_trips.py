"""Out and in again, for every format: the very same pixels, classes and images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from label_projects import Bitmap, MakeProject, add, bitmaps, disc, labels, write_images

from infosam_studio.annotation.project import Project
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.registry import exporter, importer

WIDTH, HEIGHT = 11, 9
SIZES = {"a.png": (WIDTH, HEIGHT), "sub/b.png": (7, 13), "sub/a.png": (5, 5)}
# Export format -> the format that reads it back.
EXACT = {
    "coco": "coco",
    "png-binary": "png",
    "yolo": "yolo",
    "labelme": "labelme",
    "geojson": "geojson",
}
ONE_OWNER = {"png": "png", "voc": "voc", "tiff": "tiff"}
BITMAPS = st.lists(hnp.arrays(bool, (HEIGHT, WIDTH)), min_size=1, max_size=3).filter(
    lambda found: any(b.any() for b in found)
)


Pair = tuple[Project, Project, Path]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A project, a second one of the same images, and a place for the export."""
    folder = tmp_path_factory.mktemp("pair")
    write_images(folder / "images", SIZES)
    with (
        Project.create(folder / "one", folder / "images") as one,
        Project.create(folder / "two", folder / "images") as two,
    ):
        one.scan()
        two.scan()
        yield one, two, folder / "out"


def emptied(pair: Pair) -> Pair:
    """The pair without the labels of the example before."""
    one, two, out = pair
    for project in (one, two):
        project.delete_objects([o.id for o in project.objects()])
    shutil.rmtree(out, ignore_errors=True)
    out.unlink(missing_ok=True)
    return pair


def there_and_back(
    one: Project, two: Project, out: Path, format: str, options: ExportOptions
) -> None:
    report = exporter(format)(one, out, options=options)
    assert report.different == 0
    assert report.checked == report.objects
    back = importer({**EXACT, **ONE_OWNER}[format])(two, out)
    assert [p.reason for p in back.problems.items] == []
    assert back.objects == report.objects - report.hidden


@pytest.mark.parametrize("format", EXACT)
@given(found=BITMAPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_masks_come_back_exactly(pair: Pair, format: str, found: list[Bitmap]) -> None:
    """Holes, parts, overlaps, single pixels, full images; in the order in which they lie."""
    one, two, out = emptied(pair)
    wanted = [b for b in found if b.any()]
    add(one, "a.png", *wanted[:2], name="cell (big)")
    add(one, "a.png", *wanted[2:], name="Kern, groß")
    there_and_back(one, two, out, format, ExportOptions())
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", ["coco", "labelme"])
@pytest.mark.parametrize("geometry", ["rle", "polygon"])
@given(found=hnp.arrays(bool, (HEIGHT, WIDTH)))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_mask_comes_back_in_the_geometry_asked_for(
    pair: Pair, format: str, geometry: str, found: Bitmap
) -> None:
    one, two, out = emptied(pair)
    found[0, 0] = True
    add(one, "a.png", found)
    there_and_back(one, two, out, format, ExportOptions(geometry=geometry))
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", ONE_OWNER)
@given(found=BITMAPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_maps_hold_what_is_visible(pair: Pair, format: str, found: list[Bitmap]) -> None:
    one, two, out = emptied(pair)
    wanted = [b for b in found if b.any()]
    add(one, "a.png", *wanted)
    there_and_back(one, two, out, format, ExportOptions(priority="top"))
    covered = np.zeros((HEIGHT, WIDTH), bool)
    expected = []
    for bitmap in reversed(wanted):
        if (bitmap & ~covered).any():
            expected.append(bitmap & ~covered)
        covered |= bitmap
    got = bitmaps(two, "a.png")
    assert len(got) == len(expected)
    for bitmap in expected:
        assert any(np.array_equal(bitmap, other) for other in got)


@pytest.mark.parametrize("format", [*EXACT, *ONE_OWNER])
def test_images_of_one_name_keep_their_own_labels(pair: Pair, format: str) -> None:
    one, two, out = emptied(pair)
    add(one, "a.png", disc(WIDTH, HEIGHT, 4, 4, 2))
    add(one, "sub/a.png", disc(5, 5, 2, 2, 2), name="nucleus")
    add(one, "sub/b.png", disc(7, 13, 3, 6, 3))
    there_and_back(one, two, out, format, ExportOptions())
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", [*EXACT, *ONE_OWNER])
def test_images_that_share_a_stem_do_not_overwrite_each_other(
    make_project: MakeProject, tmp_path: Path, format: str
) -> None:
    sizes = {"a.png": (6, 6), "a.bmp": (6, 6), "A.tif": (6, 6)}
    one, two = make_project(sizes, "one"), make_project(sizes, "two")
    for number, path in enumerate(sizes):
        add(one, path, disc(6, 6, 1 + number, 2, 1))
    there_and_back(one, two, tmp_path / "out", format, ExportOptions())
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", [*EXACT, *ONE_OWNER])
def test_an_export_without_objects_is_an_export(
    make_project: MakeProject, tmp_path: Path, format: str
) -> None:
    project = make_project({"a.png": (6, 6)})
    project.update_image(project.images()[0].id, state="empty")
    report = exporter(format)(project, tmp_path / "out")
    assert (report.images, report.objects, report.different) == (1, 0, 0)


@pytest.mark.parametrize("format", [*EXACT, "png", "tiff", "voc"])
def test_names_of_any_script_survive(
    make_project: MakeProject, tmp_path: Path, format: str
) -> None:
    sizes = {"Bäume 百.png": (6, 6), "Ordner/Ωμέγα #1 100%.png": (6, 6)}
    one, two = make_project(sizes, "one"), make_project(sizes, "two")
    for path in sizes:
        add(one, path, disc(6, 6, 2, 2, 1), name="細胞 “a”")
    there_and_back(one, two, tmp_path / "out", format, ExportOptions())
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", [*EXACT, *ONE_OWNER])
@pytest.mark.parametrize(
    "name", ["train", "classes", "val", "labelmap", "classes.json", "a_p0003", "1f2e3d4c-a", "x."]
)
def test_images_may_be_called_like_files_of_the_format(
    make_project: MakeProject, tmp_path: Path, format: str, name: str
) -> None:
    sizes = {f"{name}.png": (12, 10), "other.png": (12, 10)}
    one, two = make_project(sizes, "one"), make_project(sizes, "two")
    for number, path in enumerate(sizes):
        add(one, path, disc(12, 10, 5 + number, 5, 3))
    there_and_back(one, two, tmp_path / "out", format, ExportOptions())
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", [*EXACT, *ONE_OWNER])
@pytest.mark.parametrize("folder", ["train", "labels", "images", "train/images"])
def test_folders_may_be_called_like_those_of_the_format(
    make_project: MakeProject, tmp_path: Path, format: str, folder: str
) -> None:
    sizes = {f"{folder}/a.png": (12, 10), "a.png": (12, 10), f"{folder}/sub/a.png": (12, 10)}
    one, two = make_project(sizes, "one"), make_project(sizes, "two")
    for number, path in enumerate(sizes):
        add(one, path, disc(12, 10, 5 + number, 5, 3))
    there_and_back(one, two, tmp_path / "out", format, ExportOptions())
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", ["labelme", "yolo", "voc"])
def test_copies_of_images_do_not_overwrite_each_other(tmp_path: Path, format: str) -> None:
    """`x/a.png` beside the images' folder, and `x/a.png` within it."""
    write_images(tmp_path, {"images/x/a.png": (12, 10), "x/a.png": (12, 10)})
    with Project.create(tmp_path / "p", tmp_path / "images") as project:
        project.scan()
        project.add_images([tmp_path / "x" / "a.png"])
        for image in project.images():
            add(project, image.path, disc(12, 10, 5, 5, 3))
        options = ExportOptions(copy_images=True)
        report = exporter(format)(project, tmp_path / "out", options=options)
        assert (report.objects, report.different, report.problems.count) == (2, 0, 0)
        originals = {project.image_path(i).read_bytes() for i in project.images()}
    copies = [p for p in (tmp_path / "out").rglob("a*.png") if "Segmentation" not in p.as_posix()]
    assert {p.read_bytes() for p in copies} == originals
    for path in (tmp_path / "out").rglob("*.json"):
        assert path.with_name(json.loads(path.read_text())["imagePath"]) in copies
