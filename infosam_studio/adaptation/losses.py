"""The training losses: InfoSAM's two information terms, StructureLoss, IoU head, click mask loss.

Notation of the paper: z_i image embedding, z_m mask token, r relation vector, G Gram matrix
across the batch (B x B). ``entropy`` below is g(G) = log2 ||G / tr G||_F^2, minus the Rényi
entropy of order 2; it lies in [-log2 B, 0]. Everything here runs in float32 (or float64 when the
inputs are), outside autocast: bfloat16 costs 1 % of the loss and float16 overflows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from infosam_studio.adaptation.relation import RelationModule

# Below this a Gram matrix is rounding noise; unit rows give a trace of B, zero rows of 0.
TRACE_FLOOR = 1e-20
# Of an object's share of the canvas: a speck must not weigh as much as all its surroundings.
AREA_FLOOR = 0.02

Pair = tuple[Tensor, Tensor]
"""(feat [B, N, D], token [B, 1, D])."""


@dataclass(frozen=True)
class InformationLoss:
    """The three scalars of one batch; ``total = alpha * compression + beta * distillation``."""

    compression: Tensor
    distillation: Tensor
    total: Tensor


def _exact(tensor: Tensor) -> Tensor:
    """Half precision up to float32; float32 and float64 stay as they are."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def gram(rows: Tensor) -> Tensor:
    """Gram matrix [B, B] of a batch: every sample flattened and divided by its L2 norm."""
    flat = functional.normalize(_exact(rows).flatten(1), dim=1)
    return flat @ flat.T


def entropy(matrix: Tensor) -> Tensor:
    """g(G) = log2 ||G / tr G||_F^2, a scalar in [-log2 B, 0].

    A Gram matrix without trace (every row zero) carries no information: 0, without gradient,
    instead of the NaN of 0/0.
    """
    trace = matrix.trace()
    usable = trace > TRACE_FLOOR
    trace = torch.where(usable, trace, torch.ones_like(trace))
    squared = (matrix / trace).square().sum()
    squared = torch.where(usable, squared, torch.ones_like(squared))
    return squared.log2()


def compression_loss(feat_t: Tensor, token_t: Tensor, relation_t: Tensor) -> Tensor:
    """L_r = -g(G_T) + g(G_i * G_m * G_T): the relation keeps little beyond what is essential.

    Official: ``DualMiLoss.compute_relation_loss`` in ``distiller/dualmi_distill.py`` (the term
    L_r of the paper). Teacher tensors only, so it trains the relation module alone.

    Args:
        feat_t: teacher image embedding, float [B, N, D].
        token_t: teacher mask token, float [B, 1, D].
        relation_t: teacher relation vectors, float [B, N], unit rows.

    Returns:
        A scalar, finite for every input; exactly 0, with zero gradient, at B = 1.
    """
    with torch.autocast(feat_t.device.type, enabled=False):
        relation = _gram_of_relation(relation_t)
        joint = gram(feat_t) * gram(token_t) * relation
        return entropy(joint) - entropy(relation)


def distillation_loss(relation_t: Tensor, relation_s: Tensor) -> Tensor:
    """L_d = g(G_T) + g(G_S) - g(G_T * G_S): minus the mutual information of the two relations.

    Official: ``DualMiLoss.compute_distill_loss`` in ``distiller/dualmi_distill.py`` (the term
    L_d of the paper).

    Args:
        relation_t: teacher relation vectors, float [B, N], unit rows.
        relation_s: student relation vectors, float [B, N], unit rows.

    Returns:
        A scalar, finite for every input; exactly 0, with zero gradient, at B = 1.
    """
    with torch.autocast(relation_t.device.type, enabled=False):
        teacher, student = _gram_of_relation(relation_t), _gram_of_relation(relation_s)
        return entropy(teacher) + entropy(student) - entropy(teacher * student)


def _gram_of_relation(relation: Tensor) -> Tensor:
    """[B, B] without a second normalisation: the rows already have unit norm, or are zero."""
    relation = _exact(relation)
    return relation @ relation.T


def information_loss(
    relation_module: RelationModule,
    *,
    teacher: Pair,
    student: Pair,
    alpha: float = 1.0,
    beta: float = 0.5,
) -> InformationLoss:
    """Both information terms and ``alpha * L_r + beta * L_d``.

    Official: ``DualMiLoss.forward`` in ``distiller/dualmi_distill.py``. The relation module gets
    gradient through the teacher and the student path; teacher tensors should not need any.

    Args:
        relation_module: the shared relation module.
        teacher, student: (feat [B, N, D], token [B, 1, D]) of the very same prompts.
        alpha, beta: weights of L_r and L_d.
    """
    relation_t = relation_module(*teacher)
    relation_s = relation_module(*student)
    compression = compression_loss(teacher[0], teacher[1], relation_t)
    distillation = distillation_loss(relation_t, relation_s)
    return InformationLoss(compression, distillation, alpha * compression + beta * distillation)


def structure_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Plain batch-mean BCE plus the weighted IoU loss, as the official code runs.

    Official: ``StructureLoss`` in ``util/utils.py``. It passes ``reduce="none"``, which torch
    takes for "mean", so the BCE is neither weighted nor per sample; published numbers depend on
    that. Pixel weight 1 + 5 |avgpool31(t) - t|, zero padding counted; IoU smoothed by one.

    Args:
        logits: float [B, 1, H, W].
        target: 0 or 1, same shape.
    """
    return (structure_loss_per_sample(logits, target)).mean()


def structure_loss_per_sample(logits: Tensor, target: Tensor) -> Tensor:
    """:func:`structure_loss` before the mean over samples, [B].

    All samples have the same canvas, so the mean of per-sample means is the batch mean.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = _exact(logits)
        target = target.to(logits.dtype)
        smooth = functional.avg_pool2d(target, kernel_size=31, stride=1, padding=15)
        weight = 1 + 5 * (smooth - target).abs()
        bce = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        probability = logits.sigmoid()
        inter = (probability * target * weight).sum(dim=(1, 2, 3))
        both = ((probability + target) * weight).sum(dim=(1, 2, 3))
        return bce.mean(dim=(1, 2, 3)) + 1 - (inter + 1) / (both - inter + 1)


def click_mask_loss(logits: Tensor, target: Tensor, visible: Tensor | None = None) -> Tensor:
    """Focal loss, normalised by the object's area, plus dice, per mask: [B, K].

    What the starter model was trained with. Recipe ``studio`` goes on with it: with StructureLoss
    masks after many clicks got worse even on the objects trained on (nuclei, 60 steps at 5e-5,
    IoU after 8 clicks 0.806 to 0.762, with late clicks practised 0.792).

    Args:
        logits: float [B, K, H, W].
        target: shares 0..1 of each pixel, [B, 1, H, W].
        visible: 1 where pixels count, 0 on padding, [B, 1, H, W]; None counts all.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = _exact(logits)
        target = target.to(logits.dtype).expand_as(logits)
        probability = torch.sigmoid(logits)
        cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        focal = cross * (probability - target).square()
        if visible is not None:
            focal, probability = focal * visible, probability * visible
        area = target.sum(dim=(2, 3))
        floor = AREA_FLOOR * target.shape[-2] * target.shape[-1]
        normalised = 2.0 * focal.sum(dim=(2, 3)) / (area + floor)
        overlap = 2 * (probability * target).sum(dim=(2, 3)) + 1.0
        return normalised + 1 - overlap / (probability.sum(dim=(2, 3)) + area + 1.0)
