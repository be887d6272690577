"""Files of gigabytes, images that are gone, many objects: nothing is held in memory or lost."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from label_projects import MakeProject, add, disc, labels
from PIL import Image

from infosam_studio.errors import StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.guessing import guess_format
from infosam_studio.interchange.registry import IMPORTERS, exporter, importer

ENDINGS = {"coco": "json", "labelme": "json", "isat": "json", "geojson": "geojson", "yolo": "txt",
           "png": "png", "tiff": "tif"}  # fmt: skip


@pytest.mark.parametrize("format", ENDINGS)
def test_a_file_of_two_gigabytes_is_refused_quickly(
    make_project: MakeProject, tmp_path: Path, format: str
) -> None:
    project = make_project({"a.jpg": (12, 10)})
    path = tmp_path / "labels" / f"a.{ENDINGS[format]}"
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate(2 << 30)
    tracemalloc.start()
    try:
        report = importer(format)(project, path)
        told = [p.item for p in report.problems.items]
    except StudioError as error:
        told = [str(error)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(told) == 1
    assert path.name in told[0]
    assert not project.objects()
    assert peak < 64 << 20


def test_a_large_coco_file_is_read_in_little_memory(
    make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project({"a.jpg": (12, 10)})
    entry = {"image_id": 1, "category_id": 1, "segmentation": [[2, 2, 6, 2, 6, 6]], "x": "y" * 5000}
    path = tmp_path / "c.json"
    with path.open("w") as file:
        file.write('{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [')
        for number in range(6000):
            file.write(json.dumps({"id": number, **entry}) + ",\n")
        file.write('{}], "categories": [{"id": 1, "name": "cell"}]}')
    assert path.stat().st_size > 28 << 20
    tracemalloc.start()
    seen = importer("coco").preview(project, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.objects == 6000
    assert peak < 20 << 20


def test_images_that_are_gone_keep_their_labels(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.jpg": (12, 10), "b.jpg": (12, 10)})
    for path in ("a.jpg", "b.jpg"):
        add(project, path, disc(12, 10, 5, 5, 3))
    (project.images_root / "b.jpg").unlink()
    project.scan()
    for format in ("yolo", "voc", "labelme"):
        options = ExportOptions(copy_images=True)
        report = exporter(format)(project, tmp_path / format, options=options)
        assert (report.objects, report.different, report.problems.count) == (2, 0, 1)
        assert report.problems.items[0].item == "b.jpg"


def test_a_voc_map_holds_254_objects(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.jpg": (20, 20)})
    dots = [np.zeros((20, 20), bool) for _ in range(260)]
    for number, dot in enumerate(dots):
        dot[number // 20, number % 20] = True
    add(project, "a.jpg", *dots)
    report = exporter("voc")(project, tmp_path / "v")
    assert (report.objects, report.different, report.problems.count) == (254, 0, 6)


@pytest.mark.parametrize(("format", "back"), [("png", "png"), ("tiff", "tiff")])
def test_thousands_of_single_pixels_are_no_photograph(
    make_project: MakeProject, tmp_path: Path, format: str, back: str
) -> None:
    sizes = {"a.jpg": (90, 90)}
    one, two = make_project(sizes, "one"), make_project(sizes, "two")
    dots = [np.zeros((90, 90), bool) for _ in range(300)]
    for number, dot in enumerate(dots):
        dot.ravel()[number::300] = True
    add(one, "a.jpg", *dots)
    assert exporter(format)(one, tmp_path / "m").summary == "300 objects on 1 image, 0 different."
    importer(back)(two, tmp_path / "m")
    assert labels(two) == labels(one)


@pytest.mark.parametrize("format", IMPORTERS)
def test_an_image_that_cannot_be_read_takes_no_labels(
    make_project: MakeProject, tmp_path: Path, format: str
) -> None:
    good = make_project({"a.jpg": (12, 10), "b.jpg": (12, 10)}, "good")
    for path in ("a.jpg", "b.jpg"):
        add(good, path, disc(12, 10, 5, 5, 3))
    source = tmp_path / ("c.json" if format == "coco" else "labels")
    if format == "isat":
        source.mkdir()
        for name in ("a", "b"):
            info = {"description": "ISAT", "name": f"{name}.jpg", "width": 12, "height": 10}
            part = {"category": "cell", "segmentation": [[1, 1], [5, 1], [5, 5]]}
            (source / f"{name}.json").write_text(json.dumps({"info": info, "objects": [part]}))
    else:
        exporter(format)(good, source)
    project = make_project({"a.jpg": (12, 10)}, "other")
    (project.images_root / "b.jpg").write_bytes(b"no image")
    project.scan()
    report = importer(format)(project, source)
    assert (report.objects, report.problems.count) == (1, 1)


@pytest.mark.parametrize("name", ["data.yaml", "classes.txt", "labelmap.txt"])
def test_a_list_of_classes_of_two_gigabytes_is_not_read_whole(
    make_project: MakeProject, tmp_path: Path, name: str
) -> None:
    project = make_project({"a.jpg": (12, 10)})
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "a.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n")
    Image.fromarray(np.ones((10, 12), np.uint8)).save(tmp_path / "l" / "a.png")
    with (tmp_path / "l" / name).open("wb") as file:
        file.truncate(2 << 30)
    tracemalloc.start()
    report = importer("png" if name == "labelmap.txt" else "yolo")(project, tmp_path / "l")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.objects == 1
    assert peak < 64 << 20


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes among the files")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("format", ["labelme", "isat", "yolo", "png", "tiff", "geojson", "coco"])
def test_pipes_and_links_in_a_circle_are_not_read(
    make_project: MakeProject, tmp_path: Path, format: str
) -> None:
    project = make_project({"a.jpg": (12, 10)})
    (tmp_path / "l").mkdir()
    pipe = tmp_path / "l" / f"a.{ENDINGS[format]}"
    os.mkfifo(pipe)
    circle = tmp_path / "l" / f"b.{ENDINGS[format]}"
    circle.symlink_to(circle)
    with pytest.raises(StudioError):
        importer(format)(project, pipe)
    with pytest.raises(StudioError):
        importer(format)(project, circle)
    with pytest.raises(StudioError):
        importer(format)(project, tmp_path / "l")
    assert guess_format(pipe) is None
    assert guess_format(tmp_path / "l") is None
