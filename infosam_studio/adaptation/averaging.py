"""The running average of the trained weights: what is validated and kept.

A run of a few dozen steps ends wherever its last noisy gradients have left it; the average over
the last steps does not. On nuclei, a development domain (10 images, 40 steps), mean IoU over
eight clicks rose by 0.011 with it and fell without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from infosam_studio.adaptation.adapters import Student


def follow(average: list[Tensor], current: list[Tensor], decay: float, step: int) -> None:
    """Move an average, in place, towards weights on the same device after step ``step``.

    Early on it forgets faster, so that the start does not linger: the decay is at most
    (step + 1) / (step + 10).
    """
    decay = min(decay, (step + 1) / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(average, current, 1 - decay)


class WeightAverage:
    """Exponential average of a student's weights with ``decay`` (0: the weights themselves)."""

    def __init__(self, student: Student, decay: float) -> None:
        self.student, self.decay = student, decay
        self.values = student.tensors() if decay else {}

    def update(self, step: int) -> None:
        """Take in the weights after step ``step`` (from 0)."""
        if not self.decay:
            return
        current = self.student.parameters()
        weights = [current[key].detach().to(value.device) for key, value in self.values.items()]
        follow(list(self.values.values()), weights, self.decay, step)

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the averaged weights, as :meth:`Student.tensors` gives the student's own."""
        if not self.decay:
            return self.student.tensors()
        return {key: value.clone() for key, value in self.values.items()}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The student with the averaged weights, for the time of the context."""
        if not self.decay:
            yield
            return
        own = self.student.tensors()
        self.student.load(self.values)
        try:
            yield
        finally:
            self.student.load(own)

    def load(self, values: dict[str, Tensor]) -> None:
        """Go on from a saved average."""
        self.values = dict(values)
