"""Which image a name in a label file means."""

from __future__ import annotations

import pytest

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.interchange.matching import ImageIndex, NoMatch


def index(*paths: str) -> ImageIndex:
    return ImageIndex([ImageRecord(k, p, "", 4, 4) for k, p in enumerate(paths, start=1)])


@pytest.mark.parametrize(
    "name",
    [
        "sub/a.jpg",
        "./sub/a.jpg",
        "sub\\a.jpg",
        "C:\\data\\sub\\a.jpg",
        "/home/someone/data/sub/a.jpg",
        "../../sub/a.jpg",
        "file:///data/sub/a.jpg",
        "a.jpg",
        "1f2e3d4c-a.jpg",
        "images/1f2e3d4c-a.jpg",
        "/data/local-files/?d=sub/a.jpg",
        "other/a.jpg",
        "SUB/A.JPG",
    ],
)
def test_names_as_other_programs_write_them(name: str) -> None:
    assert index("sub/a.jpg", "b.jpg").find(name).path == "sub/a.jpg"


def test_percent_signs_may_be_part_of_the_name_or_not() -> None:
    assert index("a b.jpg").find("a%20b.jpg").path == "a b.jpg"
    assert index("a%20b.jpg").find("a%20b.jpg").path == "a%20b.jpg"


def test_unicode_is_compared_in_one_form() -> None:
    assert index("Bäume.jpg").find("Ba\u0308ume.jpg").path == "Bäume.jpg"


def test_the_longest_common_end_decides() -> None:
    images = index("train/a.jpg", "val/a.jpg")
    assert images.find("x/train/a.jpg").path == "train/a.jpg"
    assert images.find("val/a.jpg").path == "val/a.jpg"
    with pytest.raises(NoMatch, match="several"):
        images.find("a.jpg")


def test_two_names_for_one_image_are_told_apart() -> None:
    images = index("a.jpg")
    images.find("train/a.jpg")
    with pytest.raises(NoMatch, match="already goes with"):
        images.find("val/a.jpg")


@pytest.mark.parametrize(
    "name", [None, 7, "", "  ", "missing.jpg", "x" * 5000, {"a": 1}, "..", "/"]
)
def test_what_is_no_name_of_an_image(name: object) -> None:
    with pytest.raises(NoMatch):
        index("a.jpg").find(name)


def test_label_files_by_stem_or_by_whole_name() -> None:
    images = index("sub/a.jpg", "b.jpg", "b.png", "c.tar.jpg")
    assert images.find_label_file("sub/a.png").path == "sub/a.jpg"
    assert images.find_label_file("a.png").path == "sub/a.jpg"
    assert images.find_label_file("b.jpg.png").path == "b.jpg"
    assert images.find_label_file("b.png.png").path == "b.png"
    assert images.find_label_file("c.tar.png").path == "c.tar.jpg"
    with pytest.raises(NoMatch, match="several"):
        images.find_label_file("b.json")


def test_label_files_of_pages() -> None:
    pages = [ImageRecord(k + 1, "stack.tif", "", 4, 4, page=k) for k in range(3)]
    images = ImageIndex([*pages, ImageRecord(9, "scan_p0002.png", "", 4, 4)])
    assert images.find_label_file("stack_p0002.png").page == 2
    assert images.find_label_file("scan_p0002.png").path == "scan_p0002.png"
