"""Effort over time: whose work counts, where versions changed, how much of first masks was kept."""

from __future__ import annotations

import numpy as np
import pytest

from infosam_studio.annotation import masks
from infosam_studio.annotation.effort import Change, effort_of, first_iou, running_mean
from infosam_studio.annotation.model import ObjectRecord

MASK = masks.encode(np.ones((8, 8), dtype=bool))


def made(number: int, clicks: int, *, adapter: str | None = None, **fields: object) -> ObjectRecord:
    return ObjectRecord(
        id=number,
        image_id=1,
        class_id=1,
        mask=MASK,
        clicks=clicks,
        seconds=2.0 * clicks,
        adapter=adapter,
        **fields,  # type: ignore[arg-type]
    )


def test_only_work_counts_and_versions_are_marked() -> None:
    effort = effort_of(
        [
            made(3, 2, adapter="v1", extra={"first_iou": 0.9}),
            made(1, 4),
            made(2, 0, source="import"),
            made(4, 0, adapter="v1", extra={"suggested": 0.8}),
            made(5, 0, source="suggestion"),
            made(6, 3),
        ]
    )
    assert effort.clicks == (4, 2, 0, 3)
    assert effort.seconds == (8, 4, 0, 6)
    assert effort.changes == (Change(1, "v1"), Change(3, "base model"))
    assert effort.known_first() == [(1, 0.9)]
    assert effort.suggested == 1


def test_corrective_iou_is_the_share_that_was_kept() -> None:
    first, kept = np.zeros((8, 8), dtype=bool), np.zeros((8, 8), dtype=bool)
    first[:, :4], kept[:, :2] = True, True
    assert first_iou(masks.encode(first), masks.encode(kept)) == 0.5
    assert first_iou(masks.encode(kept), masks.encode(kept)) == 1.0


def test_running_mean() -> None:
    assert running_mean([4, 2, 0, 3], 2) == pytest.approx([4, 3, 1, 1.5])
    assert running_mean([], 5) == []
