"""The shipped starter on real images: half precision and caches change next to nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation.checkpoints import load_checkpoint, registry
from infosam_studio.segmentation.clicks import mask_iou, replay_many
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import ImageIdentity, Prompt

CLICKS = 24
DOMAINS = ("wbc", "skin_lesion", "nuclei", "coffee_leaf")


@pytest.fixture(scope="module")
def predictors() -> dict[str, Predictor]:
    if registry()["starter"].path is None:
        pytest.skip("the starter model is not in this working tree")
    return {
        name: Predictor(load_checkpoint("starter"), precision=name) for name in ("fp32", "bf16")
    }


def image_and_masks(data_dir: Path, domain: str) -> tuple[np.ndarray, list[np.ndarray]]:
    path = sorted((data_dir / domain / "images").iterdir())[0]
    labels = np.asarray(Image.open(data_dir / domain / "masks" / f"{path.stem}.png"))
    numbers = [n for n in np.unique(labels) if n and np.count_nonzero(labels == n) >= 20]
    image = np.asarray(Image.open(path).convert("RGB"))
    return image, [labels == number for number in numbers[:4]]


@pytest.mark.parametrize("domain", DOMAINS)
def test_half_precision_gives_the_same_masks(
    data_dir: Path, predictors: dict[str, Predictor], domain: str
) -> None:
    image, _ = image_and_masks(data_dir, domain)
    height, width = image.shape[:2]
    rng = np.random.default_rng(0)
    clicks = [(rng.integers(width), rng.integers(height), 1) for _ in range(CLICKS)]
    prompts = [Prompt.from_clicks([click]) for click in clicks]
    masks = {}
    for name, predictor in predictors.items():
        embedding = predictor.encode(image, ImageIdentity(domain))
        answers = predictor.predict_batch(embedding, prompts, multimask=False)
        masks[name] = [answer.masks[0] for answer in answers]
    ious = [mask_iou(one, two) for one, two in zip(masks["fp32"], masks["bf16"], strict=True)]
    assert np.mean(ious) > 0.99


@pytest.mark.parametrize("name", ["leaf.jpg", "metal.png"])
def test_half_precision_costs_a_thousandth_of_the_embedding(
    predictors: dict[str, Predictor], name: str
) -> None:
    """A last layer that gives bf16 alone would cost three times as much."""
    image = np.asarray(Image.open(resource_path("samples", "images", name)).convert("RGB"))
    full, low = (
        predictors[precision].encode(image, ImageIdentity(name)).features
        for precision in ("fp32", "bf16")
    )
    assert (low - full).abs().mean() < 0.0015 * full.abs().mean()


@pytest.mark.parametrize("domain", ["wbc", "skin_lesion"])
def test_clicks_find_real_objects(
    data_dir: Path, predictors: dict[str, Predictor], domain: str
) -> None:
    image, targets = image_and_masks(data_dir, domain)
    predictor = predictors["fp32"]
    embedding = predictor.encode(image, ImageIdentity(domain))
    results = replay_many(predictor, embedding, targets, clicks=5)
    for result, target in zip(results, targets, strict=True):
        assert result.mask.shape == target.shape
        x, y, label = result.clicks[0]
        assert target[y, x]
        assert label == 1
    assert max(max(result.ious) for result in results) > 0.3
