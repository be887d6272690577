"""Adapt model from the window: the child process, its end in every way, swap and roll back."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.resource_files import resource_path
from infosam_studio.ui import crops
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.panels.adapt_options import AdaptOptions
from infosam_studio.ui.panels.card import ResultCard, figures
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_adapt import AdaptWish, Ended
from tests.ui.conftest import DISCS, SIZE, WAIT_MS, click, open_project

needs_starter = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)
RUN_MS = 240_000


def label_everything(bench: Workbench) -> None:
    """The true discs as objects on every image."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    class_id = bench.document.ensure_class()
    for record in bench.document.images():
        found = [
            ObjectRecord(
                id=0,
                image_id=record.id,
                class_id=class_id,
                mask=masks.encode((x - cx) ** 2 + (y - cy) ** 2 <= radius**2),
                clicks=3,
                hand_corrected=True,
            )
            for cx, cy, radius in DISCS
        ]
        bench.document.change_objects("Label", add=found)


@needs_starter
def test_a_killed_child_is_one_sentence_and_a_retry(qtbot: Any, bench: Workbench) -> None:
    if sys.platform == "win32":
        pytest.skip("there is no SIGKILL")
    label_everything(bench)
    adapting = bench.adapting
    ended: list[Ended] = []
    adapting.finished.connect(ended.append)
    assert adapting.start()
    assert not adapting.possible
    qtbot.waitUntil(lambda: adapting.process_id is not None, timeout=WAIT_MS)
    assert adapting.process_id is not None
    os.kill(adapting.process_id, signal.SIGKILL)
    qtbot.waitUntil(lambda: bool(ended), timeout=WAIT_MS)
    assert ended[0].result is None
    assert "memory" in ended[0].problem
    assert adapting.possible
    assert (
        "Try again" in bench.model_panel.card.findChildren(type(bench.model_panel.button))[0].text()
    )


@needs_starter
def test_closing_the_project_leaves_no_child(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    bench = open_project(qtbot, window, images_folder)
    label_everything(bench)
    assert bench.adapting.start()
    qtbot.waitUntil(lambda: bench.adapting.process_id is not None, timeout=WAIT_MS)
    child = bench.adapting.process_id
    assert child is not None
    window.close_project()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_nothing_to_learn_from_is_said(bench: Workbench) -> None:
    assert not bench.adapting.start()
    assert "Accept a few objects" in bench.adapting.needs()
    assert not bench.model_panel.button.isEnabled()


def test_labels_that_were_not_clicked_count_and_can_be_undone(bench: Workbench) -> None:
    label_everything(bench)
    assert bench.model_panel.button.isEnabled()
    for _ in bench.document.images():
        bench.document.undo()
    assert not bench.model_panel.button.isEnabled()


def test_the_card_speaks_in_clicks(qtbot: Any, bench: Workbench, tmp_path: Path) -> None:
    result = {
        "adapter": "v1",
        "promoted": True,
        "before": {"noc85": 4.2, "miou_at": [0.61, 0.7]},
        "after": {"noc85": 2.6, "miou_at": [0.78, 0.8]},
        "gate": {
            "proven": False,
            "objects": 12,
            "images": 4,
            "interval": [0.4, 2.1],
            "reason": "Better.",
        },
    }
    text = figures(result)
    assert "4.2 → 2.6" in text
    assert "0.61 → 0.78" in text
    assert "12 objects on 4 images" in text
    card = ResultCard()
    qtbot.addWidget(card)
    card.show_end(Ended(AdaptWish(tmp_path, "starter"), result, "", False, ()), "v1")
    assert "v1 is in use" in card.text
    assert "unproven" in card.text
    assert "+0.4 to +2.1 clicks" in card.text
    with qtbot.waitSignal(card.back_wanted):
        card._pressed()


@needs_starter
@pytest.mark.slow
def test_adapt_swap_and_roll_back_bit_for_bit(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    bench = open_project(qtbot, window, images_folder)
    label_everything(bench)
    click(qtbot, bench, 70, 80)
    draft = bench.drafting.draft
    assert draft is not None
    before = draft.crop()
    assert before is not None
    with qtbot.waitSignal(bench.adapting.finished, timeout=RUN_MS) as ended:
        bench.model_panel.button.click()
        assert bench.adapting.run is not None
    result = ended.args[0].result
    assert result is not None, ended.args[0].problem
    name = result["adapter"]
    if bench.adapting.in_use != name:
        bench.adapting.use(name)
    qtbot.waitUntil(lambda: bench.status.model_text.endswith("ready"), timeout=WAIT_MS)
    with qtbot.waitSignal(bench.mask_shown, timeout=WAIT_MS):
        bench.drafting.ask_again()
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
        window.actions_["roll_back"].trigger()
    assert bench.adapting.in_use is None
    with qtbot.waitSignal(bench.mask_shown, timeout=WAIT_MS):
        bench.drafting.ask_again()
    after = draft.crop()
    assert after is not None
    assert after.rect == before.rect
    assert np.array_equal(crops.to_mask(after, SIZE, SIZE), crops.to_mask(before, SIZE, SIZE))


def test_the_usual_method_is_what_the_study_found_best(tmp_path: Path, qtbot: Any) -> None:
    options = AdaptOptions()
    qtbot.addWidget(options)
    chosen = options.choices()["method"]
    assert chosen == AdaptWish(tmp_path, "starter").method == "auto"
    assert options.method.currentText() == "Best in our study"
