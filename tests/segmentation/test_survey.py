"""Suggestions from near where the accepted objects are small, with the real starter on dots."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from infosam_studio.annotation import masks
from infosam_studio.annotation.masks import Rle
from infosam_studio.errors import Cancelled
from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation.candidates import Candidates, cut_off
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.close_ups import (
    LARGE_ENOUGH,
    MOST_VIEWS,
    OVERLAP,
    View,
    side_for,
    sides_for,
    views,
    whole_side,
)
from infosam_studio.segmentation.fits import Judge
from infosam_studio.segmentation.places import warm_places
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import ImageIdentity
from infosam_studio.segmentation.sharpening import Sharpening
from infosam_studio.segmentation.suggesting import (
    Suggestion,
    SuggestOptions,
    alike,
    best_of,
    look_for,
)
from infosam_studio.segmentation.survey import Known, Search, Study, search

needs_starter = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)
SIZE = 256
RADIUS = 6


def dots(seed: int, count: int = 12) -> tuple[np.ndarray, list[np.ndarray]]:
    """Small bright discs on dark ground, uint8 [256, 256, 3], and their masks."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    picture = random.normal(60, 6, (SIZE, SIZE, 3))
    places: list[np.ndarray] = []
    while len(places) < count:
        place = random.integers(2 * RADIUS, SIZE - 2 * RADIUS, 2)
        if all(np.hypot(*(place - other)) > 4 * RADIUS for other in places):
            places.append(place)
    found = [(x - cx) ** 2 + (y - cy) ** 2 <= RADIUS**2 for cx, cy in places]
    for inside in found:
        picture[inside] = random.normal((210, 150, 90), 6, (int(inside.sum()), 3))
    return np.clip(picture, 0, 255).astype(np.uint8), found


def hits(found: list[Suggestion], truth: list[np.ndarray]) -> int:
    """How many true dots have a suggestion with IoU 0.5 or more."""
    shown = [one.mask for one in found if one.confidence >= 0.5]
    wanted = [masks.encode(mask) for mask in truth]
    return sum(any(masks.iou(mask, other) >= 0.5 for mask in shown) for other in wanted)


class Looker:
    """Encodes views of the drawn pictures."""

    def __init__(self) -> None:
        self.predictor = Predictor(load_checkpoint("starter"))
        self.pictures = [dots(seed) for seed in range(2)]

    def encode(self, number: int, view: View) -> Embedding:
        identity = ImageIdentity(f"{number:064d}")
        return self.predictor.encode(self.pictures[number][0], identity, region=view.region)

    def known(self) -> Known:
        truth = [masks.encode(mask) for mask in self.pictures[0][1]]
        return Known((SIZE, SIZE), truth, [1] * len(truth), complete=True)


@pytest.fixture(scope="module")
def looker() -> Looker:
    return Looker()


@pytest.fixture(scope="module")
def study(looker: Looker) -> Study:
    learning = Study([looker.known()])
    while learning.step(looker.predictor, looker.encode):
        pass
    return learning


# distances -------------------------------------------------------------------------------


def test_an_object_is_large_enough_from_its_side() -> None:
    for pixels in (5.0, 12.0, 40.0, 300.0):
        assert LARGE_ENOUGH <= pixels / side_for(pixels) < 2 * LARGE_ENOUGH
    assert side_for(0.5) == side_for(1.0) == 64
    assert whole_side((300, 512)) == 512


def test_sides_are_those_that_objects_need() -> None:
    size = (1000, 1000)
    assert sides_for([(size, [20.0] * 30)]) == (256,)
    assert sides_for([(size, [400.0])]) == (1024,)  # from farther than the whole nothing is seen
    assert sides_for([(size, [20.0] * 500), (size, [100.0])]) == (1024, 256)
    # A few tiny ones are not worth looking from so near everywhere.
    assert sides_for([(size, [20.0] * 95 + [6.0] * 5)]) == (256,)
    assert sides_for([]) == ()


@pytest.mark.parametrize("size", [(520, 696), (256, 256), (2000, 90), (37, 51)])
def test_views_cover_the_image_and_overlap(size: tuple[int, int]) -> None:
    found = views(size, (512, 128))
    for side in {view.side for view in found}:
        seen = np.zeros(size, np.int64)
        own = [view for view in found if view.side == side]
        for view in own:
            x0, y0, x1, y1 = view.box
            seen[y0:y1, x0:x1] += 1
        assert seen.min() >= 1
        starts = sorted({view.box[0] for view in own})
        assert all(b - a <= side * (1 - OVERLAP) + 1 for a, b in pairwise(starts))
    assert [view.side for view in found] == sorted((v.side for v in found), reverse=True)


def test_views_of_small_and_of_huge_images() -> None:
    (only,) = views((60, 60), (512, 256))
    assert only.region is None
    assert only.side == 256
    assert not any(only.open_sides)
    many = views((20_000, 20_000), (4096, 128))
    assert {view.side for view in many} == {4096}
    assert len(many) <= MOST_VIEWS
    larger = views((20_000, 20_000), (128,))  # the only side there is
    assert 100 < len(larger) <= MOST_VIEWS
    assert {view.side for view in larger} == {128}


def test_what_touches_an_open_side_is_cut_off() -> None:
    logits = torch.full((3, 32, 32), -1.0)
    logits[0, 4:8, 0:4] = logits[1, 10:16, 10:16] = logits[2, 12:16, 4:8] = 1.0
    found = Candidates(logits, torch.zeros(3), torch.zeros(3, 4), np.zeros((3, 2)))
    features = torch.zeros(1, 4, 8, 8)
    embedding = Embedding(None, features, (50, 100), None, (64, 128))  # type: ignore[arg-type]
    assert cut_off(found, embedding, (True, False, False, False)).tolist() == [True, False, False]
    assert cut_off(found, embedding, (False, True, True, False)).tolist() == [False] * 3
    # The image is twice as wide as high: it ends in the middle of the square.
    assert cut_off(found, embedding, (False, False, False, True)).tolist() == [False, True, True]


def test_of_overlapping_suggestions_the_best_stays() -> None:
    def one(x0: int, x1: int, confidence: float) -> Suggestion:
        mask = np.zeros((40, 60), bool)
        mask[10:20, x0:x1] = True
        return Suggestion(masks.encode(mask), (x0, 10), confidence, 1)

    best, near, apart, inside = one(5, 20, 0.9), one(6, 22, 0.8), one(40, 50, 0.4), one(8, 12, 0.7)
    assert best_of([near, inside, apart, best], SuggestOptions()) == [best, apart]


def test_what_is_unlike_the_sure_ones_of_its_image_is_less_sure() -> None:
    def square(place: int, side: int, confidence: float, token: tuple[float, float]) -> Suggestion:
        mask = np.zeros((200, 200), bool)
        x, y = 5 + 40 * (place % 4), 5 + 40 * (place // 4)
        mask[y : y + side, x : x + side] = True
        known = np.array(token, np.float32)
        return Suggestion(masks.encode(mask), (x, y), confidence, 1, known)

    usual = [square(n, 10, 0.8, (1.0, 0.01 * n)) for n in range(4)]
    same, huge, other = (
        square(4, 11, 0.6, (1.0, 0.02)),
        square(5, 36, 0.6, (1.0, 0.02)),
        square(6, 10, 0.6, (0.2, 1.0)),
    )
    found = alike([*usual, same, huge, other], SuggestOptions())
    sure = {one.point: one.confidence for one in found}
    assert [sure[one.point] for one in usual] == pytest.approx([0.8] * 4, abs=0.01)
    assert sure[same.point] == pytest.approx(0.6, abs=0.01)
    assert sure.get(huge.point, 0.0) < 0.45
    assert sure.get(other.point, 0.0) < 0.45
    few = [*usual[:2], huge]  # nobody knows yet what is usual here
    assert alike(few, SuggestOptions()) == few


def test_places_lie_apart_and_away_from_open_sides() -> None:
    embedding = Embedding(None, torch.zeros(1, 1, 8, 8), (80, 80), None, (64, 64))  # type: ignore[arg-type]
    heat = np.full((8, 8), 0.9, np.float32)
    everywhere = warm_places(embedding, heat, 0.4)
    apart = warm_places(embedding, heat, 0.4, spacing=0.25)
    assert 4 <= len(apart) < len(everywhere)
    distances = np.linalg.norm(apart[:, None] - apart, axis=2) + 1e9 * np.eye(len(apart))
    assert distances.min() >= 0.25 * 80 - 1
    inner = warm_places(embedding, heat, 0.4, open_sides=(True, False, False, False))
    assert inner[:, 0].min() >= OVERLAP / 2 * 80 - 1 > everywhere[:, 0].min()
    assert not len(warm_places(embedding, heat, 0.95))


def test_the_judge_learns_from_tokens_what_figures_do_not_say() -> None:
    random = np.random.default_rng(0)
    figures, tokens = random.normal(size=(300, 3)), random.normal(size=(300, 20))
    ious = 1 / (1 + np.exp(-3 * tokens[:, 0]))
    views_of = np.arange(300) // 30
    blind = Judge(figures[:250], ious[:250])
    seeing = Judge(figures[:250], ious[:250], tokens[:250], views_of[:250])
    missed = np.abs(blind.expected_iou(figures[250:]) - ious[250:]).mean()
    known = np.abs(seeing.expected_iou(figures[250:], tokens[250:]) - ious[250:]).mean()
    assert known < 0.5 * missed


# with the model --------------------------------------------------------------------------


@needs_starter
def test_learning_that_is_interrupted_ends_where_it_would_have(
    looker: Looker, study: Study
) -> None:
    """A click that arrives, or Cancel, need not wait for the end of a step."""
    again = Study([looker.known()])
    calls, interrupted = 0, 0

    def now_and_then() -> bool:
        nonlocal calls
        calls += 1
        return calls % 20 == 0

    while again.done < again.steps:
        try:
            again.step(looker.predictor, looker.encode, now_and_then)
        except Cancelled:
            interrupted += 1
    assert interrupted > 1
    for side, known in study.knowledge.items():
        np.testing.assert_array_equal(again.knowledge[side].tokens, known.tokens)
        assert again.knowledge[side].areas == known.areas


@needs_starter
def test_small_objects_are_found_from_near(looker: Looker, study: Study) -> None:
    assert list(study.knowledge) == [128]
    assert study.done == study.steps
    picture, truth = looker.pictures[1]
    found = search(
        looker.predictor, lambda view: looker.encode(1, view), study.knowledge, (SIZE, SIZE)
    )
    assert hits(found, truth) >= 0.7 * len(truth)
    shown = [one for one in found if one.confidence >= 0.5]
    assert len(shown) <= 1.3 * len(truth)
    assert all((one.mask.height, one.mask.width) == picture.shape[:2] for one in found)
    assert [one.confidence for one in found] == sorted((o.confidence for o in found), reverse=True)
    for one in shown:
        x, y = one.point
        assert 0 <= x < SIZE
        assert 0 <= y < SIZE


@needs_starter
def test_nothing_is_suggested_where_objects_are(looker: Looker, study: Study) -> None:
    truth = looker.pictures[1][1]
    taken: list[Rle] = [masks.encode(mask) for mask in truth]
    found = search(
        looker.predictor,
        lambda view: looker.encode(1, view),
        study.knowledge,
        (SIZE, SIZE),
        taken=taken,
    )
    assert hits(found, truth) == 0


@needs_starter
def test_a_search_stops_between_clicks_and_goes_on(looker: Looker, study: Study) -> None:
    looking = Search(study.knowledge, (SIZE, SIZE))
    with pytest.raises(Cancelled):
        looking.step(looker.predictor, lambda view: looker.encode(1, view), lambda: True)
    assert looking.done == 0 < looking.steps
    assert looking.step(looker.predictor, lambda view: looker.encode(1, view))
    assert looking.done == 1


@needs_starter
def test_a_view_tells_of_its_part_only(looker: Looker, study: Study) -> None:
    view = views((SIZE, SIZE), (128,))[4]
    assert all(view.open_sides)
    embedding = view.own(looker.encode(1, view))
    assert embedding.image_size == (128, 128)
    assert embedding.region is None
    seen = look_for(looker.predictor, embedding, study.knowledge[128], open_sides=view.open_sides)
    assert (seen.unexplained >= 0).all()
    assert (seen.unexplained < 128).all()
    for one in seen.suggestions:
        x, y, width, _height = masks.bbox(one.mask)
        assert y > 0
        assert x + width < 128


@needs_starter
def test_a_coarse_mask_gets_better_from_near() -> None:
    looker = Looker()
    _, truth = looker.pictures[0]
    inside = truth[3]
    ys, xs = np.nonzero(inside)
    coarse = np.zeros_like(inside)
    coarse[ys.min() - 1 : ys.max() + 2, xs.min() - 1 : xs.max() + 2] = True
    point = (float(xs.mean()), float(ys.mean()))
    one = Suggestion(masks.encode(coarse), point, 0.8, 1)
    assert Sharpening([one], (SIZE, SIZE), 1024).steps == 0
    nearer = Sharpening([one], (SIZE, SIZE), 512)
    with pytest.raises(Cancelled):
        nearer.step(looker.predictor, lambda view: looker.encode(0, view), lambda: True)
    assert nearer.step(looker.predictor, lambda view: looker.encode(0, view))
    assert not nearer.step(looker.predictor, lambda view: looker.encode(0, view))
    made = nearer.suggestions()[0]
    assert (made.point, made.confidence) == (one.point, one.confidence)
    wanted = masks.encode(inside)
    assert masks.iou(made.mask, wanted) > masks.iou(one.mask, wanted) + 0.1
    elsewhere = replace(one, mask=masks.encode(np.roll(coarse, 100, axis=1)))
    another = np.zeros((128, 128), bool)
    another[:9, :9] = True  # is not taken
    assert nearer._better(elsewhere, another, (0, 0)) is elsewhere
