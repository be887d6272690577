"""Damaged and hostile COCO files: every bad item reported, every good one taken in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from label_projects import MakeProject

from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.registry import importer
from infosam_studio.interchange.reports import ImportReport

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]


def entry(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "image_id": 1, "category_id": 1, "segmentation": [SQUARE], **more}


def content(*annotations: Any, **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 10}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [entry(1), *annotations],
        **more,
    }


@pytest.fixture
def project(make_project: MakeProject) -> Project:
    return make_project({"a.png": (12, 10), "b.png": (12, 10)})


def read(project: Project, tmp_path: Path, text: str | bytes | dict[str, Any]) -> ImportReport:
    path = tmp_path / "c.json"
    if isinstance(text, dict):
        text = json.dumps(text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return importer("coco")(project, path)


BAD_SEGMENTATIONS = {
    "two points": [[1, 1, 5, 5]],
    "half a point": [[1, 1, 5, 5, 3]],
    "no points": [[]],
    "text": "polygon",
    "words": [["a", "b", "c", "d", "e", "f"]],
    "booleans": [[True] * 6],
    "null": None,
    "nulls": [[None] * 6],
    "absurd": [[1e300, 1, 5, 5, 3, 9]],
    "endless outline": [[0, 0.5, 9e6, 0.5, 9e6, 3, 0, 9e6]],
    "outside": [[100, 100, 120, 100, 120, 120]],
    "huge integer": [[10**400, 1, 5, 5, 3, 9]],
    "nested": [[[1, 1], [5, 5], [3, 9]]],
    "object": {"a": 1},
    "other size": {"size": [5, 5], "counts": [25]},
    "huge size": {"size": [10**9, 10**9], "counts": [10**18]},
    "too few runs": {"size": [10, 12], "counts": [3, 4]},
    "negative runs": {"size": [10, 12], "counts": [130, -10]},
    "wrapping runs": {"size": [10, 12], "counts": [2**63 - 1, 2**63 - 1, 122]},
    "runs of text": {"size": [10, 12], "counts": ["a"]},
    "no runs": {"size": [10, 12], "counts": None},
    "broken text": {"size": [10, 12], "counts": "\u00ff~~"},
    "long text": {"size": [10, 12], "counts": "o" * 500},
    "empty mask": {"size": [10, 12], "counts": [120]},
}


@pytest.mark.parametrize("kind", BAD_SEGMENTATIONS)
def test_a_bad_mask_costs_itself(project: Project, tmp_path: Path, kind: str) -> None:
    bad = entry(2, segmentation=BAD_SEGMENTATIONS[kind])
    report = read(project, tmp_path, content(bad, entry(3)))
    assert report.objects == 2
    assert report.problems.count == 1


BAD_ENTRIES = {
    "a number": 7,
    "nothing": None,
    "unknown image": entry(2, image_id=99),
    "unknown class": entry(2, category_id=99),
    "no image": {"id": 2, "category_id": 1, "segmentation": [SQUARE]},
    "an image id of a strange kind": entry(2, image_id=[1]),
    "only a box": {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]},
}


@pytest.mark.parametrize("kind", BAD_ENTRIES)
def test_a_bad_annotation_costs_itself(project: Project, tmp_path: Path, kind: str) -> None:
    report = read(project, tmp_path, content(BAD_ENTRIES[kind], entry(3)))
    assert (report.objects, report.problems.count) == (2, 1)


def test_a_bad_part_costs_itself(project: Project, tmp_path: Path) -> None:
    report = read(project, tmp_path, content(entry(2, segmentation=[SQUARE, [1, 1, 2, 2]])))
    assert (report.objects, report.problems.count) == (2, 1)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"file_name": "zzz.png"}, "not in the project"),
        ({"file_name": "../../etc/passwd"}, "not in the project"),
        ({"file_name": "/etc/passwd"}, "not in the project"),
        ({"file_name": "b.png", "width": 640, "height": 480}, "640 x 480"),
        ({"file_name": "b.png", "width": 10, "height": 12}, "orientation"),
        ({"file_name": "b.png", "width": -1, "height": 1e99}, "pixels"),
        ({"file_name": None}, "no usable name"),
        ({"file_name": "x" * 10_000}, "no usable name"),
        ({"file_name": "sub/../a.png"}, "already goes with"),
    ],
)
def test_a_bad_image_costs_its_objects(
    project: Project, tmp_path: Path, image: dict[str, Any], reason: str
) -> None:
    given = content(entry(2, image_id=2))
    given["images"].append({"id": 2, **image})
    report = read(project, tmp_path, given)
    if image["file_name"] == "sub/../a.png":
        assert report.objects == 1
    assert report.objects == 1
    assert reason in report.problems.items[0].reason


def test_a_path_that_climbs_out_is_matched_by_its_end_only(
    project: Project, tmp_path: Path
) -> None:
    given = content()
    given["images"][0]["file_name"] = "../../elsewhere/a.png"
    report = read(project, tmp_path, given)
    assert report.objects == 1
    assert report.notes == ["1 path outside the images' folder matched by the end"]


def test_ids_that_clash_are_told(project: Project, tmp_path: Path) -> None:
    given = content(entry(1), entry(2, category_id=2), entry(3, image_id=2))
    given["categories"] += [{"id": 2, "name": "x"}, {"id": 2, "name": "y"}]
    given["images"] += [
        {"id": 2, "file_name": "b.png"},
        {"id": 2, "file_name": "c.png"},
        {"id": 2, "file_name": "b.png"},
    ]
    report = read(project, tmp_path, given)
    reasons = " ".join(p.reason for p in report.problems.items)
    assert report.objects == 2
    assert "its id is used twice" in reasons
    assert "class id 2 is used twice" in reasons
    assert "image id 2 is used twice" in reasons


def test_a_file_cut_off_keeps_what_is_whole(project: Project, tmp_path: Path) -> None:
    text = json.dumps(content(entry(2), entry(3)))
    report = read(project, tmp_path, text[: text.rindex('"id"') + 6])
    assert report.objects == 2
    assert "cut off" in report.problems.items[0].reason


def test_deep_nesting_and_long_numbers_cost_their_entry(project: Project, tmp_path: Path) -> None:
    text = json.dumps(content("DEEP", "LONG", entry(4)))
    text = text.replace('"DEEP"', "[" * 50_000 + "]" * 50_000)
    text = text.replace('"LONG"', '{"id": ' + "9" * 6000 + "}")
    report = read(project, tmp_path, text)
    assert (report.objects, report.problems.count) == (2, 2)


def test_deep_further_fields_are_left_out(project: Project, tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    report = read(project, tmp_path, content(entry(2, deep=deep)))
    assert (report.objects, report.problems.count) == (2, 1)
    assert [o.extra for o in project.objects()] == [{}, {}]


def test_nan_is_told_and_never_stored(project: Project, tmp_path: Path) -> None:
    text = json.dumps(content(entry(2, segmentation=[[float("nan"), 1, 5, 5, 3, 9]]), x=1))
    report = read(project, tmp_path, text.replace('"x": 1', '"x": NaN'))
    assert (report.objects, report.problems.count) == (1, 1)


def test_text_that_no_file_can_hold_is_replaced(project: Project, tmp_path: Path) -> None:
    given = content(entry(2, category_id=2, note="half \ud800"))
    given["categories"].append({"id": 2, "name": "bad \ud800\u0000\n name"})
    report = read(project, tmp_path, given)
    assert report.objects == 2
    assert [c.name for c in project.classes()] == ["cell", "bad name"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[1, 2]", "<!doctype html>", '{"images": 3}', "\x00" * 64, '"text"']
)
def test_what_is_no_coco_file_leaves_no_trace(project: Project, tmp_path: Path, text: str) -> None:
    with pytest.raises(StudioError, match=r"c\.json"):
        read(project, tmp_path, text)
    assert not project.objects()
    assert not project.can_undo()
