"""The guided tour: the real window, driven through the first minutes, with figures.

Runs on a screen or offscreen. Each step is printed; screenshots and exports stay in a folder
that is named at the end.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from infosam_studio.annotation import masks
from infosam_studio.errors import StudioError
from infosam_studio.resource_files import resource_path
from infosam_studio.ui import crops, theme
from infosam_studio.ui.dialogs.export import ExportChoice
from infosam_studio.ui.garbage import collected_here
from infosam_studio.ui.inference_messages import Answer
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.samples import copy_samples
from infosam_studio.ui.waiting import wait_for
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_clicks import next_click

BoolArray = NDArray[np.bool_]
SIZE = (1280, 800)
GOOD_IOU = 0.85
MOST_CLICKS = 6
OBJECTS = 2
IMAGES = 3


def run_tour(folder: Path | None = None, *, images: int = IMAGES, adapt: bool = True) -> int:
    """Show the tour; returns the exit status. ``folder`` takes screenshots and exports."""
    from infosam_studio.ui.app import application, make_window

    app = application()
    out = folder or Path(tempfile.mkdtemp(prefix="infosam-studio-tour-"))
    with collected_here():
        window = make_window()
        window.confirm = _yes
        try:
            Tour(window, out, images=images, adapt=adapt).run()
        except StudioError as problem:
            print(f"The tour stopped: {problem}", file=sys.stderr)
            return 1
        finally:
            window.close()
            app.processEvents()
            del window
    return 0


class Tour:
    """One run through open, click, correct, accept, export."""

    def __init__(self, window: MainWindow, out: Path, *, images: int, adapt: bool) -> None:
        self._window = window
        self._out = out
        self._images, self._adapts = images, adapt
        self._pictures = 0
        self.ious: list[float] = []
        self.milliseconds: list[float] = []
        out.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """All steps, each printed with its figures."""
        self._window.resize(*SIZE)
        self._window.show()
        QTest.qWaitForWindowExposed(self._window)
        self._picture("welcome")
        self._open()
        for number in range(min(self._images, len(self._bench.document.images()))):
            if number:
                self._next_image()
            self._label_image()
        self._undo_and_redo()
        if self._adapts:
            self._adapt()
        self._export("coco", "labels.json")
        self._export("png", "index-maps")
        self._dark()
        mean = float(np.mean(self.ious)) if self.ious else float("nan")
        self._say(
            f"{len(self.ious)} objects, mean IoU {mean:.2f} with the true masks; "
            f"click to mask {np.median(self.milliseconds):.0f} ms (median)"
        )
        self._say(f"screenshots and exports: {self._out}")

    @property
    def _bench(self) -> Workbench:
        assert self._window.bench is not None
        return self._window.bench

    def _say(self, text: str) -> None:
        print(f"tour: {text}", flush=True)

    def _picture(self, name: str) -> None:
        QApplication.processEvents()
        self._pictures += 1
        path = self._out / f"{self._pictures:02d}-{name}.png"
        self._window.grab().save(str(path))

    # steps -------------------------------------------------------------------------------

    def _open(self) -> None:
        started = time.perf_counter()
        images = copy_samples(self._out / "samples")
        window = self._window
        wait_for(window.project_opened, lambda: window.open_path(images), "opening the samples")
        bench = self._bench
        if bench.view.image_size == (0, 0):
            wait_for(bench.picture_shown, lambda: None, "showing the first image")
        shown = time.perf_counter() - started
        self._wait_ready()
        ready = time.perf_counter() - started
        count = len(bench.document.images())
        self._say(
            f"opened {count} sample images in {shown:.2f} s, model and first image ready "
            f"after {ready:.2f} s; project in {bench.document.project.folder}"
        )
        self._picture("opened")

    def _wait_ready(self) -> None:
        bench = self._bench
        if bench.model_phase == "failed":
            raise StudioError("the model could not be loaded; infosam-studio doctor says why")
        if bench.ready_image != bench.document.current_id:
            wait_for(
                bench.image_ready,
                lambda: None,
                "preparing the image",
                wanted=lambda image_id: image_id == bench.document.current_id,
            )

    def _next_image(self) -> None:
        bench = self._bench
        started = time.perf_counter()
        wait_for(bench.picture_shown, lambda: self._key(Qt.Key.Key_D), "showing the next image")
        shown = (time.perf_counter() - started) * 1000
        self._wait_ready()
        ready = (time.perf_counter() - started) * 1000
        name = bench.document.current.path if bench.document.current else ""
        self._say(f"next image {name}: shown in {shown:.0f} ms, ready in {ready:.0f} ms")

    def _label_image(self) -> None:
        truth = self._true_objects()
        for number, target in enumerate(truth[:OBJECTS]):
            self._label_object(target, picture=number == 0)
        self._picture("labelled")

    def _true_objects(self) -> list[BoolArray]:
        """The true masks of the sample on the canvas, the largest first."""
        record = self._bench.document.current
        assert record is not None
        path = resource_path("samples", "masks", Path(record.path).stem + ".png")
        with Image.open(path) as image:
            index = np.asarray(image)
        found = [index == value for value in np.unique(index) if value]
        return sorted(found, key=lambda mask: -int(mask.sum()))

    def _label_object(self, target: BoolArray, *, picture: bool) -> None:
        bench = self._bench
        shown = np.zeros_like(target)
        ious: list[float] = []
        while len(ious) < MOST_CLICKS and (not ious or ious[-1] < GOOD_IOU):
            click = next_click(target, shown)
            if click is None:
                break
            x, y, label = click
            shown = self._click(x, y, label, target.shape)
            ious.append(_iou(shown, target))
            if picture and len(ious) in (1, 3):
                self._picture(f"after-{len(ious)}-clicks")
        wait_for(bench.drafting.accepted, lambda: self._key(Qt.Key.Key_Return), "accepting")
        self.ious.append(ious[-1])
        name = Path(bench.document.current.path).stem if bench.document.current else ""
        self._say(
            f"{name}: {len(ious)} clicks, IoU "
            + " → ".join(f"{iou:.2f}" for iou in ious)
            + f", last mask in {self.milliseconds[-1]:.0f} ms"
        )

    def _click(self, x: int, y: int, label: int, shape: tuple[int, ...]) -> BoolArray:
        """Click as a person does and return the mask on the canvas, bool [H,W]."""
        bench = self._bench
        button = Qt.MouseButton.LeftButton if label else Qt.MouseButton.RightButton
        position = self._at(x + 0.5, y + 0.5)
        started = time.perf_counter()

        def answers(answer: Answer) -> bool:
            draft = bench.drafting.draft
            return draft is not None and not draft.waiting()

        wait_for(
            bench.mask_shown,
            lambda: QTest.mouseClick(bench.view.viewport(), button, pos=position),
            "predicting a mask",
            wanted=answers,
        )
        self.milliseconds.append((time.perf_counter() - started) * 1000)
        draft = bench.drafting.draft
        crop = draft.crop() if draft is not None else None
        return crops.to_mask(crop or crops.EMPTY, shape[0], shape[1])

    def _at(self, x: float, y: float) -> QPoint:
        """Where an image position lies in the window; scrolled into view when needed."""
        view = self._bench.view
        position = view.to_viewport(x, y)
        if not view.viewport().rect().contains(position.toPoint()):
            view.fit()
            position = view.to_viewport(x, y)
        return QPointF(position).toPoint()

    def _key(self, key: Qt.Key) -> None:
        self._bench.focus_canvas()
        QTest.keyClick(self._bench.view, key)

    def _undo_and_redo(self) -> None:
        document = self._bench.document
        before = sum(document.count(one.id) for one in document.images())
        self._window.actions_["undo"].trigger()
        between = sum(document.count(one.id) for one in document.images())
        self._window.actions_["redo"].trigger()
        after = sum(document.count(one.id) for one in document.images())
        self._say(f"undo and redo: {before} → {between} → {after} objects")

    def _adapt(self) -> None:
        """An instant adaptation, its card, the swap and the way back."""
        bench, window = self._bench, self._window
        window.actions_["adapt"].trigger()
        self._picture("adapting")
        (ended,) = wait_for(
            bench.adapting.finished, lambda: None, "adapting the model", seconds=900.0
        )
        self._picture("result-card")
        if ended.result is None:
            self._say(f"adaptation: {ended.problem}")
            return
        name = str(ended.result["adapter"])
        self._say(f"adapted in {ended.result['seconds']:.0f} s: {bench.model_panel.card.text}")
        if bench.adapting.in_use != name:
            self._swap(lambda: bench.adapting.use(name), f"swapped to {name} by hand")
        self._swap(lambda: window.actions_["roll_back"].trigger(), "rolled back to the base")

    def _swap(self, action: Callable[[], object], what: str) -> None:
        started = time.perf_counter()
        wait_for(self._bench.model_ready, action, what)
        swapped = (time.perf_counter() - started) * 1000
        self._say(f"{what} in {swapped:.0f} ms")

    def _export(self, name: str, place: str) -> None:
        choice = ExportChoice(name, self._out / place, overwrite=True)
        started = time.perf_counter()
        (done,) = wait_for(
            self._window.exported, lambda: self._window.export(choice), f"exporting {name}"
        )
        seconds = time.perf_counter() - started
        self._say(f"exported {name} in {seconds:.2f} s: {done.report.summary}")

    def _dark(self) -> None:
        before = theme.theme().choice
        theme.theme().choose("dark" if theme.theme().tokens.name == "light" else "light")
        self._picture("other-theme")
        theme.theme().choose(before)


def _yes(*_question: object, **_buttons: str) -> bool:
    """Nobody is there to be asked whether a run may be stopped."""
    return True


def _iou(first: BoolArray, second: BoolArray) -> float:
    return float(masks.iou(masks.encode(first), masks.encode(second)))
