"""PNG in every meaning: instances, classes, palettes, colours, binary masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from label_projects import MakeProject, add, bitmaps, disc, labels
from PIL import Image

from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.importing import ImportOptions
from infosam_studio.interchange.label_maps import voc_color
from infosam_studio.interchange.registry import exporter, importer
from infosam_studio.interchange.reports import ImportReport

WIDTH, HEIGHT = 12, 10


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project({"a.jpg": (WIDTH, HEIGHT), "b.jpg": (WIDTH, HEIGHT)})


def save(folder: Path, name: str, pixels: np.ndarray, palette: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([v for k in range(256) for v in voc_color(k)])
    image.save(folder / name)


def read(project: Project, folder: Path, **options: object) -> ImportReport:
    return importer("png")(project, folder, options=ImportOptions(**options))  # type: ignore[arg-type]


def index_map(dtype: type = np.uint8) -> np.ndarray:
    values = np.zeros((HEIGHT, WIDTH), dtype)
    values[1:4, 1:4] = 1
    values[1:4, 6:9] = 2
    values[6:9, 1:4] = 2
    return values


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_index_maps(project: Project, tmp_path: Path, dtype: type) -> None:
    save(tmp_path / "m", "a.png", index_map(dtype))
    report = read(project, tmp_path / "m")
    assert report.classes == {"object": 2}
    assert np.array_equal(bitmaps(project, "a.jpg")[1], index_map() == 2)


def test_more_than_255_objects_need_16_bits(make_project: MakeProject, tmp_path: Path) -> None:
    one, two = (make_project({"a.jpg": (40, 40)}, name) for name in ("one", "two"))
    dots = [np.zeros((40, 40), bool) for _ in range(300)]
    for number, dot in enumerate(dots):
        dot[number // 40, number % 40] = True
    add(one, "a.jpg", *dots)
    exporter("png")(one, tmp_path / "m")
    with Image.open(tmp_path / "m" / "a.png") as image:
        assert image.mode == "I;16"
    read(two, tmp_path / "m")
    assert labels(two) == labels(one)


def test_palette_maps_without_the_border(project: Project, tmp_path: Path) -> None:
    values = index_map()
    values[0] = 255
    save(tmp_path / "m", "a.png", values, palette=True)
    assert read(project, tmp_path / "m").objects == 2


def test_classes_by_value_and_in_parts(project: Project, tmp_path: Path) -> None:
    save(tmp_path / "m", "a.png", index_map())
    report = read(project, tmp_path / "m", meaning="classes", components=True)
    assert report.classes == {"class 1": 1, "class 2": 2}


def test_colour_coded_maps_with_cvats_names(project: Project, tmp_path: Path) -> None:
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[index_map() == 1] = (250, 50, 83)
    colors[index_map() == 2] = (10, 20, 30)
    save(tmp_path / "m", "a.png", colors)
    (tmp_path / "m" / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n"
    )
    report = read(project, tmp_path / "m")
    assert report.classes == {"cat": 1, "#0a141e": 1}
    assert {c.name: c.color for c in project.classes()} == {"cat": "#fa3253", "#0a141e": "#0a141e"}


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA"])
def test_binary_masks_whole_or_in_parts(project: Project, tmp_path: Path, mode: str) -> None:
    save(tmp_path / "m", "a.png", (index_map() > 0).astype(np.uint8) * 255)
    with Image.open(tmp_path / "m" / "a.png") as image:
        image.convert(mode).save(tmp_path / "m" / "b.png")
    assert read(project, tmp_path / "m").objects == 2
    assert read(project, tmp_path / "m", components=True, conflict="replace").objects == 6


def test_folders_of_binary_masks_as_predict_writes_them(project: Project, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "m").mkdir(exist_ok=True)
        save(tmp_path / "m" / "a", f"{number}.png", (index_map() == number).astype(np.uint8) * 255)
    report = read(project, tmp_path / "m")
    assert (report.objects, report.images) == (2, 1)


def test_one_map_alone(project: Project, tmp_path: Path) -> None:
    save(tmp_path / "m", "a.png", index_map())
    assert read(project, tmp_path / "m" / "a.png", default_class="cell").classes == {"cell": 2}


def test_class_maps_give_small_objects_priority(project: Project, tmp_path: Path) -> None:
    add(project, "a.jpg", disc(WIDTH, HEIGHT, 5, 5, 1), name="nucleus")
    add(project, "a.jpg", disc(WIDTH, HEIGHT, 5, 5, 4), name="cell")
    report = exporter("png-semantic")(project, tmp_path / "small")
    assert report.summary == "2 objects on 1 image, 0 different; 1 overlap resolved by priority."
    with Image.open(tmp_path / "small" / "a.png") as image:
        assert image.mode == "P"
        assert image.getpixel((5, 5)) == 1
        palette = image.getpalette()
    assert palette is not None
    color = project.classes()[0].color
    assert bytes(palette[3:6]).hex() == color[1:]
    options = ExportOptions(class_order=("cell", "nucleus"))
    report = exporter("png-semantic")(project, tmp_path / "cell", options=options)
    assert "(1 hidden wholly)" in report.summary
    with Image.open(tmp_path / "cell" / "a.png") as image:
        assert image.getpixel((5, 5)) == 2


def test_class_maps_come_back_with_their_classes(make_project: MakeProject, tmp_path: Path) -> None:
    sizes = {"a.jpg": (WIDTH, HEIGHT)}
    one, two = make_project(sizes, "one"), make_project(sizes, "two")
    add(one, "a.jpg", disc(WIDTH, HEIGHT, 2, 2, 1), name="nucleus")
    add(one, "a.jpg", disc(WIDTH, HEIGHT, 8, 6, 2), name="cell")
    exporter("png-semantic")(one, tmp_path / "m")
    read(two, tmp_path / "m")
    assert labels(two) == labels(one)


def test_binary_files_per_class(project: Project, tmp_path: Path) -> None:
    add(project, "a.jpg", disc(WIDTH, HEIGHT, 2, 2, 1), disc(WIDTH, HEIGHT, 8, 6, 2), name="a/b?")
    options = ExportOptions(per="class")
    report = exporter("png-binary")(project, tmp_path / "m", options=options)
    assert report.different == 0
    assert [p.name for p in (tmp_path / "m" / "a").iterdir()] == ["a_b.png"]


def test_what_is_no_label_map_is_reported(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({f"{k}.jpg": (90, 80) for k in "abcdefgh"})
    folder = tmp_path / "m"
    good = np.zeros((80, 90), np.uint8)
    good[3:5, 3:5] = 9
    save(folder, "a.png", good)
    save(folder, "b.png", np.zeros((5, 5), np.uint8))
    noise = np.random.default_rng(0).integers(0, 255, (80, 90, 3)).astype(np.uint8)
    save(folder, "c.png", noise)
    (folder / "d.png").write_bytes((folder / "c.png").read_bytes()[:200])
    (folder / "e.png").write_bytes(b"<html>not found</html>")
    (folder / "f.png").write_bytes(b"")
    save(folder, "stranger.png", good)
    Image.fromarray(good).resize((4, 4)).save(folder / "g.gif")
    (folder / "classes.json").write_text("{broken")
    report = read(project, folder)
    assert report.objects == 1
    told = {p.item for p in report.problems.items}
    assert told == {"b.png", "c.png", "d.png", "e.png", "f.png", "g.gif", "stranger.png",
                    "classes.json"}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"kind": "x"},
        {"kind": "instances", "classes": 3, "files": 4},
        {"kind": "instances", "classes": [{"id": "a"}, 7], "files": {"a.png": 9}},
        {"kind": "instances", "files": {"a.png": {"image": 5, "page": "x", "classes": [[], {}]}}},
        {"kind": "classes", "classes": [{"id": 1, "name": [], "color": "#zzzzzz"}]},
        {"kind": "binary", "files": {"a.png": {"image": "../../b.jpg", "classes": [7]}}},
    ],
)
def test_a_strange_class_file_does_no_harm(
    project: Project, tmp_path: Path, content: object
) -> None:
    save(tmp_path / "m", "a.png", index_map())
    (tmp_path / "m" / "classes.json").write_text(json.dumps(content))
    assert read(project, tmp_path / "m").objects >= 1


def test_links_in_a_circle_are_not_followed(project: Project, tmp_path: Path) -> None:
    save(tmp_path / "m", "a.png", index_map())
    (tmp_path / "m" / "again").symlink_to(tmp_path / "m", target_is_directory=True)
    assert read(project, tmp_path / "m").objects == 2


def test_an_empty_folder_says_so(project: Project, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(StudioError, match="no label maps"):
        read(project, tmp_path / "m")
