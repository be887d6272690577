"""Evaluation: the paper's metrics and the click protocol of the project."""

from __future__ import annotations

from infosam_studio.adaptation.metrics import (
    PAPER_THRESHOLDS,
    Overlap,
    e_measure,
    overlap,
    s_measure,
    weighted_f_measure,
)

__all__ = [
    "PAPER_THRESHOLDS",
    "Overlap",
    "e_measure",
    "overlap",
    "s_measure",
    "weighted_f_measure",
]
