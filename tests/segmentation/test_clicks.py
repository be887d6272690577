"""The click protocol against its reference cases, and a replay against a known predictor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infosam_studio.segmentation.clicks import (
    Click,
    mask_iou,
    next_click,
    noc,
    replay,
    replay_many,
    tight_box,
)
from infosam_studio.segmentation.prompts import Prediction, Prompt

CASES = json.loads(
    (Path(__file__).parents[1] / "data" / "clicks_reference.json").read_text(encoding="utf-8")
)["cases"]
YY, XX = np.mgrid[:96, :112]


def mask_of(expression: str) -> NDArray[np.bool_]:
    return np.asarray(eval(expression, {"yy": YY, "xx": XX, "np": np}), dtype=np.bool_)


def test_reference_has_sixty_cases() -> None:
    assert len(CASES) == 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_reference_click(case: dict[str, Any]) -> None:
    click = next_click(mask_of(case["target"]), mask_of(case["prediction"]))
    assert click == (None if case["click"] is None else tuple(case["click"]))


def brute_force(target: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> Click | None:
    """The rule written out slowly: flood fill and all-pairs distances."""
    best: tuple[int, int, list[tuple[int, int]]] | None = None
    for label, error in ((1, target & ~prediction), (0, prediction & ~target)):
        todo = {(int(y), int(x)) for y, x in zip(*np.nonzero(error), strict=True)}
        while todo:
            seed = min(todo)
            part, stack = [], [seed]
            todo.discard(seed)
            while stack:
                y, x = stack.pop()
                part.append((y, x))
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if (y + dy, x + dx) in todo:
                            todo.discard((y + dy, x + dx))
                            stack.append((y + dy, x + dx))
            if best is None or len(part) > best[0]:
                best = (len(part), label, part)
    if best is None:
        return None
    inside = set(best[2])
    h, w = target.shape
    outside = [(y, x) for y in range(-1, h + 1) for x in range(-1, w + 1) if (y, x) not in inside]
    far = {(y, x): min((y - v) ** 2 + (x - u) ** 2 for v, u in outside) for y, x in inside}
    y, x = min(inside, key=lambda p: (-far[p], p))
    return x, y, best[1]


@pytest.mark.parametrize("seed", range(12))
def test_click_equals_the_rule_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.random((13, 17)) < 0.55
    prediction = rng.random((13, 17)) < 0.35
    assert next_click(target, prediction) == brute_force(target, prediction)


def test_click_accepts_views_that_are_not_contiguous() -> None:
    target = np.zeros((40, 60), dtype=np.bool_)
    target[10:21, 20:41] = True
    assert next_click(target[:, ::-1], np.zeros((40, 60), dtype=np.bool_)) == (24, 15, 1)


def test_masks_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        next_click(np.zeros((3, 4), dtype=np.bool_), np.zeros((4, 3), dtype=np.bool_))


def test_iou_box_and_noc() -> None:
    a, b = np.zeros((8, 8), dtype=np.bool_), np.zeros((8, 8), dtype=np.bool_)
    assert mask_iou(a, b) == 1.0
    a[2:4, 1:5] = True
    b[2:4, 3:7] = True
    assert mask_iou(a, b) == pytest.approx(4 / 12)
    assert tight_box(a) == (1.0, 2.0, 4.0, 3.0)
    with pytest.raises(ValueError, match="empty"):
        tight_box(np.zeros((8, 8), dtype=np.bool_))
    assert noc([0.5, 0.85, 0.9], 0.85) == 2
    assert noc([0.5, 0.6, 0.7], 0.85) == 4


class DiskPredictor:
    """A predictor with a closed formula: every click adds or removes a disk of radius 6.

    With three candidates the radii are 3, 9 and 6 and the scores prefer the last. The mask
    fed back must be the low-resolution logits of the previous answer, which it checks.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.asked: list[tuple[int, bool, bool]] = []

    def disks(self, prompt: Prompt, radius: float) -> NDArray[np.bool_]:
        yy, xx = np.mgrid[: self.size[0], : self.size[1]]
        mask = np.zeros(self.size, dtype=np.bool_)
        if prompt.box is not None:
            x0, y0, x1, y1 = prompt.box
            return np.asarray((xx >= x0) & (xx <= x1) & (yy >= y0) & (yy <= y1))
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            mask[(yy - y) ** 2 + (xx - x) ** 2 <= radius**2] = bool(label)
        return mask

    def predict_batch(
        self, embedding: Any, prompts: Sequence[Prompt], *, multimask: bool
    ) -> list[Prediction]:
        answers = []
        for prompt in prompts:
            self.asked.append((len(prompt.points), multimask, prompt.mask_logits is not None))
            if prompt.mask_logits is not None:
                assert prompt.mask_logits[0, 0] == len(prompt.points) - 1
            radii = (3, 9, 6) if multimask else (6,)
            masks = np.stack([self.disks(prompt, radius) for radius in radii])
            scores = np.array([0.1, 0.2, 0.9][-len(radii) :], dtype=np.float32)
            low = np.full((len(radii), 4, 4), len(prompt.points), dtype=np.float32)
            answers.append(Prediction(masks, scores, low, tuple(range(len(radii)))))
        return answers


def test_replay_follows_the_protocol() -> None:
    yy, xx = np.mgrid[:48, :64]
    target = (yy - 20) ** 2 + (xx - 30) ** 2 <= 9**2
    predictor = DiskPredictor((48, 64))
    result = replay(predictor, None, target, clicks=4)
    assert result.clicks[0] == (30, 20, 1)
    assert predictor.asked[:2] == [(1, True, False), (2, False, True)]
    assert result.best_ious_first == 1.0
    small = (yy - 20) ** 2 + (xx - 30) ** 2 <= 6**2
    assert result.ious[0] == pytest.approx(mask_iou(small, target))
    assert len(result.ious) == 4
    assert result.ious[-1] == pytest.approx(mask_iou(result.mask, target))
    box = np.zeros_like(target)
    box[11:30, 21:40] = True
    assert result.box_iou == pytest.approx(mask_iou(box, target))


def test_an_exact_mask_is_carried_on_without_more_clicks() -> None:
    yy, xx = np.mgrid[:48, :64]
    target = (yy - 20) ** 2 + (xx - 30) ** 2 <= 6**2
    predictor = DiskPredictor((48, 64))
    result = replay(predictor, None, target, clicks=5, box=False)
    assert result.ious == [1.0] * 5
    assert result.clicks == [(30, 20, 1)]
    assert result.box_iou is None
    assert len(predictor.asked) == 1


def test_single_mask_versions_ask_for_one_mask_at_the_first_click() -> None:
    target = np.zeros((48, 64), dtype=np.bool_)
    target[5:20, 5:30] = True
    predictor = DiskPredictor((48, 64))
    result = replay(predictor, None, target, clicks=3, multimask_first=False, box=False)
    assert [asked[1] for asked in predictor.asked] == [False] * 3
    assert result.best_ious_first == result.ious[0]


def test_many_objects_at_once_equal_one_by_one() -> None:
    rng = np.random.default_rng(3)
    targets = []
    for _ in range(20):
        mask = np.zeros((48, 64), dtype=np.bool_)
        y, x = rng.integers(0, 30), rng.integers(0, 40)
        mask[y : y + rng.integers(4, 18), x : x + rng.integers(4, 24)] = True
        targets.append(mask)
    targets.append(np.zeros((48, 64), dtype=np.bool_))
    together = replay_many(DiskPredictor((48, 64)), None, targets, clicks=4)
    for target, result in zip(targets, together, strict=True):
        alone = replay(DiskPredictor((48, 64)), None, target, clicks=4)
        assert alone.ious == result.ious
        assert alone.clicks == result.clicks
        assert alone.box_iou == result.box_iou
    assert together[-1].ious == [1.0] * 4
    assert together[-1].box_iou is None


def test_a_content_user_stops_clicking() -> None:
    yy, xx = np.mgrid[:48, :64]
    target = (yy - 20) ** 2 + (xx - 30) ** 2 <= 12**2
    full = replay(DiskPredictor((48, 64)), None, target, clicks=6, box=False)
    assert full.ious[2] > full.ious[1]
    stopped = replay(
        DiskPredictor((48, 64)), None, target, clicks=6, box=False, stop_at=full.ious[1]
    )
    assert stopped.clicks == full.clicks[:2]
    assert stopped.ious == [*full.ious[:2], *[full.ious[1]] * 4]
