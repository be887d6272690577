"""Suggesting in the background, as the inference thread does it step by step, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.errors import Cancelled
from infosam_studio.resource_files import resource_path
from infosam_studio.ui.inference_messages import ImageJob
from infosam_studio.ui.workers_suggest import Found, Labelled, SuggestJob, Target

pytestmark = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)
SIZE, RADIUS = 256, 6
PLACES = ((40, 40), (120, 60), (200, 90), (60, 150), (150, 200))


def image(folder: Path, number: int) -> tuple[ImageJob, list[np.ndarray]]:
    """A file with five small bright dots, and their masks."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    picture = np.random.default_rng(number).normal(60, 6, (SIZE, SIZE, 3))
    truth = [(x - cx) ** 2 + (y - cy) ** 2 <= RADIUS**2 for cx, cy in PLACES]
    for one in truth:
        picture[one] = (210, 150, 90)
    path = folder / f"{number}.png"
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)
    return ImageJob(number, path, f"{number:064d}", SIZE, SIZE), truth


@pytest.fixture
def job(tmp_path: Path) -> SuggestJob:
    first, truth = image(tmp_path, 1)
    second, _ = image(tmp_path, 2)
    rles = tuple(masks.encode(mask) for mask in truth)
    known = Labelled(first, rles, (1,) * len(rles), complete=True)
    return SuggestJob([known], [Target(second), Target(first, rles)])


def test_small_objects_are_looked_at_from_near_and_progress_is_told(job: SuggestJob) -> None:
    from infosam_studio.segmentation.checkpoints import load_checkpoint
    from infosam_studio.segmentation.predictor import Predictor

    predictor = Predictor(load_checkpoint("starter"))
    told = [job.step(predictor, lambda: False)]
    while not told[-1].finished:
        told.append(job.step(predictor, lambda: False))
    assert len(told) > 3 + 2  # more steps than images: views of them
    shares = [one.done / one.of for one in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    found = [one.result for one in told if isinstance(one.result, Found)]
    assert [one.image_id for one in found] == [2, 1]
    assert not [s for s in found[1].suggestions if s.confidence >= 0.5]  # all there already


def test_a_cancelled_run_stops_within_its_step(job: SuggestJob) -> None:
    from infosam_studio.segmentation.checkpoints import load_checkpoint
    from infosam_studio.segmentation.predictor import Predictor

    predictor = Predictor(load_checkpoint("starter"))
    while job.step(predictor, lambda: False).done < 400:
        pass  # everything is learnt now
    job.cancelled = True
    with pytest.raises(Cancelled):
        job.step(predictor, lambda: False)
