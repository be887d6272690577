"""Suggestions after accepted objects, and what to label next, with the real starter on discs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infosam_studio.annotation import masks
from infosam_studio.errors import Cancelled
from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation.adapter_folder import AdapterFolder
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.fits import CellMap, Judge
from infosam_studio.segmentation.knowledge import Accepted, Knowledge, learn
from infosam_studio.segmentation.next_image import Look, content_of, look, rank, version
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import ImageIdentity, Prompt
from infosam_studio.segmentation.suggesting import suggest

pytestmark = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)
SIZE = 256
SPOTS = (((60, 60), (190, 70), (120, 180)), ((70, 180), (180, 190), (130, 60)))


def draw(spots: tuple[tuple[int, int], ...], seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Bright discs on dark ground, uint8 [256, 256, 3], and their masks."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    picture = random.normal(60, 6, (SIZE, SIZE, 3))
    found = []
    for cx, cy in spots:
        inside = (x - cx) ** 2 + (y - cy) ** 2 <= 30**2
        picture[inside] = random.normal((210, 150, 90), 6, (int(inside.sum()), 3))
        found.append(inside)
    return np.clip(picture, 0, 255).astype(np.uint8), found


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(load_checkpoint("starter"))


@pytest.fixture(scope="module")
def pictures(predictor: Predictor) -> list[tuple[Embedding, list[np.ndarray]]]:
    found = []
    for number, spots in enumerate(SPOTS):
        picture, discs = draw(spots, number)
        identity = ImageIdentity(f"{number:064d}")
        found.append((predictor.encode(picture, identity), discs))
    return found


@pytest.fixture(scope="module")
def knowledge(
    predictor: Predictor, pictures: list[tuple[Embedding, list[np.ndarray]]]
) -> Knowledge:
    embedding, discs = pictures[0]
    return learn(predictor, [Accepted(embedding, discs, [1, 1, 2], complete=True)])


def test_places_of_objects_are_warmer_than_the_rest(
    knowledge: Knowledge, pictures: list[tuple[Embedding, list[np.ndarray]]]
) -> None:
    embedding, discs = pictures[1]
    heat = knowledge.cells.heat(embedding)
    covered = np.any(discs, axis=0).reshape(32, 8, 32, 8).mean(axis=(1, 3))
    assert heat[covered > 0.9].mean() > heat[covered < 0.1].mean() + 0.3


def test_unseen_discs_are_suggested_and_nothing_where_objects_are(
    predictor: Predictor,
    knowledge: Knowledge,
    pictures: list[tuple[Embedding, list[np.ndarray]]],
) -> None:
    embedding, discs = pictures[1]
    found = suggest(predictor, embedding, knowledge)
    kept = [one for one in found if one.confidence >= 0.5]
    best = [max((masks.iou(one.mask, masks.encode(d)) for one in kept), default=0) for d in discs]
    assert sum(iou >= 0.5 for iou in best) >= 2, best
    assert all(one.class_id in (1, 2) for one in found)
    assert [one.confidence for one in found] == sorted((o.confidence for o in found), reverse=True)
    taken = np.any(discs, axis=0)
    left = suggest(predictor, embedding, knowledge, taken=taken)
    for one in left:
        mask = masks.decode(one.mask)
        assert (mask & taken).sum() <= 0.6 * mask.sum()


def test_suggesting_can_be_stopped(
    predictor: Predictor,
    knowledge: Knowledge,
    pictures: list[tuple[Embedding, list[np.ndarray]]],
) -> None:
    with pytest.raises(Cancelled):
        suggest(predictor, pictures[1][0], knowledge, cancelled=lambda: True)


def test_sparse_labels_do_not_make_the_rest_background(
    predictor: Predictor, pictures: list[tuple[Embedding, list[np.ndarray]]]
) -> None:
    embedding, discs = pictures[0]
    known = learn(predictor, [Accepted(embedding, discs[:1], [1])])
    heat = known.cells.heat(embedding)
    for disc in discs[1:]:
        share = disc.reshape(32, 8, 32, 8).mean(axis=(1, 3))
        assert heat[share > 0.9].mean() > 0.5


def test_nothing_to_learn_from_is_refused(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="no accepted object"):
        learn(predictor, [])


def test_the_map_and_the_judge_fit_what_they_are_shown() -> None:
    random = np.random.default_rng(0)
    cells = random.normal(size=(400, 6))
    covered = (cells[:, 0] > 0).astype(float)
    fitted = CellMap(cells, covered)
    features = torch.from_numpy(cells[:16].T.reshape(1, 6, 4, 4).copy()).float()
    embedding = Embedding(None, features, (4, 4), None, (4, 4))  # type: ignore[arg-type]
    guessed = fitted.heat(embedding).ravel() > 0.5
    assert (guessed == (covered[:16] > 0)).mean() > 0.8
    figures = random.normal(size=(200, 4))
    ious = 1 / (1 + np.exp(-2 * figures[:, 0]))
    judge = Judge(figures, ious)
    assert np.abs(judge.expected_iou(figures) - ious).mean() < 0.1


def test_the_class_is_that_of_the_nearest_accepted_objects(knowledge: Knowledge) -> None:
    tokens = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    known = replace(
        knowledge,
        tokens=np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32),
        classes=np.array([4, 4, 7, 7]),
    )
    assert known.class_of(tokens) == [4, 7]


def test_another_version_is_in_place_for_a_moment_only(
    predictor: Predictor, pictures: list[tuple[Embedding, list[np.ndarray]]], tmp_path: Path
) -> None:
    folder = changed_version(predictor, tmp_path)
    embedding = pictures[1][0]
    prompt = Prompt.from_clicks([[70, 180, 1]])
    before = predictor.predict(embedding, prompt, multimask=True).low_res
    with version(predictor, folder):
        during = predictor.predict(embedding, prompt, multimask=True).low_res
    after = predictor.predict(embedding, prompt, multimask=True).low_res
    assert not np.array_equal(before, during)
    assert np.array_equal(before, after)
    seen = look(predictor, embedding, None)
    assert seen.disagreement == 0.0
    with version(predictor, folder):
        adapted = look(predictor, embedding, lambda: embedding)
        assert predictor.adapter_folder is folder
    assert adapted.disagreement > 0.0
    assert predictor.adapter_folder is None


def changed_version(predictor: Predictor, place: Path) -> AdapterFolder:
    """A decoder-only version whose masks differ from the base's."""
    from infosam_studio.adaptation.adapters import make_student
    from infosam_studio.segmentation.adapter_folder import AdapterManifest, write_adapter

    model = load_checkpoint("starter")
    student = make_student(model.sam, recipe="studio", rank=4, first_block=None, seed=0)
    torch.manual_seed(1)
    tensors = {
        name: value + 0.05 * value.abs().mean() * torch.randn_like(value)
        for name, value in student.tensors().items()
    }
    config = student.peft_config
    student.detach()
    manifest = AdapterManifest(
        name="v1",
        checkpoint="starter",
        checkpoint_sha256=predictor.model.info.sha256,
        acts_on_encoder=False,
    )
    return write_adapter(place / "v1", tensors, manifest, config, None)


def test_the_order_takes_each_sign_and_avoids_more_of_the_same() -> None:
    def vector(angle: float) -> np.ndarray:
        return np.array([np.cos(angle), np.sin(angle)])

    looks = {
        1: Look(0.0, 0.1, vector(0.0)),
        2: Look(0.0, 0.1, vector(1.4)),
        3: Look(0.0, 0.1, vector(1.41)),
        4: Look(0.9, 0.1, vector(0.01)),
        5: Look(0.0, 0.9, vector(0.02)),
    }
    only = {"disagreement": 0.0, "doubt": 0.0, "novelty": 1.0}
    order = rank(looks, [vector(0.0)], weights=only)
    assert order[0].image_id == 3
    assert order[-1].image_id != 2 or order[1].image_id != 2  # its twin was taken already
    assert order[0].reason == "Unlike what is labelled"
    assert rank(looks, [vector(0.0)], weights={**only, "disagreement": 9.0})[0].image_id == 4
    found = rank(looks, [vector(0.0)], weights={**only, "doubt": 9.0})[0]
    assert (found.image_id, found.sign) == (5, "doubt")
    assert rank({}, []) == []


def test_content_is_a_unit_vector(pictures: list[tuple[Embedding, list[np.ndarray]]]) -> None:
    one, two = (content_of(embedding) for embedding, _ in pictures)
    assert np.linalg.norm(one) == pytest.approx(1)
    assert 0.5 < float(one @ two) < 1
