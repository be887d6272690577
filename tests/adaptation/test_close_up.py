"""Small objects of large images train and are tested in the region that the window takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from infosam_studio.adaptation.close_up import count_images, with_regions
from infosam_studio.adaptation.evaluation import evaluate_objects
from infosam_studio.adaptation.sampler import Item
from infosam_studio.adaptation.samples import TrainingSet, collect
from infosam_studio.annotation import masks
from infosam_studio.annotation.project import Project
from infosam_studio.annotation.regions import region_around
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.clicks import replay_many
from infosam_studio.segmentation.predictor import Predictor
from tests.adaptation.tiny import project_of, tiny_sam

INPUT = 32  # pixels: the images of 128 are large for such a model


@pytest.fixture
def data(tmp_path: Path) -> TrainingSet:
    with Project.open(project_of(tmp_path, 5), read_only=True) as project:
        return collect(project)


def test_small_objects_get_the_region_of_predict(data: TrainingSet) -> None:
    seen = with_regions(data, INPUT)
    moved = [s for s in (*seen.train, *seen.validation) if s.region_id is not None]
    assert moved
    whole = {s.object_id: s for s in (*data.train, *data.validation)}
    for sample in moved:
        frame, before = seen.images[sample.frame_id], whole[sample.object_id]
        x, y, w, h = masks.bbox(before.mask)
        assert frame.region == region_around((x, y, x + w, y + h), 128, 96, INPUT)
        assert frame.region is not None
        assert (sample.mask.height, sample.mask.width) == (frame.height, frame.width)
        assert masks.area(sample.mask) == before.area
        image = data.images[sample.image_id]
        x0, y0, x1, y1 = frame.region
        assert np.array_equal(frame.read(), image.read()[y0:y1, x0:x1])
        assert frame.identity != image.identity
        assert Item(sample, 0).key == (frame.id, 0)
    assert len({frame.identity for frame in seen.images.values()}) == len(seen.images)


def test_split_and_images_stay_what_they_were(data: TrainingSet) -> None:
    seen = with_regions(data, INPUT)
    assert count_images(seen.train) == len(data.images_of(data.train))
    assert [s.object_id for s in seen.train] == [s.object_id for s in data.train]
    assert [s.image_id for s in seen.validation] == [s.image_id for s in data.validation]


def test_models_that_see_the_whole_image_anyway_change_nothing(data: TrainingSet) -> None:
    assert with_regions(data, 1024) == data


def test_evaluation_is_that_of_the_region(data: TrainingSet) -> None:
    """The same clicks on the embedding that `predict --region auto` makes."""
    predictor = Predictor(LoadedModel.from_sam(tiny_sam()))
    size = int(predictor.sam.image_encoder.img_size)
    seen = with_regions(data, INPUT)
    moved = [s for s in seen.train if s.region_id is not None][:3]
    scores = evaluate_objects(predictor, list(seen.images.values()), moved, clicks=3)
    assert size >= INPUT
    for sample, score in zip(moved, sorted(scores, key=lambda one: one.object_id), strict=True):
        image, frame = data.images[sample.image_id], seen.images[sample.frame_id]
        embedding = predictor.encode(image.read(), image.identity, region=frame.region)
        whole = next(s for s in data.train if s.object_id == sample.object_id)
        (replay,) = replay_many(predictor, embedding, [masks.decode(whole.mask)], clicks=3)
        assert score.ious == pytest.approx(replay.ious, abs=0.02)
        assert score.image_id == sample.image_id
