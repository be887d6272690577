"""COCO: against pycocotools, and files in the styles of other programs."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_projects import MakeProject, add, bitmaps, disc, labels
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.registry import exporter, importer

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]


def ring(width: int, height: int) -> np.ndarray:
    return disc(width, height, 8, 8, 6) & ~disc(width, height, 8, 8, 3)


def parts(width: int, height: int) -> np.ndarray:
    return disc(width, height, 4, 4, 2) | disc(width, height, 13, 12, 2)


def opened(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("geometry", ["auto", "rle", "polygon"])
def test_pycocotools_reads_the_same_masks_boxes_and_areas(
    make_project: MakeProject, tmp_path: Path, geometry: str
) -> None:
    project = make_project({"a.png": (20, 16), "b.png": (20, 16)})
    shapes = [ring(20, 16), parts(20, 16), disc(20, 16, 0, 0, 5), np.ones((16, 20), bool)]
    shapes[3][5, 5] = False
    pixel = np.zeros((16, 20), bool)
    pixel[15, 19] = True
    add(project, "a.png", *shapes)
    add(project, "b.png", pixel, name="dot")
    report = exporter("coco")(
        project, tmp_path / "c.json", options=ExportOptions(geometry=geometry)
    )
    assert report.summary == "5 objects on 2 images, 0 different."
    coco = opened(tmp_path / "c.json")
    assert sorted(coco.anns) == [1, 2, 3, 4, 5]
    assert sorted(coco.imgs) == [1, 2]
    for number, bitmap in enumerate([*shapes, pixel], start=1):
        found = coco.anns[number]
        rle = coco.annToRLE(found)
        theirs = coco_mask.encode(np.asfortranarray(bitmap.astype(np.uint8)))
        assert np.array_equal(coco_mask.decode(rle).astype(bool), bitmap)
        assert coco_mask.iou([rle], [theirs], [0])[0, 0] == 1.0
        assert found["area"] == coco_mask.area(theirs)
        assert found["bbox"] == coco_mask.toBbox(theirs).tolist()


def test_auto_uses_polygons_where_they_are_exact(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.png": (20, 16)})
    add(project, "a.png", ring(20, 16), parts(20, 16))
    exporter("coco")(project, tmp_path / "c.json")
    first, second = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert isinstance(first["segmentation"], dict)
    assert [len(part) >= 6 for part in second["segmentation"]] == [True, True]


def entry(number: int, image: Any = 1, category: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": image, "category_id": category, "segmentation": [SQUARE],
            "area": 16, "bbox": [2, 2, 4, 4], "iscrowd": 0, **more}  # fmt: skip


CVAT = {
    "licenses": [{"name": "", "id": 0, "url": ""}],
    "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": "",
             "year": ""},
    "categories": [{"id": 1, "name": "cell", "supercategory": ""},
                   {"id": 2, "name": "nucleus", "supercategory": "cell"}],
    "images": [{"id": 1, "width": 12, "height": 10, "file_name": "sub/a.png", "license": 0,
                "flickr_url": "", "coco_url": "", "date_captured": 0}],
    "annotations": [
        entry(1, attributes={"occluded": True}),
        entry(2, category=2, iscrowd=1,
              segmentation={"counts": [11, 3, 106], "size": [10, 12]}),
    ],
}  # fmt: skip
LABEL_STUDIO = {
    "images": [{"width": 12, "height": 10, "id": 0, "file_name": "images\\1f2e3d4c-a.png"}],
    "categories": [{"id": 0, "name": "cell"}, {"id": 1, "name": "nucleus"}],
    "annotations": [entry(0, image=0, category=0, ignore=0),
                    entry(1, image=0, category=1, ignore=0, segmentation=[[0, 1, 2.5, 1, 2.5, 4]])],
    "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
}  # fmt: skip
X_ANYLABELING = {
    "info": {"year": 2025, "version": "4.0", "description": "COCO Label Conversion",
             "contributor": "CVHub", "url": "", "date_created": "2025-01-01"},
    "licenses": [{"id": 1, "url": "https://www.gnu.org/licenses/gpl-3.0.html", "name": "GPLv3"}],
    "type": "instances",
    "categories": [{"id": 1, "name": "cell", "supercategory": ""},
                   {"id": 2, "name": "nucleus", "supercategory": ""}],
    "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 10, "license": 0,
                "flickr_url": "", "coco_url": "", "date_captured": ""}],
    "annotations": [entry(0, ignore=0), entry(1, category=2, ignore=0)],
}  # fmt: skip
LABELME2COCO = {
    "images": [{"height": 10, "width": 12, "id": 1,
                "file_name": "/home/someone/labelme/sub/a.png"}],
    "annotations": [entry(1), entry(2, category=2)],
    "categories": [{"id": 1, "name": "cell", "supercategory": "cell"},
                   {"id": 2, "name": "nucleus", "supercategory": "nucleus"}],
}  # fmt: skip
ISAT = {
    "info": {"description": "coco from ISAT", "version": None, "year": None, "contributor": None,
             "date_created": None},
    "licenses": [{"url": None, "id": 0, "name": None}],
    "images": [{"license": "", "url": "", "file_name": "a.png", "height": 10, "width": 12,
                "date_captured": "", "id": 0}],
    "annotations": [entry(0, image=0, iscrowd=False, image_name="a.png"),
                    entry(1, image=0, category=2, iscrowd=False, image_name="a.png")],
    "categories": [{"name": "cell", "id": 1, "supercategory": None},
                   {"name": "nucleus", "id": 2, "supercategory": None}],
}  # fmt: skip
SA_1B = {
    "image": {"image_id": 7, "width": 12, "height": 10, "file_name": "a.png"},
    "annotations": [{"id": 5, "segmentation": {"size": [10, 12], "counts": [22, 3, 95]},
                     "area": 3, "bbox": [2, 2, 1, 3], "predicted_iou": 0.9, "image_id": 7,
                     "point_coords": [[2.0, 3.0]], "category_id": None}],
}  # fmt: skip
STYLES = {
    "CVAT": CVAT,
    "Label Studio": LABEL_STUDIO,
    "X-AnyLabeling": X_ANYLABELING,
    "labelme2coco": LABELME2COCO,
    "ISAT": ISAT,
}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("style", STYLES)
def test_files_as_other_programs_write_them(
    make_project: MakeProject, tmp_path: Path, style: str
) -> None:
    project = make_project({"sub/a.png": (12, 10)})
    report = importer("coco")(project, write(tmp_path / "c.json", STYLES[style]))
    assert [p.reason for p in report.problems.items] == []
    assert report.classes == {"cell": 1, "nucleus": 1}
    square = bitmaps(project, "sub/a.png")[0]
    assert np.array_equal(np.argwhere(square).min(axis=0), [2, 2])
    assert square.sum() == 16


def test_the_one_image_files_of_sa_1b(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.png": (12, 10)})
    report = importer("coco")(project, write(tmp_path / "c.json", SA_1B))
    assert report.objects == 1
    assert bitmaps(project, "a.png")[0][2:5, 2].all()


def test_what_the_project_has_no_place_for_survives(
    make_project: MakeProject, tmp_path: Path
) -> None:
    content = json.loads(json.dumps(CVAT))
    content["licenses"] = [{"name": "CC BY", "id": 3, "url": "https://example.org"}]
    content["info"]["contributor"] = "Somebody"
    content["images"][0]["license"] = 3
    content["categories"][0]["keypoints"] = ["a", "b"]
    content["dataset"] = {"deep": [1, {"er": None}]}
    project = make_project({"sub/a.png": (12, 10)})
    importer("coco")(project, write(tmp_path / "c.json", content))
    exporter("coco")(project, tmp_path / "out.json")
    out = json.loads((tmp_path / "out.json").read_text())
    assert out["licenses"] == content["licenses"]
    assert out["info"]["contributor"] == "Somebody"
    assert out["images"][0]["license"] == 3
    assert out["categories"][0]["keypoints"] == ["a", "b"]
    assert out["categories"][1]["supercategory"] == "cell"
    assert out["dataset"] == content["dataset"]
    first, second = out["annotations"]
    assert first["attributes"] == {"occluded": True}
    assert (first["iscrowd"], second["iscrowd"]) == (0, 1)


@pytest.mark.parametrize(
    "name",
    [
        "https://host/bucket/sub/a.png?X-Amz-Signature=ab/c.png#x",
        "s3://bucket/sub/a.png",
        "/data/local-files/?d=folder%2Fsub%2Fa.png",
        "/data/upload/3/1f2e3d4c-a.png",
    ],
)
def test_addresses_as_label_studio_writes_them(
    make_project: MakeProject, tmp_path: Path, name: str
) -> None:
    project = make_project({"sub/a.png": (12, 10), "c.png": (12, 10)})
    content = json.loads(json.dumps(LABEL_STUDIO))
    content["images"][0]["file_name"] = name
    assert importer("coco")(project, write(tmp_path / "c.json", content)).objects == 2
    assert len(bitmaps(project, "sub/a.png")) == 2


def test_ids_as_text_in_one_place_and_as_numbers_in_another(
    make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project({"sub/a.png": (12, 10)})
    entries = [entry(1, image="1", category="2"), entry(2, category="\u00b2")]
    path = write(tmp_path / "c.json", CVAT | {"annotations": entries})
    report = importer("coco")(project, path)
    assert (report.classes, report.problems.count) == ({"nucleus": 1}, 1)


@pytest.mark.parametrize("order", [["annotations", "categories", "images"], ["annotations"]])
def test_the_order_in_the_file_does_not_matter(
    make_project: MakeProject, tmp_path: Path, order: list[str]
) -> None:
    content = {k: CVAT[k] for k in order} | CVAT
    project = make_project({"sub/a.png": (12, 10)})
    assert importer("coco")(project, write(tmp_path / "c.json", content)).objects == 2


def test_pages_of_one_file_are_told_apart(tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "images").mkdir()
    pages = np.arange(3 * 8 * 9, dtype=np.uint8).reshape(3, 8, 9)
    tifffile.imwrite(tmp_path / "images" / "s.tif", pages, photometric="minisblack")
    for format, out in (("coco", "c.json"), ("png", "maps"), ("geojson", "geo"), ("tiff", "tif")):
        with (
            Project.create(tmp_path / f"{format}-one", tmp_path / "images") as one,
            Project.create(tmp_path / f"{format}-two", tmp_path / "images") as two,
        ):
            for project in (one, two):
                project.scan()
            add(one, "s.tif", disc(9, 8, 2, 2, 1), page=0)
            add(one, "s.tif", disc(9, 8, 5, 5, 2), page=2)
            exporter(format)(one, tmp_path / out)
            assert importer(format)(two, tmp_path / out).objects == 2
            assert labels(two) == labels(one)


def test_suggestions_stay_behind(make_project: MakeProject, tmp_path: Path) -> None:
    project = make_project({"a.png": (12, 10), "b.png": (12, 10)})
    add(project, "a.png", disc(12, 10, 5, 5, 3))
    kept = project.objects()[0]
    project.add_objects(
        [
            ObjectRecord(0, i.id, kept.class_id, kept.mask, source="suggestion")
            for i in project.images()
        ]
    )
    report = exporter("coco")(project, tmp_path / "c.json")
    assert (report.images, report.objects) == (1, 1)
    options = ExportOptions(suggestions=True)
    report = exporter("coco")(project, tmp_path / "d.json", options=options)
    assert (report.images, report.objects) == (2, 3)


def test_further_fields_go_and_come_with_their_import(
    make_project: MakeProject, tmp_path: Path
) -> None:
    """Undone and redone with the labels; kept once however often the file comes."""
    project = make_project({"sub/a.png": (12, 10)})
    content = CVAT | {"licenses": [{"name": "CC BY", "id": 3, "url": ""}]}
    path = write(tmp_path / "c.json", content)

    def licenses() -> Any:
        exporter("coco")(project, tmp_path / "out.json", options=ExportOptions(overwrite=True))
        return json.loads((tmp_path / "out.json").read_text())["licenses"]

    for _ in range(2):
        importer("coco")(project, path)
    assert licenses() == content["licenses"]
    assert len(project.setting("interchange.coco")) == 1
    project.undo()
    assert licenses() == []
    project.redo()
    assert licenses() == content["licenses"]
    project.undo()
    add(project, "sub/a.png", disc(12, 10, 5, 5, 3))  # from here on there is nothing to redo
    importer("coco")(project, write(tmp_path / "d.json", CVAT))
    assert licenses() == CVAT["licenses"]
    project.set_setting("interchange.coco", {"top": {"licenses": [1]}})  # of an earlier version
    assert licenses() == [1]


def test_a_crowd_is_run_lengths(make_project: MakeProject, tmp_path: Path) -> None:
    """As in COCO's own files; many readers take a crowd's polygons for an error."""
    project = make_project({"a.png": (12, 10)})
    content = CVAT | {"annotations": [entry(1, iscrowd=1), entry(2)]}
    importer("coco")(project, write(tmp_path / "c.json", content))
    exporter("coco")(project, tmp_path / "out.json")
    first, second = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert (first["iscrowd"], first["segmentation"]["size"]) == (1, [10, 12])
    assert second["segmentation"] == [SQUARE]


def test_ids_that_went_through_a_table_of_numbers(
    make_project: MakeProject, tmp_path: Path
) -> None:
    project = make_project({"sub/a.png": (12, 10)})
    content = json.loads(json.dumps(CVAT))
    content["images"][0]["id"] = 1.0
    content["annotations"][1] |= {"image_id": 1.0, "category_id": 2.0}
    report = importer("coco")(project, write(tmp_path / "c.json", content))
    assert report.classes == {"cell": 1, "nucleus": 1}


def test_a_folder_with_one_coco_file_in_it(make_project: MakeProject, tmp_path: Path) -> None:
    """CVAT packs `annotations/instances_default.json`."""
    project = make_project({"sub/a.png": (12, 10)})
    folder = tmp_path / "cvat" / "annotations"
    folder.mkdir(parents=True)
    write(folder / "instances_default.json", CVAT)
    assert importer("coco")(project, tmp_path / "cvat").objects == 2
    write(folder / "instances_other.json", CVAT)
    with pytest.raises(StudioError, match="2 JSON files"):
        importer("coco")(project, tmp_path / "cvat")
