"""Our losses and metrics against numbers the official code produced (tests/data)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infosam_studio.adaptation.evaluation import (
    PAPER_THRESHOLDS,
    e_measure,
    overlap,
    s_measure,
    weighted_f_measure,
)
from infosam_studio.adaptation.losses import gram, information_loss, structure_loss
from infosam_studio.adaptation.relation import RelationModule

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "data" / "infosam_reference.json").read_text("utf-8")
)


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(case, id=case["id"]) for case in REFERENCE["cases"] if case["kind"] == kind
    ]


def built(case: dict[str, Any]) -> dict[str, Any]:
    """The inputs of one case: its formula is numpy source of our own test data."""
    names: dict[str, Any] = {"np": np}
    exec(case["formula"], names)
    return names


def relation_module(dim: int, dtype: torch.dtype) -> RelationModule:
    names: dict[str, Any] = {"np": np, "D": dim}
    names["o"], names["i"] = np.arange(dim)[:, None] * 1.0, np.arange(dim)[None, :] * 1.0
    names["k"] = np.arange(dim) * 1.0
    state = {
        name: torch.from_numpy(np.asarray(eval(source, names)))
        for name, source in REFERENCE["meta"]["relation_weights"]["expressions"].items()
    }
    module = RelationModule(dim).to(torch.float64)
    module.load_state_dict(state)
    return module.to(dtype)


@pytest.mark.parametrize("case", cases("info_loss"))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])
def test_information_loss(case: dict[str, Any], dtype: torch.dtype) -> None:
    inputs, expected = built(case), case["expected"]
    ft, mt, fs, ms = (torch.from_numpy(inputs[key]).to(dtype) for key in ("ft", "mt", "fs", "ms"))
    fs.requires_grad_(True)
    ms.requires_grad_(True)
    module = relation_module(ft.shape[-1], dtype)
    loss = information_loss(
        module, teacher=(ft, mt), student=(fs, ms), alpha=case["alpha"], beta=case["beta"]
    )
    loss.total.backward()
    exact = dtype == torch.float64
    absolute = 1e-9 if exact else 2e-5
    # The two cases without any signal must be exactly zero up to rounding.
    assert loss.compression.item() == pytest.approx(expected["loss_r"], abs=absolute)
    assert loss.distillation.item() == pytest.approx(expected["loss_d"], abs=absolute)
    assert loss.total.item() == pytest.approx(expected["total"], abs=absolute)
    grads = {"student_feat": fs.grad, "student_mask": ms.grad}
    grads |= {f"relation.{name}": value.grad for name, value in module.named_parameters()}
    assert set(grads) == set(expected["grads"])
    for name, wanted in expected["grads"].items():
        check_gradient(grads[name], wanted, exact=exact)
    if exact:
        check_relation(module(ft, mt), expected["relation_teacher"])
        check_relation(module(fs, ms), expected["relation_student"])
        if expected.get("gram_teacher_relation") is not None:
            relation = module(ft, mt)
            wanted_gram = torch.tensor(expected["gram_teacher_relation"], dtype=dtype)
            torch.testing.assert_close(relation @ relation.T, wanted_gram, rtol=0, atol=1e-9)
            torch.testing.assert_close(gram(relation), wanted_gram, rtol=0, atol=1e-9)


def check_gradient(grad: torch.Tensor | None, wanted: dict[str, Any], *, exact: bool) -> None:
    assert grad is not None
    norm = wanted["l2"]
    if exact:
        assert grad.norm().item() == pytest.approx(norm, abs=1e-9)
        assert grad.sum().item() == pytest.approx(wanted["sum"], abs=1e-9 + 1e-8 * norm)
        np.testing.assert_allclose(
            grad.reshape(-1)[: len(wanted["first4"])].numpy(), wanted["first4"], atol=1e-9
        )
    else:
        # Where the signal is zero float32 leaves rounding noise of the loss's own size.
        assert grad.norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6)


def check_relation(rows: torch.Tensor, wanted: dict[str, Any]) -> None:
    flat = rows.detach().reshape(-1)
    assert flat.sum().item() == pytest.approx(wanted["sum"], abs=1e-8)
    assert flat.norm().item() == pytest.approx(wanted["l2"], abs=1e-9)
    np.testing.assert_allclose(flat[:8].numpy(), wanted["first8"], atol=1e-9)


@pytest.mark.parametrize("case", cases("structure_loss"))
def test_structure_loss(case: dict[str, Any]) -> None:
    inputs, expected = built(case), case["expected"]
    logits = torch.from_numpy(inputs["logits"]).requires_grad_(True)
    target = torch.from_numpy(inputs["target"])
    loss = structure_loss(logits, target)
    loss.backward()
    assert logits.grad is not None
    assert loss.item() == pytest.approx(expected["structure_loss"], abs=1e-9)
    assert logits.grad.norm().item() == pytest.approx(expected["grad_logits_l2"], abs=1e-9)
    assert logits.grad.sum().item() == pytest.approx(expected["grad_logits_sum"], abs=1e-9)
    single = structure_loss(logits.detach().float(), target.float())
    assert single.item() == pytest.approx(expected["structure_loss"], abs=2e-5)


@pytest.mark.parametrize("case", cases("metrics"))
def test_metrics(case: dict[str, Any]) -> None:
    inputs, expected = built(case), case["expected"]
    raw, target = inputs["pred"][0, 0], inputs["gt"][0, 0]
    soft = 1 / (1 + np.exp(-raw))
    for scores, suffix in ((raw, "on_raw_values"), (soft, "on_sigmoid")):
        prefix = "official_" if suffix == "on_raw_values" else ""
        wanted = expected[f"{prefix}eval_seg_{suffix}"]
        found = overlap(scores, target, PAPER_THRESHOLDS)
        assert found.iou == pytest.approx(wanted["iou"], abs=1e-9)
        assert found.dice == pytest.approx(wanted["dice"], abs=1e-6)
        wanted = expected[f"{prefix}sef_{suffix}"]
        assert s_measure(scores, target) == pytest.approx(wanted["Sm"], abs=1e-9)
        assert e_measure(scores, target) == pytest.approx(wanted["Em"], abs=1e-9)
        assert weighted_f_measure(scores, target) == pytest.approx(wanted["wFm"], abs=1e-9)
    wanted = expected["eval_seg_threshold0_on_raw_values"]
    found = overlap(raw, target, (0.0,))
    assert found.iou == pytest.approx(wanted["iou"], abs=1e-9)
    assert found.dice == pytest.approx(wanted["dice"], abs=1e-6)
