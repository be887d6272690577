"""Objects that chose the weights do not judge them, where there are enough of both."""

from __future__ import annotations

import numpy as np

from infosam_studio.adaptation.holdout import MOST_CHOOSING, Holdout, divide_validation
from infosam_studio.adaptation.samples import Sample
from infosam_studio.annotation import masks


def objects(images: int, each: int, *, trusted: bool = True) -> list[Sample]:
    mask = np.ones((8, 8), dtype=bool)
    return [
        Sample(100 * image + number, image, 1, masks.encode(mask), trusted, 64)
        for image in range(images)
        for number in range(each)
    ]


def ids(samples: tuple[Sample, ...]) -> set[int]:
    return {sample.object_id for sample in samples}


def images(samples: tuple[Sample, ...]) -> set[int]:
    return {sample.image_id for sample in samples}


def check(holdout: Holdout, samples: list[Sample]) -> None:
    assert ids(holdout.choosing) | ids(holdout.judging) == {s.object_id for s in samples}
    assert not ids(holdout.choosing) & ids(holdout.judging)
    assert holdout.note is None


def test_by_image_where_enough_remain_to_prove_something() -> None:
    samples = objects(5, 6)
    holdout = divide_validation(samples)
    check(holdout, samples)
    assert holdout.apart == "images"
    assert not images(holdout.choosing) & images(holdout.judging)
    assert len(images(holdout.judging)) >= 3
    assert len(holdout.judging) >= 10
    assert ids(divide_validation(samples[::-1]).choosing) == ids(holdout.choosing)


def test_by_object_where_images_are_few() -> None:
    samples = objects(2, 12)
    holdout = divide_validation(samples)
    check(holdout, samples)
    assert holdout.apart == "objects"
    assert 4 <= len(holdout.choosing) <= MOST_CHOOSING
    assert len(holdout.judging) >= 10


def test_one_group_and_a_note_where_objects_are_few() -> None:
    samples = objects(3, 3)
    holdout = divide_validation(samples)
    assert holdout.choosing == holdout.judging == tuple(samples)
    assert holdout.apart == ""
    assert holdout.note is not None
    assert "too few" in holdout.note


def test_corrected_objects_are_left_for_the_gate() -> None:
    corrected, untouched = objects(3, 4), objects(8, 5, trusted=False)[15:]
    holdout = divide_validation([*corrected, *untouched])
    assert sum(sample.trusted for sample in holdout.judging) >= 10


def test_tasks_nobody_has() -> None:
    samples = objects(5, 6)
    assert divide_validation(samples, chooses=False) == Holdout((), tuple(samples), "images")
    assert divide_validation(samples, judges=False).judging == ()
    assert divide_validation([]).note is None
    tiny = [Sample(1, 1, 1, samples[0].mask, True, 5)]
    assert divide_validation(tiny).choosing == ()
