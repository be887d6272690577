"""Import and export as a person does them: dialogs, preview, mapping, conflicts, drops, cancel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.interchange.reports import ImportReport
from infosam_studio.ui.dialogs.class_table import LEFT_OUT
from infosam_studio.ui.dialogs.export import ExportDialog
from infosam_studio.ui.dialogs.importing import ImportDialog
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import WAIT_MS, draw_discs, open_project


def coco(path: Path, bench: Workbench) -> Path:
    """A COCO file: two discs and one star on the first image, a disc on one that is not there."""
    square = [[10, 10, 40, 10, 40, 40, 10, 40]]
    images = [{"id": 1, "file_name": "disc 0.png"}, {"id": 2, "file_name": "gone.png"}]
    objects = [(1, 1), (1, 1), (1, 2), (2, 1)]
    content = {
        "images": images,
        "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "star"}],
        "annotations": [
            {
                "id": k,
                "image_id": image,
                "category_id": kind,
                "segmentation": [[v + 5 * k for v in square[0]]],
            }
            for k, (image, kind) in enumerate(objects)
        ],
    }
    path.write_text(json.dumps(content))
    return path


def looked(qtbot: Any, dialog: ImportDialog) -> None:
    qtbot.waitUntil(lambda: dialog.preview is not None, timeout=WAIT_MS)


def test_the_import_dialog_shows_maps_and_takes_in(
    qtbot: Any, window: MainWindow, bench: Workbench, tmp_path: Path
) -> None:
    bench.document.add_class("cell")
    dialog = ImportDialog(bench.document.project, window, coco(tmp_path / "labels.json", bench))
    qtbot.addWidget(dialog)
    assert dialog.formats.currentData() == "coco"
    assert not dialog.start.isEnabled()
    looked(qtbot, dialog)

    assert dialog.summary.text() == "3 objects of 2 classes on 1 image."
    assert dialog.start.isEnabled()
    assert not dialog.conflict.isEnabled()
    assert dialog.problems.isVisibleTo(dialog)
    dialog.problems.toggle.click()
    assert "gone.png" in dialog.problems.list.item(0).text()
    rows = {dialog.classes.item(r, 0).text(): r for r in range(dialog.classes.rowCount())}
    for name, becomes in (("disc", "cell"), ("star", LEFT_OUT)):
        box = dialog.classes.cellWidget(rows[name], 2)
        assert isinstance(box, QComboBox)
        box.setCurrentText(becomes)
    dialog.complete.setChecked(True)
    dialog.accept()
    choice = dialog._choice()
    assert choice.options.class_names == {"disc": "cell", "star": None}

    with qtbot.waitSignal(window.exchange.transfer.finished, timeout=WAIT_MS) as done:
        window.exchange.import_labels(choice)
    assert isinstance(done.args[0].report, ImportReport)
    assert [c.name for c in bench.document.classes()] == ["cell"]
    assert len(bench.document.objects) == 2
    assert bench.document.current is not None
    assert bench.document.current.fully_labelled
    window.actions_["undo"].trigger()
    assert not bench.document.objects


def test_images_with_objects_are_a_choice(
    qtbot: Any, window: MainWindow, bench: Workbench, tmp_path: Path
) -> None:
    class_id = bench.document.ensure_class()
    image_id = bench.document.current_id
    assert image_id is not None
    bitmap = np.zeros((256, 256), bool)
    bitmap[100:120, 100:120] = True
    bench.document.change_objects(
        "Add", add=[ObjectRecord(0, image_id, class_id, masks.encode(bitmap))]
    )
    dialog = ImportDialog(bench.document.project, window, coco(tmp_path / "labels.json", bench))
    qtbot.addWidget(dialog)
    looked(qtbot, dialog)
    assert "1 image of these have objects already." in dialog.summary.text()
    assert dialog.conflict.isEnabled()
    dialog.conflict.setCurrentIndex(dialog.conflict.findData("replace"))
    dialog.accept()
    with qtbot.waitSignal(window.exchange.transfer.finished, timeout=WAIT_MS):
        window.exchange.import_labels(dialog._choice())
    assert len(bench.document.objects) == 3


def test_what_cannot_be_read_is_said_in_the_dialog(
    qtbot: Any, window: MainWindow, bench: Workbench, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text('{"images": [')
    dialog = ImportDialog(bench.document.project, window)
    qtbot.addWidget(dialog)
    dialog.source.setText(str(tmp_path / "nothing.json"))
    qtbot.waitUntil(lambda: "nothing at that place" in dialog.summary.text(), timeout=WAIT_MS)
    dialog.source.setText(str(tmp_path / "broken.json"))
    qtbot.waitUntil(lambda: "lists no images" in dialog.summary.text(), timeout=WAIT_MS)
    assert not dialog.start.isEnabled()
    dialog.source.setText(coco(tmp_path / "good.json", bench).as_uri())
    looked(qtbot, dialog)
    dialog.formats.setCurrentIndex(dialog.formats.findData("png"))
    assert not dialog.start.isEnabled()
    assert dialog.meaning.isVisibleTo(dialog)
    dialog.reject()


def test_an_import_can_be_cancelled(
    qtbot: Any, window: MainWindow, bench: Workbench, tmp_path: Path
) -> None:
    path = coco(tmp_path / "labels.json", bench)
    content = json.loads(path.read_text())
    content["annotations"] = [content["annotations"][0] | {"id": k} for k in range(30_000)]
    path.write_text(json.dumps(content))  # more than comes in before a person can click
    dialog = ImportDialog(bench.document.project, window, path)
    qtbot.addWidget(dialog)
    looked(qtbot, dialog)
    dialog.accept()
    before = bench.document.project.history()
    with qtbot.waitSignal(window.exchange.transfer.stopped, timeout=WAIT_MS):
        window.exchange.import_labels(dialog._choice())
        assert bench.toast.text == "Importing…"
        bench.toast.acted.emit("cancel_transfer")
    assert bench.document.project.history() == before
    assert bench.toast.text == "Stopped; nothing was changed."


def test_export_options_follow_the_format(qtbot: Any, window: MainWindow, tmp_path: Path) -> None:
    dialog = ExportDialog(tmp_path, window)
    qtbot.addWidget(dialog)
    names = [dialog.formats.item(k).data(Qt.ItemDataRole.UserRole) for k in range(9)]
    dialog.formats.setCurrentRow(names.index("png-semantic"))
    assert dialog.form.priority.isVisibleTo(dialog)
    assert not dialog.form.geometry_.isVisibleTo(dialog)
    dialog.form.class_order.setText("nucleus , cell,")
    dialog.form.priority.setCurrentIndex(2)
    options = dialog.choice().options
    assert (options.class_order, options.priority) == (("nucleus", "cell"), "large")
    dialog.formats.setCurrentRow(names.index("yolo"))
    dialog.form.copy_images.setChecked(True)
    assert dialog.choice().options.copy_images
    dialog.formats.setCurrentRow(names.index("coco"))
    assert not dialog.choice().options.copy_images
    assert not dialog.choice().options.class_order
    (tmp_path / "there.json").write_text("{}")
    dialog.target.setText(str(tmp_path / "there.json"))
    assert "already" in dialog._problem.text()
    assert dialog.overwrite.isVisibleTo(dialog)


def test_images_dropped_on_a_project_come_in(
    qtbot: Any, window: MainWindow, bench: Workbench, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    new = [tmp_path / "new.png", tmp_path / "more" / "other.png"]
    for number, path in enumerate(new):
        Image.fromarray(draw_discs(10 + number)).save(path)
    with qtbot.waitSignal(window.exchange.transfer.finished, timeout=WAIT_MS):
        window.drop([new[0], tmp_path / "more"])
    assert len(bench.document.images()) == 5
    assert bench.document.current is not None
    assert bench.document.project.image_path(bench.document.current).samefile(new[0])
    assert bench.toast.text == "2 images added."
    with qtbot.waitSignal(window.exchange.transfer.finished, timeout=WAIT_MS):
        window.drop([new[1]])
    assert bench.toast.text == "Already in this project."


def test_moved_images_are_found_from_the_window(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    open_project(qtbot, window, images_folder)
    assert window.bench is not None
    place = window.bench.document.project.folder
    window.close_project()
    elsewhere = images_folder.with_name("elsewhere")
    images_folder.rename(elsewhere)
    (elsewhere / "disc 0.png").rename(elsewhere / "first.png")
    with qtbot.waitSignal(window.project_opened, timeout=WAIT_MS):
        window.open_path(place)
    bench = window.bench
    assert bench is not None
    assert "3 images of 3 cannot be found." in bench.toast.text
    with qtbot.waitSignal(window.exchange.transfer.finished, timeout=WAIT_MS):
        window.exchange.relocate(elsewhere)
    assert {i.path for i in bench.document.images()} == {"first.png", "disc 1.png", "disc 2.png"}
    qtbot.waitUntil(lambda: bench.view.image_size == (256, 256), timeout=WAIT_MS)


def test_files_dropped_on_the_welcome_page_are_a_project(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    files = sorted(images_folder.iterdir())[:2]
    with qtbot.waitSignal(window.project_opened, timeout=WAIT_MS):
        window.drop(files)
    assert window.bench is not None
    assert [i.path for i in window.bench.document.images()] == [one.name for one in files]
    place = window.bench.document.project.folder
    assert place.parent == images_folder.parent
    window.close_project()


def test_a_list_of_images_can_be_opened(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    listing = images_folder.parent / "listing.txt"
    listing.write_text("discs/disc 2.png\n")
    bench = open_project(qtbot, window, listing)
    assert [i.path for i in bench.document.images()] == ["disc 2.png"]
