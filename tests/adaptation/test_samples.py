"""Which objects train, which validate, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infosam_studio.adaptation.samples import (
    Sample,
    check_files,
    collect,
    evaluation_objects,
)
from infosam_studio.adaptation.targets import make_target, union_sample
from infosam_studio.adaptation.views import turned
from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from tests.adaptation.tiny import project_of


def test_split_is_the_projects(tmp_path: Path) -> None:
    with Project.open(project_of(tmp_path, 5), read_only=True) as project:
        data = collect(project)
        assert len(data.images_of(data.train)) == 4
        assert len(data.images_of(data.validation)) == 1
        assert data.unproven is None
        few = collect(project, train_images=2, seed=1)
        assert len(few.images_of(few.train)) == 2
        assert few.validation == data.validation
        assert few.digest() != data.digest()
        assert collect(project).digest() == data.digest()
        assert len(collect(project, split="all").validation) == 15
        assert len(collect(project, split="val").validation) == 3


def test_below_four_images_objects_are_held_out(tmp_path: Path) -> None:
    with Project.open(project_of(tmp_path, 2), read_only=True) as project:
        data = collect(project)
    assert data.unproven is not None
    assert len(data.train) + len(data.validation) == 6
    assert len(data.validation) == 2
    held = {sample.object_id for sample in data.validation}
    assert not held & {sample.object_id for sample in data.train}


def test_one_label_and_none(tmp_path: Path) -> None:
    folder = project_of(tmp_path / "one", 1, objects=1)
    with Project.open(folder) as project:
        data = collect(project)
        assert len(data.train) == 1
        assert data.validation == ()
        assert data.unproven is not None
        assert "only one" in data.unproven
        project.delete_objects([data.train[0].object_id])
        with pytest.raises(StudioError, match="no labelled object"):
            collect(project)


def test_left_out_objects_do_not_train(tmp_path: Path) -> None:
    folder = project_of(tmp_path, 1, objects=4)
    with Project.open(folder) as project:
        first, second, *_ = project.objects()
        project.update_object(first.id, excluded=True)
        project.update_object(second.id, source="suggestion")
        empty = np.zeros((96, 128), dtype=bool)
        image, disk = project.images()[0], project.classes()[0]
        project.add_objects([ObjectRecord(0, image.id, disk.id, masks.encode(empty))])
        data = collect(project)
        assert len(data.train) + len(data.validation) == 2
        assert data.skipped == ("1 empty masks were left out.",)
        project.update_image(image.id, excluded=True)
        with pytest.raises(StudioError, match="no labelled object"):
            collect(project)


def test_missing_and_changed_files_are_left_out_with_a_reason(tmp_path: Path) -> None:
    folder = project_of(tmp_path, 6)
    with Project.open(folder, read_only=True) as project:
        data = collect(project)
        train = [image.path for image in data.images_of(data.train)]
        train[0].unlink()
        Image.fromarray(np.zeros((96, 128, 3), dtype=np.uint8)).save(train[1])
        left = check_files(data)
        assert len(left.images_of(left.train)) == len(train) - 2
        assert any(train[0].name in text for text in left.skipped)
        assert any("has changed" in text for text in left.skipped)
        for path in (tmp_path / "images").glob("*.png"):
            path.unlink()
        with pytest.raises(StudioError, match="No image"):
            check_files(data)


def sample(key: int, image: int, *, trusted: bool = True, area: int = 400) -> Sample:
    side = int(area**0.5)
    mask = np.zeros((40, 40), dtype=bool)
    mask[:side, :side] = True
    return Sample(key, image, 1, masks.encode(mask), trusted, int(mask.sum()))


def test_corrected_objects_count_first() -> None:
    corrected = [sample(n, n % 3) for n in range(12)]
    untouched = [sample(100 + n, n % 3, trusted=False) for n in range(12)]
    small = [sample(200, 0, area=9)]
    chosen, too_small, used = evaluation_objects(
        [*untouched, *corrected, *small], 30, trusted_first=10
    )
    assert chosen == corrected
    assert (too_small, used) == (1, False)
    chosen, _, used = evaluation_objects([*untouched, *corrected[:4]], 6, trusted_first=10)
    assert used
    assert set(corrected[:4]) <= set(chosen)
    assert len(chosen) == 6


def test_limit_takes_objects_from_all_images() -> None:
    many = [sample(n, 1) for n in range(20)] + [sample(50, 2), sample(60, 3)]
    chosen, _, _ = evaluation_objects(many, 4)
    assert {s.image_id for s in chosen} == {1, 2, 3}


@pytest.mark.parametrize("view", range(8))
def test_targets_follow_the_view(view: int) -> None:
    mask = np.zeros((60, 100), dtype=bool)
    mask[10:20, 70:95] = True
    one = Sample(1, 1, 1, masks.encode(mask), True, int(mask.sum()))
    target = make_target(one, view, image_size=128, side=64)
    again = turned(mask, view)
    scale = 64 / max(again.shape)
    assert target.inside == (round(again.shape[0] * scale), round(again.shape[1] * scale))
    assert float(target.cover.sum()) == pytest.approx(mask.sum() * scale**2, rel=0.02)
    x, y = target.to_input(target.first_click)
    assert target.hard[target.first_click[1], target.first_click[0]]
    x0, y0, x1, y1 = target.box.tolist()
    assert x0 - 1 <= x <= x1 + 1
    assert y0 - 1 <= y <= y1 + 1


@pytest.mark.parametrize("shape", [(1, 1), (3000, 7), (40, 4000)])
def test_extreme_objects_have_targets(shape: tuple[int, int]) -> None:
    for mask in (np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)):
        mask[shape[0] // 2, shape[1] // 2] = True
        one = Sample(1, 1, 1, masks.encode(mask), True, int(mask.sum()))
        target = make_target(one, 0, image_size=128, side=64)
        assert target.hard.any()
        assert target.visible.sum() == target.inside[0] * target.inside[1]


def test_union_of_an_image() -> None:
    together = union_sample([sample(1, 1, area=16), sample(2, 1, area=100)])
    assert together.area == 100
