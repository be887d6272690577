"""One step: equal however it is cut, cached, spread or resumed; sane when things go wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infosam_studio.adaptation.budget import Clock
from infosam_studio.adaptation.fit import Fitted, Loop, ResumeFile, Validator, chosen_share
from infosam_studio.adaptation.rollout import Draws
from infosam_studio.adaptation.sampler import Sampler
from infosam_studio.adaptation.samples import LabelledImage, Sample
from infosam_studio.adaptation.training import Trainer
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.events import Control, Event
from tests.adaptation.tiny import labelled, tiny_plan, trainer_of

Data = tuple[list[LabelledImage], list[Sample]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return labelled(tmp_path / "images", 3)


def run_steps(
    data: Data, *, steps: int = 2, cache_bytes: int = 2**30, **changes: Any
) -> tuple[list[Mapping[str, float]], dict[str, Tensor], dict[str, Tensor]]:
    """(losses, trained weights, relation weights) after a few steps."""
    plan = tiny_plan(**changes)
    trainer, student = trainer_of(data[0], plan, cache_bytes=cache_bytes)
    sampler = Sampler(data[1], batch=plan.batch, views=plan.views, seed=3)
    losses = []
    for number in range(steps):
        rng = sampler.generator(number)
        losses.append(trainer.step(sampler.batch(number, rng), rng).losses)
    relation = trainer.relation.state_dict() if trainer.relation is not None else {}
    return losses, student.tensors(), dict(relation)


def assert_close(one: Mapping[str, Tensor], two: Mapping[str, Tensor], tolerance: float) -> None:
    assert set(one) == set(two)
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=0, atol=tolerance, msg=key)


@pytest.mark.parametrize("first_block", [None, 2], ids=["decoder", "lora"])
@pytest.mark.parametrize("micro", [1, 3])
def test_two_passes_have_the_gradient_of_the_whole_batch(
    data: Data, micro: int, first_block: int | None
) -> None:
    gradients = []
    for size in (4, micro):
        plan = tiny_plan(micro_batch=size, first_block=first_block)
        trainer, _ = trainer_of(data[0], plan)
        sampler = Sampler(data[1], batch=4, views=(0,), seed=3)
        kept: dict[str, Tensor] = {}

        def keep(losses: Mapping[str, float], trainer: Trainer = trainer, kept: Any = kept) -> None:
            named = trainer.student.parameters() | {
                f"relation.{k}": v
                for k, v in (trainer.relation or torch.nn.Module()).named_parameters()
            }
            kept.update({k: v.grad.clone() for k, v in named.items() if v.grad is not None})

        rng = sampler.generator(0)
        items = sampler.batch(0, rng)
        losses = trainer._gradients(items, Draws.make(rng, len(items), plan))
        keep(losses)
        gradients.append((losses, kept))
    (loss_a, grads_a), (loss_b, grads_b) = gradients
    assert loss_a == pytest.approx(loss_b, abs=1e-5)
    assert set(grads_a) == set(grads_b)
    assert any("relation" in key for key in grads_a)
    assert any("lora_B" in key for key in grads_a) == (first_block is not None)
    for key, value in grads_a.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(value, grads_b[key], rtol=1e-3, atol=2e-5 * scale, msg=key)


def test_caches_change_nothing(data: Data) -> None:
    with_caches = run_steps(data, views=(0, 1, 5))
    without = run_steps(data, views=(0, 1, 5), cache_bytes=0)
    assert with_caches[0] == without[0]
    assert_close(with_caches[1], without[1], 0)
    assert_close(with_caches[2], without[2], 0)


def test_methods_differ_in_the_information_terms_alone(data: Data) -> None:
    losses, weights, relation = run_steps(data, steps=1)
    plain, plain_weights, nothing = run_steps(data, steps=1, alpha=0.0, beta=0.0)
    assert losses[0]["mask"] == plain[0]["mask"]
    assert losses[0]["iou"] == plain[0]["iou"]
    assert {"compression", "distillation"} <= set(losses[0])
    assert "compression" not in plain[0]
    assert relation
    assert not nothing
    assert any(not torch.equal(value, plain_weights[key]) for key, value in weights.items())


@pytest.mark.parametrize(("change", "asked"), [({}, 0), ({"keep": 1}, 3), ({"beta": 0.1}, 3)])
def test_no_image_is_encoded_for_a_teacher_nobody_asks(
    data: Data, change: dict[str, Any], asked: int
) -> None:
    plan = tiny_plan(**{"alpha": 0.0, "beta": 0.0, "keep": 0, "views": (0,), **change})
    trainer, _ = trainer_of(data[0], plan)
    sampler = Sampler(data[1], batch=len(data[1]), views=(0,), seed=3)
    rng = sampler.generator(0)
    losses = trainer.step(sampler.batch(0, rng), rng).losses
    assert math.isfinite(losses["total"])
    assert len(trainer.store._embeddings) == asked


def test_every_round_may_enter_the_gram_matrices(data: Data) -> None:
    first = run_steps(data, steps=1)[0][0]
    every = run_steps(data, steps=1, information_rounds="all")[0][0]
    assert first["mask"] == every["mask"]
    assert first["distillation"] != every["distillation"]
    assert -math.log2(8) <= every["distillation"] <= 0


def test_the_token_of_the_answer_may_be_related(data: Data) -> None:
    zero = run_steps(data, steps=1, box_share=0.0)[0][0]
    answer = run_steps(data, steps=1, box_share=0.0, information_token="answer")[0][0]
    assert zero["mask"] == answer["mask"]
    assert zero["compression"] != answer["compression"]


@pytest.mark.parametrize("micro", [4, 1], ids=["one pass", "two passes"])
def test_late_rounds_are_practised_at_the_price_of_few(data: Data, micro: int) -> None:
    plan = tiny_plan(rounds=2, depth=6, first_block=None, micro_batch=micro)
    trainer, _ = trainer_of(data[0], plan)
    sampler = Sampler(data[1], batch=4, views=(0,), seed=3)
    asked: set[int] = set()
    for step in range(8):
        rng = sampler.generator(step)
        items = sampler.batch(step, rng)
        draws = Draws.make(rng, len(items), plan)
        assert draws.learns is not None
        assert (draws.learns[0], len(draws.learns)) == (0, 2)
        asked.add(draws.learns[1])
        done = trainer._pass(items[:1], draws.part(slice(0, 1)))
        assert [p.points.shape[1] for p in done.rolled.prompts][1] >= draws.learns[1]
        assert done.rolled.ious.shape == (1, draws.learns[1] + 1)
        again = trainer._pass(items[:1], None, done.rolled.prompts)
        torch.testing.assert_close(again.rolled.mask_loss, done.rolled.mask_loss)
    assert len(asked) > 2
    assert math.isfinite(trainer.step(items, sampler.generator(0)).losses["mask"])


def test_paper_recipe_trains_its_parts(data: Data) -> None:
    plan_changes = {
        "recipe": "paper",
        "rounds": 1,
        "clip": None,
        "canvas": 128,
        "box_share": 0.5,
        "micro_batch": 1,
    }
    before = run_steps(data, steps=0, **plan_changes)[1]
    losses, after, _ = run_steps(data, steps=2, **plan_changes)
    assert all(math.isfinite(value) for step in losses for value in step.values())
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert any("attn_adapter" in key for key in moved)
    assert any("norm1" in key for key in moved)
    # The IoU head gets no gradient in this recipe; its scores go stale.
    assert not any("iou_prediction_head" in key for key in moved)


def test_loss_goes_down(data: Data) -> None:
    losses = run_steps(data, steps=25, first_block=None, click_noise=0.0, box_share=0.0)[0]
    start = np.mean([step["mask"] for step in losses[:5]])
    end = np.mean([step["mask"] for step in losses[-5:]])
    assert end < 0.8 * start


def loop_of(
    data: Data,
    folder: Path,
    control: Control,
    events: list[Event],
    *,
    seconds: float | None = None,
    **changes: Any,
) -> Loop:
    plan = tiny_plan(**{"steps": 6, "first_block": None, "validate_every": 2, **changes})
    trainer, _ = trainer_of(data[0], plan)
    train, held = data[1][:6], data[1][6:]
    return Loop(
        trainer,
        Sampler(train, batch=plan.batch, views=plan.views, seed=1),
        Validator(trainer, held),
        Clock(None, control, events.append),
        events.append,
        ResumeFile(folder / "run.state", "same"),
        seconds=seconds,
    )


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resumed_run_ends_where_an_unbroken_one_does(
    data: Data, tmp_path: Path, average: float
) -> None:
    whole = loop_of(data, tmp_path / "a", Control(), [], average=average).run()
    control = Control()

    def stop(event: Event) -> None:
        if event.kind == "progress" and event.data["step"] == 3:
            control.cancel()

    broken = loop_of(data, tmp_path / "b", control, [], average=average)
    broken.emit = stop
    with pytest.raises(Cancelled):
        broken.run()
    assert (tmp_path / "b" / "run.state").is_file()
    events: list[Event] = []
    again: Fitted = loop_of(data, tmp_path / "b", Control(), events, average=average).run(
        resume=True
    )
    steps = [event.data["step"] for event in events if event.kind == "progress"]
    assert steps == [4, 5, 6]
    assert again.best == whole.best
    assert_close(dict(again.tensors), dict(whole.tensors), 0)
    assert_close(dict(again.relation), dict(whole.relation), 0)


def test_a_foreign_or_torn_state_is_not_used(data: Data, tmp_path: Path) -> None:
    loop = loop_of(data, tmp_path, Control(), [])
    loop.resume.save(
        loop.trainer, __import__("infosam_studio.adaptation.fit", fromlist=["x"]).Progress(step=2)
    )
    assert ResumeFile(tmp_path / "run.state", "other").load(loop.trainer) is None
    (tmp_path / "run.state").write_bytes(b"torn")
    assert loop.resume.load(loop.trainer) is None


def test_early_stop_keeps_the_best(data: Data, tmp_path: Path) -> None:
    events: list[Event] = []
    # A rate this high ruins the decoder, so later validations are no better than the first.
    loop = loop_of(
        data, tmp_path, Control(), events, steps=40, learning_rate=0.5, clip=None, patience=2
    )
    fitted = loop.run()
    validations = [event.data for event in events if event.kind == "validation"]
    assert fitted.steps < 40
    assert fitted.best == max(v["iou"] for v in validations)
    assert validations[-1]["best"] is False


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({1.0: 0.70, 0.5: 0.69, 0.25: 0.68}, 0.5),
        ({1.0: 0.72, 0.5: 0.69, 0.25: 0.68}, 0.5),
        ({1.0: 0.80, 0.5: 0.69, 0.25: 0.68}, 1.0),
        ({1.0: 0.50, 0.5: 0.60, 0.25: 0.66}, 0.25),
        ({1.0: 0.80}, 0.5),
        ({}, 0.5),
    ],
)
def test_half_of_the_way_unless_validation_says_clearly_otherwise(
    scores: dict[float, float], chosen: float
) -> None:
    assert chosen_share((0.5, 0.25, 1.0), scores) == chosen


def test_the_weights_are_those_of_the_share(data: Data, tmp_path: Path) -> None:
    events: list[Event] = []
    loop = loop_of(
        data, tmp_path, Control(), events, steps=1, validate_every=9, shares=(0.5, 0.25, 1.0)
    )
    base = loop.trainer.student.blended(loop.trainer.student.tensors(), 0.0)
    fitted = loop.run()
    asked = [event.data for event in events if event.kind == "validation"]
    scores = {told.get("share", 1.0): told["iou"] for told in asked}
    assert fitted.share == chosen_share((0.5, 0.25, 1.0), scores)
    assert fitted.best == scores[fitted.share]
    assert [told.get("share", 1.0) for told in asked if told["best"]][-1] == fitted.share
    trained = loop.trainer.student.blended(dict(fitted.tensors), 1.0)
    assert any(not torch.equal(value, base[key]) for key, value in trained.items())


def test_without_validation_the_first_share_is_taken(data: Data, tmp_path: Path) -> None:
    loop = loop_of(data, tmp_path, Control(), [], steps=1, shares=(0.5, 0.25, 1.0))
    loop.validator = None
    assert loop.run().share == 0.5


def test_the_encoder_may_join_later(data: Data) -> None:
    plan = tiny_plan(encoder_from=0.5, keep=1)
    trainer, student = trainer_of(data[0], plan)
    alone, decoder = trainer_of(data[0], replace(plan, first_block=None))
    sampler = Sampler(data[1], batch=4, views=(0,), seed=3)

    def go(number: int, progress: float, one: Trainer) -> Mapping[str, float]:
        one.set_progress(number, progress)
        rng = sampler.generator(number)
        return one.step(sampler.batch(number, rng), rng).losses

    def layers() -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in student.encoder_parameters().items()}

    first = layers()
    for number in range(2):
        assert go(number, 0.1, trainer) == go(number, 0.1, alone)
    assert_close(layers(), first, 0)
    for key, value in decoder.tensors().items():
        torch.testing.assert_close(student.tensors()[key], value, rtol=0, atol=0)
    go(2, 0.5, trainer)
    assert any(not torch.equal(value, first[key]) for key, value in layers().items())


def test_time_limit_is_kept(data: Data, tmp_path: Path) -> None:
    loop = loop_of(data, tmp_path, Control(), [], steps=10**6, seconds=1.0)
    loop.validator = None
    fitted = loop.run()
    # At most the step that was under way, and what a busy machine adds to it.
    assert fitted.seconds <= 1.0 + 3 * fitted.seconds / fitted.steps


def test_a_busy_machine_gets_its_steps_anyway(data: Data, tmp_path: Path) -> None:
    loop = loop_of(data, tmp_path, Control(), [], steps=10**6, seconds=1e-3)
    loop.validator, loop.floor = None, 5
    assert loop.run().steps == 5


def test_a_budget_leaves_time_for_what_comes_after(data: Data, tmp_path: Path) -> None:
    loop = loop_of(data, tmp_path, Control(), [], steps=10**6)
    loop.validator = None
    loop.clock = Clock(3.0, Control(), loop.emit)
    loop.reserve = lambda: 1.5
    fitted = loop.run()
    assert loop.clock.spent() <= 1.5 + 4 * fitted.seconds / fitted.steps


class Failing:
    """Stands for a machine: raises what torch raises until ``times`` are used up."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times = error, times

    def __call__(self) -> None:
        if self.times > 0:
            self.times -= 1
            raise self.error


def test_out_of_memory_halves_the_micro_batch(data: Data) -> None:
    notes: list[tuple[str, str]] = []
    plan = tiny_plan(first_block=None)
    trainer, _ = trainer_of(data[0], plan, notes=notes)
    trainer.roller._check = Failing(torch.OutOfMemoryError("CUDA out of memory"), 2)
    sampler = Sampler(data[1], batch=4, views=(0,), seed=3)
    rng = sampler.generator(0)
    step = trainer.step(sampler.batch(0, rng), rng)
    assert trainer.micro == 1
    assert [code for code, _ in notes] == ["memory", "memory"]
    calm = run_steps(data, steps=1, first_block=None)[0][0]
    assert step.losses == pytest.approx(calm, abs=1e-5)
    trainer.roller._check = Failing(RuntimeError("DefaultCPUAllocator: can't allocate memory"), 9)
    with pytest.raises(StudioError, match="memory does not suffice"):
        trainer.step(sampler.batch(0, rng), rng)


def test_not_finite_steps_are_skipped_three_times_at_most(data: Data) -> None:
    notes: list[tuple[str, str]] = []
    trainer, student = trainer_of(data[0], tiny_plan(first_block=None), notes=notes)
    before = student.tensors()
    for key in ((image.id, 0) for image in data[0]):
        trainer.store._embeddings[key] = torch.full((1, 256, 8, 8), math.nan).half()
    sampler = Sampler(data[1], batch=4, views=(0,), seed=3)
    for number in range(2):
        rng = sampler.generator(number)
        assert trainer.step(sampler.batch(number, rng), rng).skipped
    assert trainer.rate == 0.25
    with pytest.raises(StudioError, match="unstable"):
        trainer.step(sampler.batch(2, rng), rng)
    assert_close(student.tensors(), before, 0)
    assert notes


def test_batches_are_distinct_and_cover_everything(data: Data) -> None:
    sampler = Sampler(data[1], batch=5, views=(0, 1), seed=3)
    seen = set()
    for step in range(8):
        items = sampler.batch(step, sampler.generator(step))
        pairs = [(item.sample.object_id, item.view) for item in items]
        assert len(set(pairs)) == 5
        assert len({item.sample.image_id for item in items}) == 3
        seen |= {item.sample.object_id for item in items}
        assert items == sampler.batch(step, sampler.generator(step))
    assert seen == {sample.object_id for sample in data[1]}
    assert Sampler(data[1][:1], batch=4, views=(0,), seed=3).size == 1
