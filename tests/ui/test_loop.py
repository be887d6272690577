"""Another version's mask while a key is held, what to label next, and the guide."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtTest import QTest

from infosam_studio.resource_files import resource_path
from infosam_studio.ui import crops
from infosam_studio.ui.dialogs.guide import GuideDialog, pages
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.panels.image_model import PLACE_ROLE
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import SIZE, WAIT_MS, at, click, wait_mask
from tests.ui.test_suggestions import label_first

needs_starter = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)


def write_version(bench: Workbench, name: str, seed: int = 3) -> Path:
    """A decoder-only version whose masks differ from the base's, in the project."""
    import torch

    from infosam_studio.adaptation.adapters import make_student
    from infosam_studio.segmentation.adapter_folder import AdapterManifest, write_adapter
    from infosam_studio.segmentation.checkpoints import load_checkpoint

    model = load_checkpoint("starter")
    student = make_student(model.sam, recipe="studio", rank=4, first_block=None, seed=0)
    torch.manual_seed(seed)
    tensors = {
        name: value + 0.05 * value.abs().mean() * torch.randn_like(value)
        for name, value in student.tensors().items()
    }
    config = student.peft_config
    student.detach()
    manifest = AdapterManifest(
        name=name,
        checkpoint="starter",
        checkpoint_sha256=model.info.sha256,
        acts_on_encoder=False,
    )
    path = bench.document.project.adapters_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_adapter(path, tensors, manifest, config, None)
    return path


def shown(bench: Workbench) -> np.ndarray:
    draft = bench.drafting.draft
    assert draft is not None
    crop = draft.crop()
    assert crop is not None
    return crops.to_mask(crop, SIZE, SIZE)


def hold(qtbot: Any, bench: Workbench) -> np.ndarray:
    """Press the key and wait for the other version's mask."""
    with qtbot.waitSignal(bench.loop.comparing.shown, timeout=WAIT_MS):
        QTest.keyPress(bench.view, Qt.Key.Key_X)
    crop = bench.loop.comparing.crop
    assert crop is not None
    return crops.to_mask(crop, SIZE, SIZE)


@needs_starter
def test_a_held_key_shows_the_other_version_and_goes_back_bit_for_bit(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    click(qtbot, bench, 70, 80)
    base = shown(bench)
    write_version(bench, "v1")
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
        bench.adapting.use("v1")
    with qtbot.waitSignal(bench.mask_shown, timeout=WAIT_MS):
        bench.drafting.ask_again()
    own = shown(bench)
    assert not np.array_equal(own, base)

    bench.focus_canvas()
    other = hold(qtbot, bench)
    assert np.array_equal(other, base)  # the version before v1 is the base
    assert "the base model" in bench.loop.comparing.label.text()
    assert bench.loop.comparing.label.isVisible()
    assert bench.layers._draft_hidden
    assert np.array_equal(shown(bench), own)
    assert bench.adapting.in_use == "v1"

    QTest.keyRelease(bench.view, Qt.Key.Key_X)
    assert bench.loop.comparing.crop is None
    assert not bench.loop.comparing.label.isVisible()
    assert not bench.layers._draft_hidden
    with qtbot.waitSignal(bench.mask_shown, timeout=WAIT_MS):
        bench.drafting.ask_again()
    assert np.array_equal(shown(bench), own)


@needs_starter
def test_after_rolling_back_the_version_that_was_left_is_compared(
    qtbot: Any, bench: Workbench
) -> None:
    write_version(bench, "v1")
    bench.adapting.store.refresh()
    qtbot.waitUntil(lambda: len(bench.adapting.versions) == 1, timeout=WAIT_MS)
    for change in (lambda: bench.adapting.use("v1"), bench.adapting.roll_back):
        with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
            change()
    assert bench.adapting.in_use is None
    click(qtbot, bench, 70, 80)
    base = shown(bench)
    assert not np.array_equal(hold(qtbot, bench), base)
    assert "v1" in bench.loop.comparing.label.text()
    QTest.keyRelease(bench.view, Qt.Key.Key_X)


@needs_starter
def test_a_preview_under_a_resting_pointer_is_that_of_the_version_in_use(
    qtbot: Any, bench: Workbench
) -> None:
    write_version(bench, "v1")
    bench.options.hover.setChecked(True)
    answers = []
    bench.inference.hovered.connect(answers.append)
    QTest.mouseMove(bench.view.viewport(), at(bench, 70, 80))
    qtbot.waitUntil(lambda: len(answers) == 1, timeout=WAIT_MS)
    bench.adapting.use("v1")
    qtbot.waitUntil(lambda: len(answers) == 2, timeout=WAIT_MS)
    first, second = (crops.to_mask(one.crop, SIZE, SIZE) for one in answers)
    assert not np.array_equal(first, second)


@needs_starter
def test_the_version_selected_in_the_timeline_is_compared(qtbot: Any, bench: Workbench) -> None:
    write_version(bench, "v1", seed=3)
    write_version(bench, "v2", seed=4)
    bench.adapting.store.refresh()
    qtbot.waitUntil(lambda: len(bench.adapting.versions) == 2, timeout=WAIT_MS)
    click(qtbot, bench, 70, 80)
    base = shown(bench)
    versions = bench.model_panel.versions
    masks = {}
    for row in range(versions.count()):
        versions.setCurrentRow(row)
        if versions.chosen() in ("v1", "v2"):
            masks[versions.chosen()] = hold(qtbot, bench)
            QTest.keyRelease(bench.view, Qt.Key.Key_X)
    assert set(masks) == {"v1", "v2"}
    assert not np.array_equal(masks["v1"], base)
    assert not np.array_equal(masks["v1"], masks["v2"])
    click(qtbot, bench, 72, 82)
    assert bench.adapting.in_use is None


@needs_starter
def test_the_chain_of_prompts_is_replayed_and_leaving_the_window_ends_it(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    click(qtbot, bench, 70, 80)
    click(qtbot, bench, 75, 85)
    own = shown(bench)
    write_version(bench, "v1")
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
        bench.adapting.use("v1")
    wait_mask(qtbot, bench)
    bench.focus_canvas()
    assert np.array_equal(hold(qtbot, bench), own)
    QTest.qWait(0)
    window.event(QEvent(QEvent.Type.WindowDeactivate))
    bench.loop.comparing.eventFilter(window, QEvent(QEvent.Type.WindowDeactivate))
    assert not bench.loop.comparing.active


def test_one_version_alone_cannot_be_compared(bench: Workbench) -> None:
    told: list[str] = []
    bench.loop.comparing.told.connect(told.append)
    bench.focus_canvas()
    QTest.keyPress(bench.view, Qt.Key.Key_X)
    assert "only one version" in told[0]
    assert not bench.loop.comparing.active


@needs_starter
def test_a_version_that_is_gone_is_said_and_the_live_one_stays(
    qtbot: Any, bench: Workbench
) -> None:
    path = write_version(bench, "v1")
    bench.adapting.store.refresh()
    qtbot.waitUntil(lambda: len(bench.adapting.versions) == 1, timeout=WAIT_MS)
    click(qtbot, bench, 70, 80)
    own = shown(bench)
    bench.model_panel.versions.setCurrentRow(1)
    assert bench.model_panel.versions.chosen() == "v1"
    shutil.rmtree(path)
    bench.focus_canvas()
    with qtbot.waitSignal(bench.loop.comparing.told, timeout=WAIT_MS):
        QTest.keyPress(bench.view, Qt.Key.Key_X)
    assert not bench.loop.comparing.active
    with qtbot.waitSignal(bench.mask_shown, timeout=WAIT_MS):
        bench.drafting.ask_again()
    assert np.array_equal(shown(bench), own)


@needs_starter
def test_what_to_label_next_is_ordered_with_reasons(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    label_first(bench)
    following = bench.loop.next_images
    assert not bench.images._orders["next"].isVisible()  # off until it is proven or asked for
    window.actions_["suggested_image"].trigger()
    assert not following.running
    window.actions_["what_next"].trigger()
    assert following.running
    qtbot.waitUntil(lambda: not following.running, timeout=WAIT_MS)
    ids = [one.id for one in bench.document.images()]
    assert set(following.places) == set(ids[1:])
    assert sorted(one.place for one in following.places.values()) == [0, 1]
    assert bench.images._orders["next"].isChecked()
    order = [
        bench.images.filter.index(row, 0).data(PLACE_ROLE)
        for row in range(bench.images.filter.rowCount())
    ]
    assert [one.place if one else None for one in order] == [0, 1, None]
    assert all(one.reason for one in order if one)
    best = min(following.places, key=lambda one: following.places[one].place)
    window.actions_["suggested_image"].trigger()
    assert bench.document.current_id == best
    window.actions_["what_next"].trigger()
    assert not following.places
    assert bench.images.filter.index(0, 0).data(PLACE_ROLE) is None


@needs_starter
def test_looking_for_the_next_image_can_be_stopped(qtbot: Any, bench: Workbench) -> None:
    label_first(bench)
    following = bench.loop.next_images
    assert following.start()
    following.cancel()
    qtbot.waitUntil(lambda: not following.running, timeout=WAIT_MS)
    assert not following.places


def test_the_guide_has_every_page_and_f1_opens_it(
    qtbot: Any, window: MainWindow, bench: Workbench
) -> None:
    files = {path.stem for path in resource_path("guide").glob("*.md")}
    assert {one.name for one in pages()} == files | {"model_card"}
    bench.focus_canvas()
    QTest.keyClick(bench.view, Qt.Key.Key_F1)
    guide = window._guide
    assert isinstance(guide, GuideDialog)
    assert guide.isVisible()
    for page in pages():
        guide.show_page(page.name)
        assert len(guide.text.toPlainText()) > 200
        assert guide.index.currentItem().text() == page.title
    guide.close()


def test_the_guide_is_searched_and_links_lead_to_pages(qtbot: Any, window: MainWindow) -> None:
    window.show_guide("models")
    guide = window._guide
    assert guide is not None
    assert guide.page == "models"
    guide.search.setText("no such word anywhere")
    assert all(guide.index.item(row).isHidden() for row in range(guide.index.count()))
    guide.search.setText("teacher")
    assert any(not guide.index.item(row).isHidden() for row in range(guide.index.count()))
    assert "teacher" in guide.text.toPlainText().casefold()
    guide.search.clear()
    guide.show_page("adapting")
    from PySide6.QtCore import QUrl

    guide._follow(QUrl("recipe_studio.md"))
    assert guide.page == "recipe_studio"
    guide.close()


def test_pictures_of_the_guide_exist() -> None:
    import re

    for page in pages():
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.text):
            assert (page.folder / name).is_file(), (page.name, name)
        for name in re.findall(r"\]\(([\w]+\.md)\)", page.text):
            assert Path(name).stem in {one.name for one in pages()}, (page.name, name)
