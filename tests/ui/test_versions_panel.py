"""The versions in the window: timeline, use, the way back, compare, rename, remark, in and out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from infosam_studio.adaptation import gate
from infosam_studio.events import Event
from infosam_studio.segmentation.adapter_folder import AdapterManifest, write_adapter
from infosam_studio.ui import adapting as adapting_module
from infosam_studio.ui.dialogs.comparing import CompareDialog, compared
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.panels.card import ResultCard
from infosam_studio.ui.run_state import RunState
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_adapt import AdaptWish, Ended
from infosam_studio.ui.workers_versions import VersionRow
from tests.ui.conftest import WAIT_MS, open_project
from tests.ui.test_adapting import label_everything, needs_starter


def make_version(bench: Workbench, name: str, **fields: Any) -> None:
    """A real version of the base model in use: its own decoder, unchanged."""
    predictor = bench.inference._worker._predictor
    assert predictor is not None
    state = predictor.sam.mask_decoder.state_dict()
    tensors = {f"base_model.model.mask_decoder.{key}": value for key, value in state.items()}
    config = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 4,
        "target_modules": [],
        "modules_to_save": ["mask_decoder"],
        "bias": "none",
    }
    info = predictor.model.info
    manifest = AdapterManifest(
        name,
        info.name,
        info.sha256,
        encoder_sha256=predictor.encoder_sha256,
        speed="instant",
        created=f"2026-01-0{len(bench.adapting.store.names()) + 1}T10:00:00+00:00",
        acts_on_encoder=False,
        **fields,
    )
    write_adapter(bench.document.project.adapters_dir / name, tensors, manifest, config, None)


def listed(qtbot: Any, bench: Workbench) -> None:
    with qtbot.waitSignal(bench.adapting.store.listed, timeout=WAIT_MS):
        bench.adapting.store.refresh()


def use(qtbot: Any, bench: Workbench, name: str | None) -> None:
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
        bench.adapting.use(name)


@pytest.fixture
def versions(qtbot: Any, bench: Workbench) -> Workbench:
    for name in ("v1", "v2"):
        make_version(bench, name, after={"noc85": 2.5, "miou_at": [0.7, 0.8]})
    listed(qtbot, bench)
    return bench


def test_the_timeline_and_the_way_back(qtbot: Any, window: MainWindow, versions: Workbench) -> None:
    bench, timeline = versions, versions.model_panel.versions
    assert [text.split(",")[0] for text in timeline.texts()] == ["starter", "v1", "v2"]
    assert "in use" in timeline.texts()[0]
    assert "2.5 clicks" in timeline.texts()[1]
    use(qtbot, bench, "v1")
    use(qtbot, bench, "v2")
    assert "in use" in timeline.texts()[2]
    for expected in ("v1", None):
        with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS) as ready:
            window.actions_["roll_back"].trigger()
        assert bench.adapting.in_use == expected
        assert ready.args[0].adapter == expected
    window.actions_["roll_back"].trigger()  # nothing before the base model
    assert bench.adapting.in_use is None


def test_keys_of_the_timeline(qtbot: Any, versions: Workbench) -> None:
    versions.model_panel.raise_()
    timeline = versions.model_panel.versions
    qtbot.waitUntil(timeline.isVisible, timeout=WAIT_MS)
    timeline.setFocus()  # else Return belongs to the canvas
    timeline.setCurrentRow(1)
    with qtbot.waitSignal(versions.model_ready, timeout=WAIT_MS):
        QTest.keyClick(timeline, Qt.Key.Key_Return)
    assert versions.adapting.in_use == "v1"
    assert timeline.chosen() == "v1"  # kept when the list is shown anew


def test_the_version_in_use_renamed_and_deleted(qtbot: Any, versions: Workbench) -> None:
    bench, store = versions, versions.adapting.store
    use(qtbot, bench, "v1")
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS) as ready:
        store.rename("v1", "first plate")
    assert bench.adapting.in_use == "first plate"
    assert ready.args[0].adapter == "first plate"
    with qtbot.waitSignal(store.listed, timeout=WAIT_MS):
        store.annotate("first plate", "blue filter")
    assert any("blue filter" in text for text in bench.model_panel.versions.texts())
    with qtbot.waitSignal(store.listed, timeout=WAIT_MS):
        store.delete("first plate")
    assert bench.adapting.in_use is None
    assert store.names() == ["v2"]
    assert bench.adapting.roll_back() is None  # it is gone, so is the way to it


def test_out_and_in_as_folder_and_zip(qtbot: Any, versions: Workbench, tmp_path: Path) -> None:
    store = versions.adapting.store
    for place in (tmp_path / "v1.zip", tmp_path / "folder of v1"):
        with qtbot.waitSignal(store.listed, timeout=WAIT_MS):
            store.export("v1", place)
        with qtbot.waitSignal(store.listed, timeout=WAIT_MS):
            store.import_version(place)
    assert store.names() == ["v1", "v1 2", "v1 3", "v2"]
    use(qtbot, versions, "v1 3")
    assert versions.adapting.in_use == "v1 3"
    (tmp_path / "no.zip").write_bytes(b"this is none")
    with qtbot.waitSignal(store.told, timeout=WAIT_MS) as told:
        store.import_version(tmp_path / "no.zip")
    assert "no.zip" in told.args[0]


def test_a_version_that_cannot_be_loaded_is_not_called_in_use(
    qtbot: Any, window: MainWindow, versions: Workbench
) -> None:
    bench = versions
    use(qtbot, bench, "v1")
    weights = bench.document.project.adapters_dir / "v2" / "adapter_model.safetensors"
    weights.write_bytes(b"torn")
    use(qtbot, bench, "v2")
    assert bench.adapting.in_use == "v1"
    assert "v2" in bench.toast.text
    assert bench.status.model_text.startswith("starter · v1")
    shutil.rmtree(bench.document.project.adapters_dir / "v1")
    folder = bench.document.project.folder
    window.close_project()
    again = open_project(qtbot, window, folder)
    assert again.adapting.in_use is None
    assert "base model" in again.toast.text


def test_what_can_be_done_with_a_version(versions: Workbench) -> None:
    panel = versions.model_panel
    texts = [text for text, _ in panel.choices_for("v1")]
    for word in ("Use", "Compare", "Rename", "Remark", "Delete", "zip", "folder", "Import"):
        assert any(word in text for text in texts), word
    base = [text for text, _ in panel.choices_for(None)]
    assert not any(word in text for text in base for word in ("Use", "Delete", "Rename"))


def test_compare_is_side_by_side(qtbot: Any) -> None:
    old = VersionRow("v1", Path("v1"), after={"noc85": 3.0, "miou_at": [0.6]})
    new = VersionRow(
        "v2",
        Path("v2"),
        before={"noc85": 4.0},
        after={"noc85": 2.0, "miou_at": [0.7]},
        notes={"compared_with": None, "train_objects": 12},
    )
    lines = {line[0]: line[1:] for line in compared(old, new)}
    assert lines["Clicks to IoU 0.85"] == ("3.00", "2.00")
    assert lines["IoU after 1 click"] == ("0.600", "0.700")
    base = {line[0]: line[1:] for line in compared(VersionRow("starter", None), new)}
    assert base["Clicks to IoU 0.85"] == ("4.00", "2.00")
    dialog = CompareDialog(old, new, None)  # type: ignore[arg-type]
    qtbot.addWidget(dialog)
    with qtbot.waitSignal(dialog.use_wanted) as used:
        dialog._use()
    assert used.args == ["v2"]


REASON = "Not better, so it stays unused: 0.10 more clicks (90 % interval -0.60 to +0.40)."


def test_the_card_by_class_and_refused(qtbot: Any, tmp_path: Path) -> None:
    def of(noc: float, iou: float) -> dict[str, Any]:
        return {"objects": 6, "noc85": noc, "miou_at": [iou]}

    result = {
        "adapter": "v4",
        "promoted": False,
        "before": {"noc85": 3.0, "miou_at": [0.6]},
        "after": {"noc85": 3.1, "miou_at": [0.6]},
        "per_class": {
            "before": {"cell": of(3.0, 0.6), "dust <1>": of(3.0, 0.6)},
            "after": {"cell": of(2.0, 0.7), "dust <1>": of(4.2, 0.5)},
        },
        "gate": {"objects": 12, "images": 4, "interval": [-0.6, 0.4], "reason": REASON},
    }
    card = ResultCard()
    qtbot.addWidget(card)
    card.show_end(Ended(AdaptWish(tmp_path, "starter"), result, "", False, ()), None)
    assert "v4 stays unused" in card.text
    assert "cell 3.0 → 2.0" in card.text
    assert "dust <1> 3.0 → 4.2" in card.text
    assert "-0.6 to +0.4 clicks" in card.text
    assert card.text.count("90 % interval") == 1  # the gate's reason tells it too
    assert card.button.text() == "Use anyway"


def test_what_a_proof_needs_is_what_the_gate_asks(bench: Workbench) -> None:
    assert adapting_module.PROOF_IMAGES == gate.PROVEN_IMAGES
    assert adapting_module.PROOF_OBJECTS == gate.PROVEN_OBJECTS
    label_everything(bench)
    needs = bench.adapting.needs()
    assert needs.startswith("9 objects on 3 images. A proof would take 12 labelled images;")
    assert "you can start now, the result will be marked unproven" in needs


@needs_starter
def test_auto_mode_is_off_until_switched_on(qtbot: Any, bench: Workbench) -> None:
    automatic, panel = bench.adapting.automatic, bench.model_panel
    label_everything(bench)
    for _ in range(12):
        automatic.object_accepted()
    assert bench.adapting.run is None
    assert not panel.options.automatic.isChecked()
    panel.options.every.setValue(3)
    panel.options.automatic.setChecked(True)
    assert automatic.on
    assert "next after 3 objects" in panel._auto.text()
    for _ in range(3):
        automatic.object_accepted()
    run = bench.adapting.run
    assert run is not None
    assert run.wish.automatic
    assert run.wish.speed == "instant"
    with qtbot.waitSignal(bench.adapting.finished, timeout=WAIT_MS):
        bench.adapting.cancel()
    assert not automatic.on  # who cancels does not want the next one either
    assert not panel.options.automatic.isChecked()


def test_a_full_run_when_nobody_works(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    automatic = bench.adapting.automatic
    wished: list[dict[str, Any]] = []
    monkeypatch.setattr(bench.adapting, "start", lambda **choices: wished.append(choices) or True)
    automatic.switch(True)
    label_everything(bench)
    automatic.look()
    assert wished == []  # somebody has just worked
    automatic._touched -= 1000
    automatic.look()
    assert wished == [{"speed": "full", "automatic": True}]
    automatic.look()
    assert len(wished) == 1  # nothing new since
    automatic.switch(False)


def test_an_unproven_version_of_the_auto_mode_stays_unused(versions: Workbench) -> None:
    adapting = versions.adapting
    wish = AdaptWish(versions.document.project.folder, adapting.model, automatic=True)
    result = {"adapter": "v1", "promoted": True, "gate": {"proven": False}}
    adapting._promote(Ended(wish, result, "", False, ()))
    assert adapting.in_use is None
    result["gate"] = {"proven": True}
    adapting._promote(Ended(wish, result, "", False, ()))
    assert adapting.in_use == "v1"


def test_versions_have_a_button_too(qtbot: Any, bench: Workbench, monkeypatch: Any) -> None:
    make_version(bench, "v1")
    listed(qtbot, bench)
    offered: list[str | None] = []
    panel = bench.model_panel
    monkeypatch.setattr(panel, "_offer", lambda name, _place: offered.append(name))
    panel.more.click()
    panel.versions.setCurrentRow(1)
    panel.more.click()
    assert offered == [None, "v1"]  # what is in use, until a version is selected


def test_a_run_has_two_lines_from_start_to_end(bench: Workbench) -> None:
    run = RunState(AdaptWish(bench.document.project.folder, "starter"))
    panel = bench.model_panel
    for event in (None, {"stage": "load"}, {"stage": "train", "step": 3, "of": 9, "left": 4.0}):
        if event is not None:
            run.take(Event("progress", event))
        panel._show_run(run)
        assert panel._state.text().count("\n") == 1
    assert panel._state.text() == "Learning from your labels…\n3 of 9 · a few seconds left"
