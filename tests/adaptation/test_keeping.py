"""Clicks beside the objects: where they lie, and that they hold the student to the teacher."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infosam_studio.adaptation.keeping import DISTANCE, background_click, divergence
from infosam_studio.adaptation.rollout import Draws
from infosam_studio.adaptation.sampler import Sampler
from infosam_studio.adaptation.samples import Sample
from infosam_studio.adaptation.targets import Target, make_target
from infosam_studio.annotation import masks
from tests.adaptation.tiny import labelled, tiny_plan, trainer_of


def target_of(mask: np.ndarray, size: int = 128) -> Target:
    sample = Sample(1, 1, 1, masks.encode(mask), True, int(mask.sum()))
    return make_target(sample, 0, image_size=size, side=size // 2)


def test_clicks_lie_away_from_every_object() -> None:
    one, two = np.zeros((96, 128), bool), np.zeros((96, 128), bool)
    one[:30, :40], two[60:90, 90:120] = True, True
    targets = [target_of(one), target_of(two)]
    rng = np.random.default_rng(0)
    near = min(DISTANCE, 20)
    for _ in range(50):
        click = background_click(targets, rng)
        assert click is not None
        x, y = targets[0].to_input(click)
        assert 0 <= x < 128
        assert 0 <= y < 96
        for mask in (one, two):
            ys, xs = np.nonzero(mask)
            assert np.hypot(xs - x, ys - y).min() >= near - 2


def test_where_everything_is_object_there_is_no_click() -> None:
    assert background_click([target_of(np.ones((96, 128), bool))], np.random.default_rng(0)) is None


def test_divergence_is_zero_only_for_equal_answers() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(1, 3, 16, 16) * 5
    student = teacher.clone().requires_grad_(True)
    same = divergence(student, teacher)
    assert same.shape == (1, 3)
    same.sum().backward()
    assert torch.allclose(same, torch.zeros(1, 3), atol=1e-5)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-6
    assert (divergence(teacher + 1, teacher) > 0.01).all()
    assert torch.isfinite(divergence(teacher * 1e4, teacher * 1e4)).all()


def test_the_other_chances_of_a_step_stay_the_same() -> None:
    """With and without background clicks the samples get the same prompts."""
    plan = tiny_plan(keep=0)
    without = Draws.make(np.random.default_rng(4), 4, plan)
    drawn = Draws.make(np.random.default_rng(4), 4, replace(plan, keep=2))
    assert replace(drawn, keeps=()) == without
    assert len(drawn.keeps) == 2
    assert without.keeps == ()


def test_the_student_starts_without_a_difference_and_is_held(tmp_path: Path) -> None:
    pictures, samples = labelled(tmp_path, 3)
    plan = tiny_plan(keep=2, learning_rate=1e-3, first_block=None)
    trainer, _ = trainer_of(pictures, plan)
    sampler = Sampler(samples, batch=4, views=(0,), seed=3)
    told = []
    for step in range(4):
        rng = sampler.generator(step)
        trainer.set_progress(step, step / 4)
        told.append(trainer.step(sampler.batch(step, rng), rng).losses)
    assert told[0]["keep"] == pytest.approx(0.0, abs=1e-6)
    assert told[-1]["keep"] > 0
    parts = told[-1]["mask"] + plan.iou_weight * told[-1]["iou"] + told[-1]["keep"]
    parts += plan.alpha * told[-1]["compression"] + plan.beta * told[-1]["distillation"]
    assert told[-1]["total"] == pytest.approx(parts, abs=1e-5)
