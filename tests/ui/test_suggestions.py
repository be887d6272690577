"""Suggest masks: made after one's own objects, reviewed, counted only when accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import Qt

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.resource_files import resource_path
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.suggestion_rules import confidence, is_suggestion
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import DISCS, SIZE, WAIT_MS, click, key, wait_ready

needs_starter = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)


def disc(number: int) -> np.ndarray:
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    cx, cy, radius = DISCS[number]
    return np.asarray((x - cx) ** 2 + (y - cy) ** 2 <= radius**2)


def label_first(bench: Workbench) -> None:
    """All discs of the first image, fully labelled, in two classes."""
    document = bench.document
    first = document.ensure_class()
    second = document.add_class("dim").id
    image = document.images()[0]
    added = [
        ObjectRecord(
            id=0,
            image_id=image.id,
            class_id=second if number == 0 else first,
            mask=masks.encode(disc(number)),
            clicks=2,
        )
        for number in range(len(DISCS))
    ]
    document.change_objects("Label", add=added)
    document.update_image(image.id, state="done", fully_labelled=True)


def open_second(qtbot: Any, bench: Workbench) -> int:
    image_id = bench.document.images()[1].id
    bench.document.open_image(image_id)
    wait_ready(qtbot, bench)
    return image_id


def add_ghosts(bench: Workbench, scores: tuple[float, ...] = (0.9, 0.7, 0.4)) -> list[int]:
    """Suggestions as a run leaves them, one per disc, on the current image."""
    class_id, image = bench.document.ensure_class(), bench.document.current
    assert image is not None
    added = [
        ObjectRecord(
            id=0,
            image_id=image.id,
            class_id=class_id,
            mask=masks.encode(disc(number)),
            source="suggestion",
            extra={"score": score},
        )
        for number, score in enumerate(scores)
    ]
    return [one.id for one in bench.document.change_objects("Suggest masks", add=added)]


@needs_starter
def test_suggestions_are_made_after_the_labelled_image(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    label_first(bench)
    image_id = open_second(qtbot, bench)
    suggestions = bench.loop.suggestions
    window.actions_["suggest"].trigger()
    assert suggestions.running
    qtbot.waitUntil(lambda: not suggestions.running, timeout=WAIT_MS)
    found = [one for one in bench.document.objects.values() if is_suggestion(one)]
    ious = [
        max((masks.iou(one.mask, masks.encode(disc(n))) for one in found), default=0.0)
        for n in range(len(DISCS))
    ]
    assert max(ious) > 0.5, ious
    assert all(0 < confidence(one) <= 1 for one in found)
    image = bench.document.image(image_id)
    assert image is not None
    assert image.state == "untouched"
    assert bench.document.count(image_id) == 0
    assert bench.document.project.history()[-1].name == "Suggest masks"
    window.actions_["undo"].trigger()
    assert not bench.document.objects


@needs_starter
def test_clicks_are_answered_while_suggestions_are_made(qtbot: Any, bench: Workbench) -> None:
    label_first(bench)
    open_second(qtbot, bench)
    assert bench.loop.suggestions.start("all")
    click(qtbot, bench, 70, 80)
    assert bench.drafting.draft is not None
    bench.loop.suggestions.cancel()
    qtbot.waitUntil(lambda: not bench.loop.suggestions.running, timeout=WAIT_MS)
    bench.drafting.accept()
    assert sum(not is_suggestion(one) for one in bench.document.objects.values()) == 1


def test_without_labels_there_is_nothing_to_suggest_after(bench: Workbench) -> None:
    assert "Accept a few objects" in bench.loop.suggestions.needs()
    assert not bench.loop.suggestions.start()
    assert not bench.loop.panel.button.isEnabled()


def test_review_by_keyboard(qtbot: Any, window: MainWindow, bench: Workbench) -> None:
    first, second, third = add_ghosts(bench)
    document = bench.document
    assert document.count(document.current_id or 0) == 0
    assert not bench.adapting.possible
    key(bench, Qt.Key.Key_Q)
    assert document.selected == (first,)
    key(bench, Qt.Key.Key_Return)
    assert document.objects[first].source == "user"
    assert document.objects[first].extra == {"suggested": 0.9}
    assert document.selected == (second,)  # on to the next one
    assert document.count(document.current_id or 0) == 1
    key(bench, Qt.Key.Key_Delete)
    assert second not in document.objects
    assert third in document.objects
    window.actions_["undo"].trigger()
    assert is_suggestion(document.objects[second])
    window.actions_["undo"].trigger()
    assert is_suggestion(document.objects[first])
    image = document.current
    assert image is not None
    assert image.state == "untouched"


def test_the_slider_decides_what_is_shown_and_accepted(
    window: MainWindow, bench: Workbench
) -> None:
    ghosts = add_ghosts(bench)
    panel = bench.loop.panel
    assert [one.id for one in bench.loop.suggestions.here()] == ghosts[:2]
    assert panel.accept.text() == "Accept 2"
    panel.slider.setValue(80)
    assert [one.id for one in bench.loop.suggestions.here()] == ghosts[:1]
    panel.slider.setValue(35)
    assert panel.accept.text() == "Accept 3"
    panel.slider.setValue(65)
    window.actions_["accept_suggestions"].trigger()
    sources = [bench.document.objects[one].source for one in ghosts]
    assert sources == ["user", "user", "suggestion"]
    window.actions_["dismiss_suggestions"].trigger()
    assert ghosts[2] not in bench.document.objects
    assert bench.document.count(bench.document.current_id or 0) == 2
    assert not panel.dismiss.isEnabled()


def test_a_corrected_suggestion_is_a_label(qtbot: Any, bench: Workbench) -> None:
    ghost = add_ghosts(bench, (0.9,))[0]
    bench.document.select((ghost,))
    key(bench, Qt.Key.Key_R)
    click(qtbot, bench, 70, 80)
    key(bench, Qt.Key.Key_Return)
    record = bench.document.objects[ghost]
    assert record.source == "user"
    assert record.extra["suggested"] == 0.9
    assert 0 <= record.extra["first_iou"] <= 1
    assert record.clicks == 1


def test_the_next_image_with_suggestions_is_found(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    image_id = open_second(qtbot, bench)
    add_ghosts(bench)
    bench.document.open_image(bench.document.images()[2].id)
    window.actions_["next_review"].trigger()
    assert bench.document.current_id == image_id


def test_ghosts_are_drawn_fainter_than_labels(bench: Workbench) -> None:
    ghost = add_ghosts(bench, (0.9,))[0]
    before = bench.layers._style(ghost)
    bench.document.select(())
    bench.loop.suggestions.select_next()
    bench.loop.suggestions.accept_selected()
    bench.document.select(())
    after = bench.layers._style(ghost)
    assert before is not None
    assert after is not None
    assert before.alpha < 0.5 * after.alpha
    bench.layers.show_suggestions_from(0.95)
    assert bench.layers._style(ghost) is not None  # a label now: the slider is not about it
