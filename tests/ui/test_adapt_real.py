"""The whole loop on real images with the real starter, through the window.

Six images are labelled by simulated clicks; an instant and a full run; what the gate promotes is
used by the next click, what was trained on shuffled masks is refused; rolling back gives the
very masks of before. ``INFOSAM_STUDIO_DATA=FOLDER pytest tests/ui/test_adapt_real.py -m slow``
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from infosam_studio.annotation import masks
from infosam_studio.annotation._cv2 import cv2
from infosam_studio.segmentation.clicks import next_click
from infosam_studio.ui import crops
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_adapt import Ended
from tests.ui.conftest import WAIT_MS, key, open_project, wait_mask, wait_ready
from tests.ui.test_adapting import needs_starter

pytestmark = [needs_starter, pytest.mark.slow, pytest.mark.timeout(2400)]
# What adapting is made for: the first click on the base model takes the wrong part.
DOMAIN = "wbc"
IMAGES, OBJECTS, CLICKS, GOOD = 6, 4, 6, 0.85
RUN_MS = 1_200_000
BoolArray = NDArray[np.bool_]


def true_masks(path: Path) -> list[BoolArray]:
    """The objects of an index map, the largest first, bool [H,W]."""
    index = np.asarray(Image.open(path))
    found = [index == value for value in np.unique(index[index > 0])]
    return sorted(found, key=lambda mask: -int(mask.sum()))


def copy_images(data: Path, folder: Path) -> list[Path]:
    """One image more than are labelled; returns the index map of each, in the list's order."""
    meta = json.loads((data / DOMAIN / "META.json").read_text("utf-8"))
    items = [item for item in meta["items"] if item["split"] == "train"][: IMAGES + 1]
    folder.mkdir()
    for number, item in enumerate(items):
        source = data / DOMAIN / item["image"]
        shutil.copyfile(source, folder / f"{number}{source.suffix}")
    return [data / DOMAIN / item["mask"] for item in items]


def click_at(qtbot: Any, bench: Workbench, x: float, y: float, label: int) -> None:
    button = Qt.MouseButton.LeftButton if label else Qt.MouseButton.RightButton
    place: QPoint = bench.view.to_viewport(x + 0.5, y + 0.5).toPoint()
    QTest.mouseClick(bench.view.viewport(), button, pos=place)
    wait_mask(qtbot, bench)


def shown_mask(bench: Workbench, shape: tuple[int, ...]) -> BoolArray:
    draft = bench.drafting.draft
    crop = draft.crop() if draft is not None else None
    return crops.to_mask(crop or crops.EMPTY, shape[0], shape[1])


def label_object(qtbot: Any, bench: Workbench, target: BoolArray) -> int:
    """Click as the protocol says; what stays bad is drawn by hand. Returns the clicks."""
    shown, clicks = np.zeros_like(target), 0
    while clicks < CLICKS:
        found = next_click(target, shown)
        if found is None:
            break
        click_at(qtbot, bench, *found)
        clicks += 1
        shown = shown_mask(bench, target.shape)
        if masks.iou(masks.encode(shown), masks.encode(target)) >= GOOD:
            break
    else:
        bench.drafting.set_mask(crops.from_mask(target), "brush")
    key(bench, Qt.Key.Key_Return)
    assert bench.drafting.draft is None
    return clicks


def label_images(qtbot: Any, bench: Workbench, maps: list[Path]) -> None:
    for number, path in enumerate(maps[:IMAGES]):
        if number:
            key(bench, Qt.Key.Key_D)
            wait_ready(qtbot, bench)
        targets = true_masks(path)[:OBJECTS]
        clicks = [label_object(qtbot, bench, target) for target in targets]
        print(f"image {number}: {len(targets)} objects, {sum(clicks)} clicks")
    assert len(bench.document.project.objects()) >= IMAGES


def adapt(qtbot: Any, bench: Workbench, speed: str, minutes: float = 0.0) -> dict[str, Any]:
    """Press the button and wait for the gate's verdict."""
    options = bench.model_panel.options
    options.speed.setCurrentIndex(options.speed.findData(speed))
    options.minutes.setValue(minutes)
    ended: list[Ended] = []
    bench.adapting.finished.connect(ended.append)
    bench.model_panel.button.click()
    assert bench.adapting.run is not None
    qtbot.waitUntil(lambda: bool(ended), timeout=RUN_MS)
    bench.adapting.finished.disconnect(ended.append)
    result = ended[0].result
    assert result is not None, ended[0].problem
    print(f"{speed}: {bench.model_panel.card.text}")
    return result


def probe(qtbot: Any, bench: Workbench, place: tuple[float, float]) -> tuple[Crop, str | None]:
    """The mask of one click, and the version that made it; the object is dropped again."""
    answers: list[Any] = []
    bench.drafting.answered.connect(answers.append)
    click_at(qtbot, bench, *place, 1)
    qtbot.waitUntil(lambda: bool(answers), timeout=WAIT_MS)
    bench.drafting.answered.disconnect(answers.append)
    draft = bench.drafting.draft
    assert draft is not None
    crop = draft.crop()
    assert crop is not None
    key(bench, Qt.Key.Key_Escape)
    return crop, answers[0].adapter


def shuffle_training_masks(bench: Workbench) -> int:
    """Every training object gets the mask of an object of another image, and elsewhere; how many.

    White blood cells are of one size and in the middle: without moving it half across the image
    another one's mask is nearly right, and the gate may let through what learns from it.
    """
    document = bench.document
    parts = {one.id: one.split for one in document.project.images()}
    found = [one for one in document.project.objects() if parts[one.image_id] == "train"]
    decoded = [masks.decode(one.mask).astype(np.uint8) for one in found]
    updates: dict[int, dict[str, Any]] = {}
    for number, one in enumerate(found):
        other = next(
            k
            for step in range(1, len(found))
            if found[k := (number + 7 + step) % len(found)].image_id != one.image_id
        )
        height, width = decoded[number].shape
        moved = cv2.resize(decoded[other], (width, height), interpolation=cv2.INTER_NEAREST)
        moved = np.roll(moved, (height // 2, width // 2), axis=(0, 1))
        updates[one.id] = {"mask": masks.encode(moved > 0), "hand_corrected": True}
    document.change_objects("Shuffle", update=updates)
    return len(updates)


def test_the_loop(qtbot: Any, window: MainWindow, tmp_path: Path, data_dir: Path) -> None:
    maps = copy_images(data_dir, tmp_path / "images")
    window.resize(1280, 800)
    bench = open_project(qtbot, window, tmp_path / "images")
    label_images(qtbot, bench, maps)
    key(bench, Qt.Key.Key_D)
    wait_ready(qtbot, bench)
    target = true_masks(maps[IMAGES])[0]
    found = next_click(target, np.zeros_like(target))
    assert found is not None
    place = (float(found[0]), float(found[1]))
    before, made_by = probe(qtbot, bench, place)
    assert made_by is None

    results = [adapt(qtbot, bench, "instant"), adapt(qtbot, bench, "full", 3.0)]
    promoted = [one["adapter"] for one in results if one["promoted"]]
    assert promoted, "the gate has let neither candidate through"
    assert bench.adapting.in_use == promoted[-1]
    qtbot.waitUntil(lambda: promoted[-1] in bench.status.model_text, timeout=WAIT_MS)
    wait_ready(qtbot, bench)
    _, made_by = probe(qtbot, bench, place)
    assert made_by == promoted[-1]

    assert shuffle_training_masks(bench) >= 4
    refused = adapt(qtbot, bench, "instant")
    assert not refused["promoted"]
    assert bench.adapting.in_use == promoted[-1]
    assert bench.model_panel.card.button.text() == "Use anyway"

    for _ in promoted:
        with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
            window.actions_["roll_back"].trigger()
    assert bench.adapting.in_use is None
    wait_ready(qtbot, bench)
    after, made_by = probe(qtbot, bench, place)
    assert made_by is None
    assert after.rect == before.rect
    assert np.array_equal(after.pixels, before.pixels)
