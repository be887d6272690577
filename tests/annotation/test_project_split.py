"""The sticky split."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_helpers import make_object, write_images
from hypothesis import given
from hypothesis import strategies as st

from infosam_studio.annotation.project import Project
from infosam_studio.annotation.split import Labelled, assign_split


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.booleans())
def test_one_in_four_measures_and_nothing_ever_changes_sides(
    batches: list[int], backwards: bool
) -> None:
    known: dict[int, Labelled] = {}
    for size in batches:
        fresh = [Labelled(k, f"{k:064x}", 0, None) for k in range(len(known), len(known) + size)]
        known |= {image.id: image for image in fresh}
        before = {k: image.split for k, image in known.items() if image.split}
        order = sorted(known, reverse=backwards)
        parts = assign_split(known[k] for k in order)

        assert parts.keys() == {image.id for image in fresh}
        known |= {k: Labelled(k, known[k].sha256, 0, part) for k, part in parts.items()}
        assert all(known[k].split == part for k, part in before.items())
        held = sum(image.split == "val" for image in known.values())
        assert held == len(known) // 4


def test_the_order_of_names_does_not_decide() -> None:
    images = [Labelled(k, f"{k:064x}", 0, None) for k in range(400)]
    parts = assign_split(images)
    held = [k for k, part in parts.items() if part == "val"]

    assert parts == assign_split(reversed(images))
    assert len(held) == 100
    # Not every fourth name (a film's frames), and from all over the list.
    assert {k % 4 for k in held} == {0, 1, 2, 3}
    assert 30 < sum(k < 200 for k in held) < 70


def test_copies_go_to_one_side() -> None:
    images = [Labelled(k, f"{k // 2:064x}", 0, None) for k in range(80)]
    parts = assign_split(images)

    assert all(parts[k] == parts[k + 1] for k in range(0, 80, 2))
    assert assign_split([Labelled(1, "a", 0, "val"), Labelled(2, "a", 0, None)]) == {2: "val"}
    # Pages of a file are images of their own, and unread files are not all the same.
    pages = assign_split(Labelled(k, "a", k, None) for k in range(8))
    unread = assign_split(Labelled(k, "", 0, None) for k in range(8))
    assert list(pages.values()).count("val") == list(unread.values()).count("val") == 2


@pytest.fixture
def many(tmp_path: Path) -> Project:
    write_images(tmp_path / "images", 12)
    project = Project.for_path(tmp_path / "images")
    project.scan()
    project.add_class("cell")
    return project


def split_of(project: Project) -> dict[int, str]:
    return {image.id: image.split for image in project.images() if image.split}


def test_only_labelled_images_take_part(many: Project) -> None:
    many.add_objects([make_object(1, 1), make_object(2, 1), make_object(3, 1)])
    many.add_objects([make_object(4, 1, source="suggestion"), make_object(5, 1, excluded=True)])
    many.add_objects([make_object(6, 1)])
    many.update_image(6, excluded=True)
    many.ensure_split()
    assert split_of(many) == {1: "train", 2: "train", 3: "train"}

    many.add_objects([make_object(7, 1)])
    many.ensure_split()
    assert split_of(many) == {1: "train", 2: "train", 3: "train", 7: "val"}
    many.close()


def test_the_split_outlives_undo_restart_and_relabelling(many: Project) -> None:
    for image_id in range(1, 9):
        many.add_objects([make_object(image_id, 1)])
        many.ensure_split()
    before = split_of(many)
    assert list(before.values()).count("val") == 2
    held = next(k for k, part in before.items() if part == "val")
    many.delete_objects([o.id for o in many.objects(held)])
    many.ensure_split()
    while many.undo():
        pass
    many.close()

    with Project.open(many.folder) as again:
        assert split_of(again) | before == split_of(again)
        assert again.image(held).split == "val"
        assert len(again.history()) > 8
