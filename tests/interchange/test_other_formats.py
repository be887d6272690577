"""YOLO, VOC, LabelMe, ISAT, GeoJSON and TIFF as other programs write them, and their damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from label_projects import MakeProject, add, bitmaps, disc
from PIL import Image

from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.label_maps import voc_color
from infosam_studio.interchange.registry import exporter, importer

WIDTH, HEIGHT = 12, 10
SQUARE = [[2, 2], [6, 2], [6, 6], [2, 6]]


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project({"a.jpg": (WIDTH, HEIGHT), "b.jpg": (WIDTH, HEIGHT)})


def ring() -> np.ndarray:
    return disc(WIDTH, HEIGHT, 5, 5, 4) & ~disc(WIDTH, HEIGHT, 5, 5, 1)


# YOLO


def yolo(tmp_path: Path, text: str | bytes, yaml: str = "names: [cell, nucleus]\n") -> Path:
    folder = tmp_path / "yolo" / "labels" / "train"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "yolo" / "data.yaml").write_text(yaml)
    return tmp_path / "yolo"


GOOD_LINE = "1 0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6\n"


@pytest.mark.parametrize(
    "yaml",
    [
        "names: [cell, nucleus]",
        "names:\n  0: cell\n  1: nucleus",
        'nc: 2\nnames: {0: "cell", 1: nucleus}',
    ],
)
def test_yolo_names(project: Project, tmp_path: Path, yaml: str) -> None:
    report = importer("yolo")(project, yolo(tmp_path, GOOD_LINE, yaml))
    assert report.classes == {"nucleus": 1}
    assert bitmaps(project, "a.jpg")[0][2:6, 3:6].all()


@pytest.mark.parametrize("yaml", ["names: 3", "{", "&a [*a]", "\x00", "names: [[x]]", "- 1"])
def test_yolo_names_that_cannot_be_read(project: Project, tmp_path: Path, yaml: str) -> None:
    assert importer("yolo")(project, yolo(tmp_path, GOOD_LINE, yaml)).objects == 1


@pytest.mark.parametrize(
    "line",
    [
        "0 0.5 0.5 0.2 0.2",
        "0 0.1 0.1 0.2 0.2 0.3",
        "0 0.1 0.1",
        "0",
        "x 0.1 0.1 0.2 0.2 0.3 0.3",
        "0 nan 0.1 0.2 0.2 0.3 0.3",
        "0 inf 0.1 0.2 0.2 0.3 0.3",
        "-1 0.1 0.1 0.2 0.2 0.3 0.3",
        "1e99 0.1 0.1 0.2 0.2 0.3 0.3",
        "0 100 200 300 200 300 300",
        "0 0.1 0.1 0.1 0.1 0.1 0.1",
        "\ufffd\x00",
    ],
)
def test_yolo_lines_that_are_no_mask(project: Project, tmp_path: Path, line: str) -> None:
    report = importer("yolo")(project, yolo(tmp_path, f"{GOOD_LINE}{line}\n\n{GOOD_LINE}"))
    assert (report.objects, report.problems.count) == (2, 1)


def test_yolo_can_refuse_holes(project: Project, tmp_path: Path) -> None:
    add(project, "a.jpg", ring(), disc(WIDTH, HEIGHT, 9, 8, 1))
    options = ExportOptions(holes="refuse", copy_images=True)
    report = exporter("yolo")(project, tmp_path / "y", options=options)
    assert (report.objects, report.different, report.problems.count) == (1, 0, 1)
    assert (tmp_path / "y" / "images" / "train" / "a.jpg").is_file()
    lines = (tmp_path / "y" / "labels" / "train" / "a.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0"]


# Pascal VOC


def palette_png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette([v for k in range(256) for v in voc_color(k)])
    image.save(path)


def test_voc_as_published(project: Project, tmp_path: Path) -> None:
    objects = np.zeros((HEIGHT, WIDTH))
    objects[1:4, 1:4], objects[5:8, 5:8], objects[0] = 1, 2, 255
    palette_png(tmp_path / "v" / "SegmentationObject" / "a.png", objects)
    palette_png(tmp_path / "v" / "SegmentationClass" / "a.png", np.where(objects == 2, 15, objects))
    report = importer("voc")(project, tmp_path / "v")
    assert report.classes == {"aeroplane": 1, "person": 1}


def test_voc_with_classes_alone_in_cvats_colours(project: Project, tmp_path: Path) -> None:
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[1:4, 1:4] = (250, 50, 83)
    (tmp_path / "v" / "SegmentationClass").mkdir(parents=True)
    Image.fromarray(colors).save(tmp_path / "v" / "SegmentationClass" / "a.png")
    (tmp_path / "v" / "labelmap.txt").write_text("background:0,0,0::\ncat:250,50,83::\n")
    assert importer("voc")(project, tmp_path / "v").classes == {"cat": 1}


def test_voc_of_another_kind_says_so(project: Project, tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="neither"):
        importer("voc")(project, tmp_path)


# LabelMe


def labelme(*shapes: Any, **more: Any) -> dict[str, Any]:
    return {"version": "5.5.0", "flags": {}, "imagePath": "a.jpg", "imageData": None,
            "imageHeight": HEIGHT, "imageWidth": WIDTH, "shapes": list(shapes), **more}  # fmt: skip


def shape(**more: Any) -> dict[str, Any]:
    return {"label": "cell", "points": SQUARE, "group_id": None, "shape_type": "polygon",
            "flags": {}, **more}  # fmt: skip


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path.parent


def test_labelme_shapes_and_groups(project: Project, tmp_path: Path) -> None:
    content = labelme(
        shape(description="kept", difficult=True),
        shape(group_id=1),
        shape(group_id=1, points=[[8, 7], [10, 7], [10, 9]]),
        shape(group_id=1, label="other"),
        shape(shape_type="rectangle", points=[[1, 1], [4, 3]]),
        shape(shape_type="circle", points=[[5, 5], [7, 5]]),
        shape(shape_type="rotation"),
    )
    report = importer("labelme")(project, write(tmp_path / "l" / "a.json", content))
    assert report.classes == {"cell": 5, "other": 1}
    found = project.objects()
    assert found[0].extra == {"labelme": {"description": "kept", "difficult": True}}
    assert bitmaps(project, "a.jpg")[3].sum() == 6
    exporter("labelme")(project, tmp_path / "out")
    again = json.loads((tmp_path / "out" / "a.json").read_text())
    assert again["shapes"][0]["description"] == "kept"


def test_x_anylabeling_files(project: Project, tmp_path: Path) -> None:
    """The same with more fields, the image in a folder beside."""
    more = {"score": None, "difficult": False, "attributes": {}, "kie_linking": []}
    content = labelme(shape(**more), imagePath="..\\images\\a.jpg", description="", checked=False)
    assert importer("labelme")(project, write(tmp_path / "l" / "a.json", content)).objects == 1


@pytest.mark.parametrize(
    "bad",
    [
        7,
        {},
        shape(points=[[1, 1], [2, 2]]),
        shape(points="x"),
        shape(points=[[1, 1], [2], [3, 3]]),
        shape(points=[[1, None], [2, 2], [3, 1]]),
        shape(points=[[1, 10**400], [2, 2], [3, 1]]),
        shape(shape_type="line", points=[[1, 1], [2, 2]]),
        shape(shape_type="point", points=[[1, 1]]),
        shape(shape_type=["mask"]),
        shape(shape_type="circle", points=[[1, 1], [1e300, 1e300]]),
        shape(shape_type="mask", points=[[1, 1], [3, 3]]),
        shape(shape_type="mask", points=[[1, 1], [3, 3]], mask="!!!"),
        shape(shape_type="mask", points=[[99, 1], [3, 3]], mask="aGVsbG8="),
        shape(points=[[50, 50], [60, 50], [60, 60]]),
    ],
)
def test_labelme_shapes_that_are_no_mask(project: Project, tmp_path: Path, bad: Any) -> None:
    content = labelme(shape(), bad)
    report = importer("labelme")(project, write(tmp_path / "l" / "a.json", content))
    assert (report.objects, report.problems.count) == (1, 1)


# ISAT


def isat(*objects: Any, **more: Any) -> dict[str, Any]:
    info = {"description": "ISAT", "folder": "x", "name": "a.jpg", "width": WIDTH,
            "height": HEIGHT, "depth": 3, "note": ""}  # fmt: skip
    return {"info": {**info, **more}, "objects": list(objects)}


def part(points: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"category": "cell", "group": 1, "segmentation": points, "area": 1, "layer": 1.0,
            "bbox": [0, 0, 1, 1], "iscrowd": False, "note": "", **more}  # fmt: skip


def test_isat_groups_layers_and_holes(project: Project, tmp_path: Path) -> None:
    hole = [[3, 3], [5, 3], [5, 5], [3, 5]]
    content = isat(
        part(SQUARE, note="kept"),
        part([[8, 7], [10, 7], [10, 9], [8, 9]]),
        part(hole, category="__background__", layer=2.0),
        part(hole, category="nucleus", group=2, layer=3.0),
    )
    report = importer("isat")(project, write(tmp_path / "l" / "a.json", content))
    assert report.classes == {"cell": 1, "nucleus": 1}
    cell, nucleus = bitmaps(project, "a.jpg")
    assert cell.sum() == 16 - 4 + 4
    assert nucleus.sum() == 4
    assert project.objects()[0].extra == {"isat": {"note": "kept"}}


@pytest.mark.parametrize(
    "bad",
    [3, part([[1, 1]]), part([]), {"category": "x"}, part(SQUARE, shape_type="point"),
     part([[1, float("nan")], [2, 2], [3, 3]])],
)  # fmt: skip
def test_isat_objects_that_are_no_mask(project: Project, tmp_path: Path, bad: Any) -> None:
    content = isat(part(SQUARE), bad)
    report = importer("isat")(project, write(tmp_path / "l" / "a.json", content))
    assert (report.objects, report.problems.count) == (1, 1)


# GeoJSON


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "id": "7b9c", "properties": properties,
            "geometry": {"type": kind, "coordinates": coordinates}}  # fmt: skip


CLOSED = [*SQUARE, SQUARE[0]]
HOLE = [[3, 3], [3, 5], [5, 5], [5, 3], [3, 3]]


@pytest.mark.parametrize("wrapped", ["collection", "list", "single"])
def test_geojson_as_qupath_writes_it(project: Project, tmp_path: Path, wrapped: str) -> None:
    found = feature(
        [CLOSED, HOLE],
        objectType="annotation",
        classification={"name": "Tumor", "color": [200, 0, 0]},
        isLocked=False,
        measurements={"Area": 3.5},
    )
    content: Any = {"collection": {"type": "FeatureCollection", "features": [found]},
                    "list": [found], "single": found}[wrapped]  # fmt: skip
    report = importer("geojson")(project, write(tmp_path / "g" / "a.geojson", content))
    assert report.classes == {"Tumor": 1}
    assert project.classes()[0].color == "#c80000"
    assert bitmaps(project, "a.jpg")[0].sum() == 12
    kept = project.objects()[0].extra["geojson"]
    assert kept == {"id": "7b9c", "properties": {"measurements": {"Area": 3.5}}}


def test_geojson_classes_of_any_version(project: Project, tmp_path: Path) -> None:
    features = [
        feature([CLOSED], classification="Plain"),
        feature([CLOSED], classification={"names": ["CD3", "CD8"], "color": [1, 2, 3]}),
        feature([CLOSED], classification={"name": "Old", "colorRGB": -3670016}),
        feature([CLOSED]),
    ]
    content = {"type": "FeatureCollection", "features": features}
    report = importer("geojson")(project, write(tmp_path / "g" / "a.geojson", content))
    assert list(report.classes) == ["Plain", "CD3: CD8", "Old", "object"]
    assert project.classes()[2].color == "#c80000"


@pytest.mark.parametrize(
    "bad",
    [5, {}, feature([1, 2], "Point"), feature(None), feature([[]]), feature([[[1, 1], [2, 2]]]),
     feature([["a", "b"]]), feature([[[1, 1], [2, 2], [3]]]), feature([], "MultiPolygon"),
     feature([[[1e300, 1], [2, 2], [3, 3]]])],
)  # fmt: skip
def test_geojson_features_that_are_no_mask(project: Project, tmp_path: Path, bad: Any) -> None:
    content = {"type": "FeatureCollection", "features": [feature([CLOSED]), bad]}
    report = importer("geojson")(project, write(tmp_path / "g" / "a.geojson", content))
    assert (report.objects, report.problems.count) == (1, 1)


# Label TIFF


def test_tiff_of_any_kind_of_number(project: Project, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    values = np.zeros((HEIGHT, WIDTH), np.float32)
    values[1:4, 1:4] = 1
    values[5:8, 5:8] = 70_000
    tifffile.imwrite(tmp_path / "t" / "a.tif", values)
    tifffile.imwrite(tmp_path / "t" / "b.tiff", values.astype(np.uint32), compression="zlib")
    report = importer("tiff")(project, tmp_path / "t")
    assert (report.objects, report.problems.count) == (4, 0)


def test_tiff_that_is_no_label_map(project: Project, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    tifffile.imwrite(tmp_path / "t" / "a.tif", np.full((HEIGHT, WIDTH), 0.5, np.float32))
    (tmp_path / "t" / "b.tif").write_bytes(b"II*\x00garbage")
    tifffile.imwrite(tmp_path / "t" / "c.tif", np.zeros((HEIGHT, WIDTH), np.uint8))
    report = importer("tiff")(project, tmp_path / "t")
    assert (report.objects, report.problems.count) == (0, 3)


# All formats of one file per image


@pytest.mark.parametrize("format", ["labelme", "isat"])
@pytest.mark.parametrize("text", ["", "[", "[1]", "{}", "\x00", '{"shapes": 1}', "[" * 100_000])
def test_damaged_files_cost_themselves(
    project: Project, tmp_path: Path, format: str, text: str
) -> None:
    good = labelme(shape()) if format == "labelme" else isat(part(SQUARE))
    folder = write(tmp_path / "l" / "a.json", good)
    write(folder / "b.json", text)
    report = importer(format)(project, folder)
    assert (report.objects, report.problems.count) == (1, 1)


@pytest.mark.parametrize("format", ["labelme", "isat"])
def test_labels_of_another_size_stay_out(project: Project, tmp_path: Path, format: str) -> None:
    good = labelme(shape(), imageWidth=99) if format == "labelme" else isat(part(SQUARE), width=99)
    report = importer(format)(project, write(tmp_path / "l" / "a.json", good))
    assert report.objects == 0
    assert "99 x 10" in report.problems.items[0].reason
