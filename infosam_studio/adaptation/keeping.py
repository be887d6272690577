"""Clicks beside the labelled objects, whose answers should stay the teacher's.

Labels are sparse and every simulated click lies on one of them, so a model adapted to one large
object per image soon brings it up wherever a person clicks. A few clicks on the background per
step, with the teacher's own three masks as the target, hold it to where the click is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from infosam_studio.adaptation.decoding import PromptBatch
from infosam_studio.adaptation.losses import AREA_FLOOR
from infosam_studio.adaptation.rollout import Roller
from infosam_studio.adaptation.targets import Bools, Target
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.clicks import Click

# A click this near to an object, in pixels of the encoder's square, may well mean it.
DISTANCE: Final = 20


def background_click(targets: Sequence[Target], rng: np.random.Generator) -> Click | None:
    """A pixel (x, y, 1) of the canvas away from all these objects; None where there is none."""
    height, width = targets[0].inside
    taken: Bools = np.any([target.hard for target in targets], axis=0)
    distance = cv2.distanceTransform((~taken).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    free = np.flatnonzero(distance[:height, :width] * targets[0].scale >= DISTANCE)
    if not len(free):
        return None
    y, x = divmod(int(free[rng.integers(len(free))]), width)
    return x, y, 1


def keeping_loss(
    roller: Roller,
    decoders: tuple[Any, Any],
    features: tuple[Tensor, Tensor],
    click: tuple[float, float],
) -> Tensor:
    """How far the student's three answers to a click are from the teacher's, a scalar.

    Args:
        roller: decodes.
        decoders: the student's and the teacher's.
        features: [1, 256, h, w], the student's and the teacher's.
        click: (x, y) in pixels of the encoder's square.
    """
    point = torch.tensor([[click]], dtype=torch.float32, device=roller.device)
    label = torch.ones(1, 1, dtype=torch.int64, device=roller.device)
    batch = PromptBatch(point, label, None, None, True)

    def answers(decoder: Any, maps: Tensor) -> Tensor:
        return roller.decode(decoder, roller.look(decoder, maps), batch).logits[:, 1:4]

    with torch.no_grad():
        target = answers(decoders[1], features[1])
    return divergence(answers(decoders[0], features[0]), target).mean()


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two masks' pixels, over the teacher's area, [B, K].

    Zero, with a zero gradient, where the answers are the same.

    Args:
        student, teacher: logits float [B, K, H, W].
    """
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = student.float(), teacher.float()
        share = teacher.sigmoid()
        cross = functional.binary_cross_entropy_with_logits(student, share, reduction="none")
        own = functional.binary_cross_entropy_with_logits(teacher, share, reduction="none")
        floor = AREA_FLOOR * student.shape[-2] * student.shape[-1]
        return (cross - own).sum(dim=(2, 3)) / (share.sum(dim=(2, 3)) + floor)
