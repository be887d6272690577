"""The strip above the canvas says what a mask is worth only where there is a choice."""

from __future__ import annotations

import numpy as np
from pytestqt.qtbot import QtBot

from infosam_studio.ui import crops
from infosam_studio.ui.draft import Candidate, Draft, Step
from infosam_studio.ui.options_bar import OptionsBar


def draft_with(*scores: float) -> Draft:
    """An unfinished object whose newest step has one candidate per score."""
    crop = crops.from_mask(np.ones((4, 4), bool))
    candidates = tuple(Candidate(crop, score) for score in scores)
    return Draft(image_id=1, steps=[Step(serial=1, clicks=1, candidates=candidates)])


def shown(bar: OptionsBar) -> list[str]:
    """Texts of the candidate buttons that a person sees."""
    return [button.text() for button in bar._buttons if not button.isHidden()]


def test_a_single_mask_shows_no_predicted_iou(qtbot: QtBot) -> None:
    bar = OptionsBar()
    qtbot.addWidget(bar)
    bar.show_draft(draft_with(0.5, 0.6, 0.1))
    assert len(shown(bar)) == 3
    bar.show_draft(draft_with(1.38))
    assert shown(bar) == []


def test_predicted_iou_is_shown_within_its_range(qtbot: QtBot) -> None:
    bar = OptionsBar()
    qtbot.addWidget(bar)
    bar.show_draft(draft_with(1.38, -0.1))
    assert [text.split()[1] for text in shown(bar)] == ["100", "0"]
