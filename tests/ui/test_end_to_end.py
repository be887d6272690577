"""The main job from `main()` to the exported files, and what survives a restart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.resource_files import resource_path
from infosam_studio.ui import app as app_module
from infosam_studio.ui.app import main, settings
from infosam_studio.ui.dialogs.export import ExportChoice
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import WAIT_MS, click, key, open_project, wait_mask, wait_ready

needs_starter = pytest.mark.skipif(
    not resource_path("models", "starter.safetensors").is_file(),
    reason="resources/models/starter.safetensors is not there",
)


def real_images(target: Path, request: pytest.FixtureRequest) -> Path:
    """Two images of white blood cells where the data is there, else two samples."""
    try:
        source = sorted((request.getfixturevalue("data_dir") / "wbc" / "images").iterdir())
    except pytest.skip.Exception:
        source = sorted(resource_path("samples", "images").iterdir())
    target.mkdir()
    for path in source[:2]:
        shutil.copyfile(path, target / path.name)
    return target


def find_window() -> MainWindow:
    """The window that `main` has opened."""
    found = [one for one in QApplication.topLevelWidgets() if isinstance(one, MainWindow)]
    return found[-1]


@needs_starter
def test_from_main_to_export(qtbot: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = real_images(tmp_path / "images", request)
    settings().setValue("hover", "false")
    outcome: dict[str, Any] = {}

    def drive() -> None:
        window = find_window()
        try:
            outcome.update(label_and_export(qtbot, window, tmp_path))
        except BaseException as error:
            outcome["error"] = error
        finally:
            # Ends main() too: a quit() on top would leave its event to the next test's loops.
            window.close()

    QTimer.singleShot(0, drive)
    assert main(folder) == 0
    if "error" in outcome:
        raise outcome["error"]
    check_coco(tmp_path / "labels.json", outcome["objects"])
    check_png(tmp_path / "maps", outcome["objects"], outcome["images"])


def label_and_export(qtbot: Any, window: MainWindow, out: Path) -> dict[str, Any]:
    """Two objects on the first image, one on the second; undo and redo; both exports."""
    qtbot.waitUntil(lambda: window.bench is not None, timeout=WAIT_MS)
    bench = window.bench
    assert bench is not None
    wait_ready(qtbot, bench)
    width, height = bench.view.image_size
    click(qtbot, bench, width * 0.5, height * 0.5)
    click(qtbot, bench, width * 0.05, height * 0.05, Qt.MouseButton.RightButton)
    accept(qtbot, bench)
    click(qtbot, bench, width * 0.8, height * 0.7)
    accept(qtbot, bench)
    before = dict(bench.document.objects)
    window.actions_["undo"].trigger()
    assert len(bench.document.objects) == len(before) - 1
    window.actions_["redo"].trigger()
    assert bench.document.objects == before
    key(bench, Qt.Key.Key_D)
    wait_ready(qtbot, bench)
    click(qtbot, bench, width * 0.5, height * 0.5)
    accept(qtbot, bench)
    for name, place in (("coco", "labels.json"), ("png", "maps")):
        with qtbot.waitSignal(window.exported, timeout=WAIT_MS):
            window.export(ExportChoice(name, out / place, overwrite=False))
    project = bench.document.project
    images = {record.id: record.path for record in project.images()}
    return {"objects": project.objects(), "images": images}


def accept(qtbot: Any, bench: Workbench) -> None:
    """Enter, and wait for the object."""
    wait_mask(qtbot, bench)
    with qtbot.waitSignal(bench.drafting.accepted, timeout=WAIT_MS):
        key(bench, Qt.Key.Key_Return)


def check_coco(path: Path, objects: list[ObjectRecord]) -> None:
    """pycocotools reads the same pixels."""
    coco_module = pytest.importorskip("pycocotools.coco")
    coco = coco_module.COCO(str(path))
    read = [coco.annToMask(one).astype(bool) for one in coco.dataset["annotations"]]
    assert len(read) == len(objects) == 3
    for record in objects:
        wanted = masks.decode(record.mask)
        assert any(wanted.shape == one.shape and np.array_equal(wanted, one) for one in read)


def check_png(folder: Path, objects: list[ObjectRecord], images: dict[int, str]) -> None:
    """Every labelled pixel is in the index map and nothing else is."""
    for image_id, path in images.items():
        with Image.open(folder / (Path(path).stem + ".png")) as picture:
            index = np.asarray(picture)
        mine = [masks.decode(one.mask) for one in objects if one.image_id == image_id]
        assert np.array_equal(index > 0, np.logical_or.reduce(mine))


def test_a_draft_survives_the_window(
    qtbot: Any, window: MainWindow, images_folder: Path, predictor_maker: Callable[..., Any]
) -> None:
    bench = open_project(qtbot, window, images_folder)
    key(bench, Qt.Key.Key_D)
    wait_ready(qtbot, bench)
    click(qtbot, bench, 70, 80)
    draft = bench.drafting.draft
    assert draft is not None
    image_id, shown = draft.image_id, draft.crop()
    assert shown is not None
    folder = bench.document.project.folder
    window.close_project()
    again = open_project(qtbot, window, folder)
    restored = again.drafting.draft
    assert again.document.current_id == image_id
    assert restored is not None
    crop = restored.crop()
    assert crop is not None
    assert crop.rect == shown.rect
    assert np.array_equal(crop.pixels, shown.pixels)
    assert restored.clicks == 1


def test_project_settings_and_title_say_where_it_lives(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    bench = open_project(qtbot, window, images_folder)
    assert str(bench.document.project.folder) in window.windowTitle()
    window.close_project()
    assert window.windowTitle() == "InfoSAM Studio"
    assert settings().value("recent")


def test_a_folder_that_is_none_is_told_not_thrown(
    qtbot: Any, window: MainWindow, tmp_path: Path
) -> None:
    with qtbot.waitSignal(window.opener.failed, timeout=WAIT_MS):
        window.open_path(tmp_path / "nowhere")
    assert window.bench is None


def test_the_tour_reports_each_step(
    qtbot: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not resource_path("models", "starter.safetensors").is_file():
        pytest.skip("resources/models/starter.safetensors is not there")
    from infosam_studio.ui.tour import run_tour

    assert run_tour(tmp_path / "tour", images=1, adapt=False) == 0
    told = capsys.readouterr().out
    assert "exported coco" in told
    assert "0 different" in told
    assert str(tmp_path / "tour") in told
    labels = json.loads((tmp_path / "tour" / "labels.json").read_text())
    assert len(labels["annotations"]) >= 2
    assert len(list((tmp_path / "tour").glob("*.png"))) >= 6


def test_uncaught_errors_are_shown(qtbot: Any, bench: Workbench, window: MainWindow) -> None:
    import sys

    before = sys.excepthook
    catcher = app_module.Catcher(window)
    reporter = app_module.ErrorReporter(window)
    catcher.caught.connect(reporter.show, Qt.ConnectionType.QueuedConnection)
    try:
        catcher.install()
        sys.excepthook(ValueError, ValueError("odd"), None)
        qtbot.waitUntil(lambda: "odd" in bench.toast.text)
    finally:
        sys.excepthook = before
