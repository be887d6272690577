"""What the losses do at the edges: one sample, nothing to relate, half precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from infosam_studio.adaptation.losses import (
    click_mask_loss,
    distillation_loss,
    entropy,
    information_loss,
    structure_loss,
    structure_loss_per_sample,
)
from infosam_studio.adaptation.relation import (
    RelationModule,
    load_relation,
    save_relation,
    tokens_of,
)
from infosam_studio.errors import StudioError

DIM, TOKENS = 32, 20


def pair(batch: int, seed: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    feat = torch.randn(batch, TOKENS, DIM, generator=generator) * scale
    return feat, torch.randn(batch, 1, DIM, generator=generator) * scale


def run(
    teacher: tuple[Tensor, Tensor], student: tuple[Tensor, Tensor], module: RelationModule
) -> tuple[Tensor, list[Tensor]]:
    leaves = [value.clone().requires_grad_(True) for value in student]
    module.zero_grad()
    loss = information_loss(module, teacher=teacher, student=(leaves[0], leaves[1])).total
    loss.backward()
    grads = [leaf.grad for leaf in leaves] + [value.grad for value in module.parameters()]
    return loss.detach(), [grad for grad in grads if grad is not None]


def test_a_single_sample_has_no_signal() -> None:
    loss, grads = run(pair(1, 0), pair(1, 1), RelationModule(DIM))
    assert loss.item() == 0
    assert all(grad.abs().max().item() <= 1e-7 for grad in grads)


@pytest.mark.parametrize("batch", [2, 4])
def test_duplicated_rows_have_no_signal(batch: int) -> None:
    feat, token = pair(1, 0)
    same = (feat.repeat(batch, 1, 1), token.repeat(batch, 1, 1))
    loss, grads = run(same, same, RelationModule(DIM))
    assert abs(loss.item()) < 1e-6
    assert all(grad.norm().item() < 1e-6 for grad in grads)


def test_prompts_on_one_image_have_a_signal() -> None:
    feat, _ = pair(1, 0)
    _, token = pair(4, 1)
    teacher = (feat.repeat(4, 1, 1), token)
    loss, grads = run(teacher, (teacher[0], token + 0.3), RelationModule(DIM))
    assert loss.item() != 0
    assert max(grad.norm().item() for grad in grads) > 1e-4


def test_zero_relation_module_stays_finite() -> None:
    module = RelationModule(DIM)
    with torch.no_grad():
        for value in module.parameters():
            value.zero_()
    loss, grads = run(pair(4, 0), pair(4, 1), module)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("which", ["teacher", "student", "row", "constant"])
def test_degenerate_inputs_stay_finite(which: str) -> None:
    teacher, student = pair(4, 0), pair(4, 1)
    if which == "teacher":
        teacher = (teacher[0] * 0, teacher[1] * 0)
    elif which == "student":
        student = (student[0] * 0, student[1] * 0)
    elif which == "row":
        teacher[0][1] = 0
        teacher[1][1] = 0
    else:
        teacher = (torch.ones_like(teacher[0]), torch.ones_like(teacher[1]))
    loss, grads = run(teacher, student, RelationModule(DIM))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_entropy_bounds() -> None:
    assert entropy(torch.eye(4)).item() == pytest.approx(-2.0)
    assert entropy(torch.ones(4, 4)).item() == pytest.approx(0.0)
    assert entropy(torch.zeros(4, 4)).item() == 0.0


def test_autocast_does_not_touch_the_terms() -> None:
    teacher, student, module = pair(4, 0), pair(4, 1), RelationModule(DIM)
    outside, _ = run(teacher, student, module)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside, _ = run(teacher, student, module)
    assert inside.item() == outside.item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_are_lifted(dtype: torch.dtype) -> None:
    # Norms of features this large overflow in float16.
    feat, token = pair(4, 0, scale=300.0)
    low = (feat.to(dtype), token.to(dtype))
    loss, grads = run(low, low, RelationModule(DIM))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_distillation_gradient_is_that_of_the_two_pass_batch() -> None:
    """The exact low-memory batch: d loss / d r first, then one sample at a time."""
    module = RelationModule(DIM).double()
    teacher = tuple(value.double() for value in pair(4, 0))
    student = tuple(value.double() for value in pair(4, 1))
    whole = [value.clone().requires_grad_(True) for value in student]
    relation_t = module(*teacher).detach()
    distillation_loss(relation_t, module(*whole)).backward()
    with torch.no_grad():
        rows = module(*student)
    rows.requires_grad_(True)
    distillation_loss(relation_t, rows).backward()
    assert rows.grad is not None
    parts = [value.clone().requires_grad_(True) for value in student]
    for index in range(4):
        row = module(parts[0][index : index + 1], parts[1][index : index + 1])
        row.backward(rows.grad[index : index + 1])
    for one, two in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-12)


def test_structure_loss_is_the_mean_of_its_samples() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(3, 1, 24, 40, generator=generator)
    target = (torch.rand(3, 1, 24, 40, generator=generator) > 0.6).float()
    each = torch.stack([structure_loss(logits[i : i + 1], target[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(structure_loss_per_sample(logits, target), each)
    torch.testing.assert_close(structure_loss(logits, target), each.mean())


def test_relation_rows_and_token_order() -> None:
    features = torch.arange(2 * DIM * 6, dtype=torch.float32).reshape(2, DIM, 2, 3)
    tokens = tokens_of(features)
    assert tokens.shape == (2, 6, DIM)
    assert torch.equal(tokens[1, 4], features[1, :, 1, 1])
    rows = RelationModule(DIM)(*pair(3, 0))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_parameter_count_of_the_official_module() -> None:
    assert sum(value.numel() for value in RelationModule().parameters()) == 132_608


def test_relation_files(tmp_path: Path) -> None:
    module = RelationModule(DIM)
    save_relation(module, tmp_path / "relation.safetensors", {"origin": "test"})
    torch.save({"relation_model": module.state_dict()}, tmp_path / "official.pth")
    for name in ("relation.safetensors", "official.pth"):
        again = load_relation(tmp_path / name)
        for key, value in module.state_dict().items():
            assert torch.equal(again.state_dict()[key], value)
    (tmp_path / "torn.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(StudioError, match=r"torn\.safetensors"):
        load_relation(tmp_path / "torn.safetensors")


@pytest.mark.parametrize("seed", range(5))
def test_the_distillation_term_is_not_smallest_at_the_teacher(seed: int) -> None:
    """Why it does not hold a student at its teacher: known, and told in the guide.

    With unit rows S(T * S) >= S(S), so -L_d = S(T) + S(S) - S(T * S) is at most S(T); it gets
    there with mutually orthogonal student rows, whatever the teacher's are. A student equal to
    its teacher scores worse, and is pushed to pull its samples apart.
    """
    generator = torch.Generator().manual_seed(seed)
    # Rows that have something in common, as those of similar objects have.
    rows = torch.randn(6, 40, generator=generator) + 2 * torch.randn(1, 40, generator=generator)
    teacher = torch.nn.functional.normalize(rows, dim=1)
    student = teacher.clone().requires_grad_(True)
    apart = torch.eye(6, 40)
    best = entropy(teacher @ teacher.T)
    assert distillation_loss(teacher, apart).item() == pytest.approx(best.item(), abs=1e-5)
    loss = distillation_loss(teacher, student)
    assert loss.item() > best.item() + 0.1
    (gradient,) = torch.autograd.grad(loss, student)
    moved = torch.nn.functional.normalize(student - 0.05 * gradient, dim=1)
    similar = [float((r @ r.T).detach().abs().sum()) for r in (teacher, moved)]
    assert similar[1] < similar[0]


def test_click_mask_loss_is_its_formula() -> None:
    logits = torch.tensor([[[[2.0, -1.0], [0.5, -3.0]]]], dtype=torch.float64)
    target = torch.tensor([[[[1.0, 0.0], [0.25, 0.0]]]], dtype=torch.float64)
    p = 1 / (1 + np.exp(-logits.numpy()))
    t = target.numpy()
    cross = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    focal = 2 * (cross * (p - t) ** 2).sum() / (t.sum() + 0.02 * 4)
    dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    assert click_mask_loss(logits, target).item() == pytest.approx(focal + dice, rel=1e-12)


def test_click_mask_loss_does_not_look_at_padding() -> None:
    torch.manual_seed(3)
    logits, target = torch.randn(2, 3, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    visible = torch.zeros(2, 1, 8, 8)
    visible[..., :5, :] = 1
    target = target * visible
    other = torch.where(visible.bool(), logits, torch.randn(2, 3, 8, 8) * 9)
    one, two = (click_mask_loss(x, target, visible) for x in (logits, other))
    torch.testing.assert_close(one, two)
