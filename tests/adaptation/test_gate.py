"""The gate's arithmetic: what counts, when it is proven, when a version is refused."""

from __future__ import annotations

import numpy as np
import pytest

from infosam_studio.adaptation.gate import (
    ObjectScore,
    clustered_interval,
    decide,
    per_class,
    summary,
)


def scores(
    firsts: list[float], images: list[int] | None = None, *, step: float = 0.1
) -> list[ObjectScore]:
    """Objects whose IoU starts at ``firsts`` and grows by ``step`` a click, up to 0.95."""
    places = images or list(range(len(firsts)))
    return [
        ObjectScore(
            number,
            image,
            1 + number % 2,
            tuple(min(0.95, first + step * click) for click in range(8)),
            0.7,
        )
        for number, (first, image) in enumerate(zip(firsts, places, strict=True))
    ]


def test_summary_is_in_clicks() -> None:
    out = summary(scores([0.5, 0.9]))
    assert out["miou_at"][:2] == [0.7, 0.775]
    assert out["noc85"] == (5 + 1) / 2
    assert out["noc90"] == (5 + 1) / 2
    assert out["box_miou"] == 0.7
    assert summary([]) == {}
    assert per_class(scores([0.5, 0.9]), {1: "cell"})["cell"]["objects"] == 1


def test_clear_gain_on_enough_images_is_proven() -> None:
    before = scores([0.4] * 12, [n // 3 for n in range(12)])
    after = scores([0.7] * 12, [n // 3 for n in range(12)])
    decision = decide(before, after)
    assert decision.promoted
    assert decision.proven
    assert decision.figure == "noc85"
    assert decision.difference == pytest.approx(3.0)
    assert decision.interval == (3.0, 3.0)
    assert (decision.objects, decision.images) == (12, 4)


def test_interval_with_a_loss_is_refused_when_there_is_enough_to_know() -> None:
    images = [n // 3 for n in range(12)]
    before = scores([0.5] * 12, images)
    # Two images gain a lot, two lose almost as much.
    after = scores([0.9] * 6 + [0.2] * 6, images)
    decision = decide(before, after)
    assert decision.difference > 0
    assert decision.interval is not None
    assert decision.interval[0] < 0
    assert not decision.promoted
    assert "stays unused" in decision.reason


def test_few_images_promote_as_unproven() -> None:
    decision = decide(scores([0.4, 0.5], [1, 2]), scores([0.6, 0.5], [1, 2]))
    assert decision.promoted
    assert not decision.proven
    assert "too few" in decision.reason


def test_held_out_objects_never_prove() -> None:
    before, after = scores([0.4] * 12), scores([0.7] * 12)
    assert decide(before, after).proven
    decision = decide(before, after, held_out=True)
    assert decision.promoted
    assert not decision.proven


def test_loss_and_tie_are_refused() -> None:
    same = scores([0.5] * 4)
    assert not decide(same, same).promoted
    assert not decide(same, scores([0.2] * 4)).promoted
    assert not decide([], []).promoted


def test_tie_in_clicks_on_few_objects_is_broken_by_early_iou() -> None:
    def two(first: float) -> list[ObjectScore]:
        return [
            ObjectScore(number, number, 1, (first, 0.5, 0.9, *[0.9] * 5), None)
            for number in range(2)
        ]

    better = decide(two(0.3), two(0.45))
    assert better.promoted
    assert not better.proven
    assert better.figure == "iou"
    assert better.difference == pytest.approx(0.03)
    assert "IoU over the first 5 clicks" in better.reason
    assert not decide(two(0.45), two(0.3)).promoted

    # Twelve objects are enough for clicks to tell: there a tie stays a tie.
    def many(first: float) -> list[ObjectScore]:
        row = (first, 0.5, 0.9, *[0.9] * 5)
        return [ObjectScore(number, number // 3, 1, row, None) for number in range(12)]

    assert decide(many(0.3), many(0.45)).figure == "noc85"
    assert not decide(many(0.3), many(0.45)).promoted


def test_saturated_noc_falls_back_to_early_iou() -> None:
    before, after = scores([0.2] * 10, step=0.01), scores([0.3] * 10, step=0.01)
    decision = decide(before, after)
    assert decision.figure == "iou"
    assert decision.difference == pytest.approx(0.1)
    assert decision.promoted


def test_pairs_are_matched_by_object_not_by_order() -> None:
    before, after = scores([0.2, 0.6, 0.8]), scores([0.2, 0.6, 0.8])
    assert decide(before, after[::-1]).difference == 0
    assert decide(before, after[:2]).objects == 2


def test_bootstrap_resamples_whole_images() -> None:
    # One image has ninety alike objects, nine images one each: nearly all spread is between
    # images, which a bootstrap over objects would not see.
    gains = np.concatenate([np.ones(90), np.zeros(9)])
    clusters = np.concatenate([np.zeros(90), np.arange(1, 10)]).astype(np.int64)
    low, high = clustered_interval(gains, clusters)
    assert low == 0.0
    assert high > 0.9
    assert clustered_interval(gains, clusters) == (low, high)
    spread = clustered_interval(gains, np.arange(99))
    assert spread[0] > 0.8


def test_reason_claims_no_more_than_there_is() -> None:
    two = decide(scores([0.4] * 2), scores([0.5] * 2))
    assert two.interval is not None
    assert "interval" not in two.reason
    equal = decide(scores([0.4] * 12), scores([0.4] * 12))
    assert "as many clicks per object as before" in equal.reason
