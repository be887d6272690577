"""Scenes, prepared pictures and samples: deterministic and valid."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from infosam_studio.adaptation.pretraining.cache import load_prepared, save_prepared
from infosam_studio.adaptation.pretraining.pool import prepare_pool
from infosam_studio.adaptation.pretraining.regions import region_tree
from infosam_studio.adaptation.pretraining.samples import Samples
from infosam_studio.adaptation.pretraining.scenes import LOOKS, make_scene, prepare_scenes
from infosam_studio.adaptation.pretraining.textures import RealPatches

NO_PHOTOGRAPHS = RealPatches([])


@pytest.mark.parametrize("look", [name for name in LOOKS if name != "collage"])
def test_scene_is_valid(look: str) -> None:
    scene = make_scene(3, 1, NO_PHOTOGRAPHS, look)
    assert scene.image.dtype == np.uint8
    assert scene.image.shape[:2] == scene.atoms.shape
    assert scene.image.std() > 0.5
    assert len(scene.members) == len(scene.kinds) > 0
    assert scene.atoms.max() < scene.members.shape[1]
    assert not scene.members[:, 0].any()
    for index in range(len(scene.members)):
        assert scene.mask(index).sum() >= 24


def test_scene_depends_on_seed_and_number_alone() -> None:
    first, again = (make_scene(5, 2, NO_PHOTOGRAPHS, "steel") for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.atoms, again.atoms)
    other = make_scene(6, 2, NO_PHOTOGRAPHS, "steel")
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)


def test_parts_belong_to_their_parent() -> None:
    scene = make_scene(3, 1, NO_PHOTOGRAPHS, "person")
    masks = [scene.mask(k) for k in range(len(scene.members))]
    nested = [
        (a, b)
        for a in range(len(masks))
        for b in range(len(masks))
        if a != b and not (masks[b] & ~masks[a]).any()
    ]
    assert nested, "a person should contain garments"


def test_prepared_round_trip(tmp_path: Path) -> None:
    scene = make_scene(3, 1, NO_PHOTOGRAPHS, "plants")
    save_prepared(tmp_path / "a.npz", scene)
    again = load_prepared(tmp_path / "a.npz")
    assert np.array_equal(again.atoms, scene.atoms)
    assert np.array_equal(again.members, scene.members)
    assert np.abs(again.image.astype(int) - scene.image).mean() < 6
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_region_tree_finds_a_square() -> None:
    image = np.full((96, 96, 3), 200, np.uint8)
    image[30:70, 20:60] = (40, 90, 30)
    atoms, members = region_tree(image, 1.0)
    square = np.zeros((96, 96), bool)
    square[30:70, 20:60] = True
    ious = [(m[atoms] & square).sum() / (m[atoms] | square).sum() for m in members]
    assert max(ious) > 0.75


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """One tiny subset with two photographs and their index maps."""
    for kind in ("images", "masks"):
        (tmp_path / "pool" / "things" / kind).mkdir(parents=True)
    for number in range(2):
        scene = make_scene(3, number, NO_PHOTOGRAPHS, "generic")
        folder = tmp_path / "pool" / "things"
        cv2.imwrite(str(folder / "images" / f"p{number}.jpg"), scene.image[..., ::-1])
        cv2.imwrite(str(folder / "masks" / f"p{number}.png"), scene.atoms)
    return tmp_path / "pool"


def test_pool_collage_and_samples(pool: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert list(prepare_pool(pool, cache)) == [1, 2]
    files = sorted(cache.glob("*.npz"))
    prepared = load_prepared(files[0])
    assert set(prepared.kinds.tolist()) <= {0, 1}
    assert make_scene(4, 1, RealPatches(files), "collage").image.shape[2] == 3
    assert list(prepare_scenes(1, 1, tmp_path / "scenes", files)) == [1]

    samples = Samples(files, 256, 3, seed=4)
    image, targets, clicks, boxes = samples[7]
    for mine, again in zip(samples[7], (image, targets, clicks, boxes), strict=True):
        assert np.array_equal(mine, again)
    assert image.shape == (3, 256, 256)
    assert targets.shape == (3, 1, 128, 128)
    assert targets.reshape(3, -1).any(axis=1).all()
    assert ((clicks >= 0) & (clicks <= 1)).all()
    assert ((boxes >= 0) & (boxes <= 1)).all()
    for target, (x, y) in zip(targets[:, 0], clicks, strict=True):
        assert target[int(y * 128), int(x * 128)] > 0
