"""Masks of everything: the grid, the filters, the removal of duplicates."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infosam_studio.annotation import masks
from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.everything import (
    EverythingOptions,
    everything,
    grid,
    stability,
)
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import ImageIdentity

ANYTHING = EverythingOptions(
    points_per_side=4, min_score=-9, min_stability=0, max_iou=0.9, min_area=1, max_share=1
)


def test_the_grid_covers_the_image_evenly() -> None:
    points = grid((60, 90), 6)
    assert points.shape == (24, 2)
    assert points.min(axis=0).tolist() == [7.0, 7.0]
    assert points.max(axis=0).tolist() == [82.0, 52.0]
    assert grid((1, 500), 4).shape == (4, 2)


def test_stability_is_how_little_a_mask_depends_on_its_threshold() -> None:
    sharp = torch.full((8, 8), -9.0)
    sharp[2:5, 2:5] = 9.0
    soft = torch.zeros(8, 8)
    assert stability(torch.stack([sharp, soft])[None]).tolist() == [[1.0, 0.0]]


def test_proposals_are_sound_and_differ(model: LoadedModel, picture: NDArray[np.uint8]) -> None:
    predictor = Predictor(model)
    embedding = predictor.encode(picture, ImageIdentity("picture"))
    found = everything(predictor, embedding, options=ANYTHING)
    assert found
    for proposal in found:
        assert (proposal.mask.height, proposal.mask.width) == picture.shape[:2]
        assert masks.area(proposal.mask) >= 1
    ious = [masks.iou(a.mask, b.mask) for a in found for b in found if a is not b]
    assert max(ious, default=0) < 0.97  # compared at low resolution, so not to the digit
    assert len(everything(predictor, embedding, options=ANYTHING, single_mask=True)) <= 12
    strict = EverythingOptions(points_per_side=2, min_score=2)
    assert everything(predictor, embedding, options=strict) == []


def test_it_stops_when_asked_to(model: LoadedModel, picture: NDArray[np.uint8]) -> None:
    predictor = Predictor(model)
    embedding = predictor.encode(picture, ImageIdentity("picture"))
    with pytest.raises(Cancelled):
        everything(predictor, embedding, options=ANYTHING, cancelled=lambda: True)
