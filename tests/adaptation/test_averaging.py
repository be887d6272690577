"""The running average of the weights: its numbers, and that the student's own come back."""

from __future__ import annotations

import pytest
import torch

from infosam_studio.adaptation.adapters import Student
from infosam_studio.adaptation.averaging import WeightAverage
from tests.adaptation.tiny import tiny_sam


@pytest.fixture
def student() -> Student:
    return Student(tiny_sam())


def test_average_is_its_formula(student: Student) -> None:
    average = WeightAverage(student, 0.5)
    key, parameter = next(iter(student.parameters().items()))
    expected = parameter.detach().clone()
    for step in range(12):
        with torch.no_grad():
            parameter.add_(1.0)
        average.update(step)
        decay = min(0.5, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * parameter.detach()
    torch.testing.assert_close(average.values[key], expected)


def test_own_weights_come_back_to_the_bit(student: Student) -> None:
    average = WeightAverage(student, 0.9)
    with torch.no_grad():
        for parameter in student.parameters().values():
            parameter.mul_(1.1)
    own = student.tensors()
    with average.applied():
        assert all(torch.equal(v, average.values[k]) for k, v in student.tensors().items())
    assert all(torch.equal(v, own[k]) for k, v in student.tensors().items())


def test_without_decay_nothing_is_kept(student: Student) -> None:
    average = WeightAverage(student, 0.0)
    average.update(0)
    assert average.values == {}
