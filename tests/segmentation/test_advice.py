"""The proposal for a machine: the rule on made-up speeds, the measurement on a small grid."""

from __future__ import annotations

import pytest

from infosam_studio.segmentation.advice import (
    RANKING,
    Speed,
    measure,
    propose,
    total_memory,
)
from infosam_studio.segmentation.catalogue import registry

GB = 2**30


def speeds(**encodes: float) -> dict[str, Speed]:
    return {name: Speed(seconds, 0.1) for name, seconds in encodes.items()}


SLOW = speeds(sam_vit_h=60.0, sam_vit_l=30.0, sam_vit_b=9.0, mobile_sam=2.0, starter=0.3)
FAST = speeds(sam_vit_h=0.3, sam_vit_l=0.2, sam_vit_b=0.1, mobile_sam=0.05, starter=0.02)


def test_the_best_model_within_the_limits_is_proposed() -> None:
    advice = propose(SLOW, present={"starter"}, memory_bytes=16 * GB)
    assert (advice.model, advice.now, advice.adaptation) == ("mobile_sam", "starter", "full")
    assert "2.0 s" in advice.reason
    assert "100 ms" in advice.reason
    advice = propose(SLOW, present={"starter", "mobile_sam"}, memory_bytes=16 * GB)
    assert (advice.now, advice.adaptation) == ("mobile_sam", "instant")


def test_a_graphics_card_gets_the_largest_that_fits() -> None:
    everything = set(RANKING)
    large = propose(FAST, present=everything, memory_bytes=24 * GB, device="cuda")
    small = propose(FAST, present=everything, memory_bytes=8 * GB, device="cuda")
    assert (large.model, large.now, large.adaptation) == ("sam_vit_h", "sam_vit_h", "full")
    assert small.model == "sam_vit_l"


def test_slow_clicks_rule_a_model_out() -> None:
    slow_clicks = {name: Speed(1.0, 0.5) for name in RANKING} | {"starter": Speed(1.0, 0.1)}
    assert propose(slow_clicks, present=(), memory_bytes=16 * GB).model == "starter"
    hopeless = {name: Speed(90.0, 3.0) for name in RANKING}
    advice = propose(hopeless, present=(), memory_bytes=1 * GB)
    assert (advice.model, advice.now, advice.adaptation) == ("starter", "starter", "instant")
    assert propose({}, present=(), memory_bytes=GB).model == "starter"


@pytest.mark.filterwarnings("error")
def test_measuring_gives_every_model_a_plausible_speed() -> None:
    found = measure(grid=16)
    assert set(found) == set(RANKING) == set(registry())
    assert all(0 < speed.encode_s < 60 and 0 < speed.click_s < 60 for speed in found.values())
    order = [found[name].encode_s for name in ("sam_vit_b", "sam_vit_l", "sam_vit_h")]
    assert order == sorted(order)
    assert total_memory() > 2**28
