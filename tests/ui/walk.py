"""A walk through the app as a person takes it: a window manager, a real pointer, real keys.

    INFOSAM_STUDIO_DATA=FOLDER python tests/ui/walk.py --out DIR [--panels]

Needs a running X server, a window manager and xdotool (`test_walk.py` starts them). Ten nuclei and
three leaf lesions are labelled with clicks, boxes, brush and knife; what was wrong is undone. The
report says for each object how it was made, what it cost and its IoU with the true mask. With
``--panels`` every panel is also shown in light and dark at two window sizes, one picture each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PySide6.QtTest import QTest

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui import crops, theme
from infosam_studio.ui.app import application, make_window
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_clicks import next_click

Mask = NDArray[np.bool_]
SIZES = ((1280, 800), (2560, 1440))
GOOD, MOST_CLICKS = 0.85, 5
WAIT_S = 120.0


def xdotool(*words: object) -> None:
    """One command of xdotool."""
    subprocess.run(["xdotool", *map(str, words)], check=True)


class Walker:
    """Drives one window by the X server's pointer and keyboard."""

    def __init__(self, window: MainWindow, out: Path) -> None:
        self.window, self.out = window, out
        self.report: list[dict[str, Any]] = []

    @property
    def bench(self) -> Workbench:
        assert self.window.bench is not None
        return self.window.bench

    # pointer and keys --------------------------------------------------------------------

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > end:
                self.picture("stuck")
                raise TimeoutError(f"waited in vain: {what}")
            QTest.qWait(15)

    def at(self, x: float, y: float) -> tuple[int, int]:
        """Where an image position lies on the screen."""
        view = self.bench.view
        point = view.viewport().mapToGlobal(view.to_viewport(x, y).toPoint())
        return point.x(), point.y()

    def press(self, key: str) -> None:
        xdotool("key", "--clearmodifiers", key)
        QTest.qWait(60)

    def tool(self, key: str, name: str) -> None:
        """Choose a tool by its key, the pointer over the canvas."""
        self.bench.focus_canvas()
        self.press(key)
        self.wait(lambda: self.bench.tools.active.name == name, f"the tool {name}")

    def click(self, x: float, y: float, button: int = 1) -> None:
        xdotool("mousemove", *self.at(x, y), "click", button)
        QTest.qWait(40)

    def drag(self, way: list[tuple[float, float]]) -> None:
        xdotool("mousemove", *self.at(*way[0]), "mousedown", 1)
        QTest.qWait(30)
        for (x0, y0), (x1, y1) in pairwise(way):
            for step in range(1, 6):
                share = step / 5
                xdotool("mousemove", *self.at(x0 + (x1 - x0) * share, y0 + (y1 - y0) * share))
                QTest.qWait(8)
        xdotool("mouseup", 1)
        QTest.qWait(40)

    def picture(self, name: str) -> None:
        """The whole screen, window frame and all."""
        QTest.qWait(250)
        path = self.out / f"{name}.png"
        subprocess.run(["import", "-window", "root", str(path)], check=True)

    # the app -----------------------------------------------------------------------------

    def open(self, folder: Path) -> None:
        self.window.open_path(folder)
        self.wait(lambda: self.window.bench is not None, "the project")
        self.ready()

    def ready(self) -> None:
        bench = self.bench

        def done() -> bool:
            image = bench.document.current
            shown = image is not None and bench.view.image_size == (image.width, image.height)
            return shown and bench.ready_image == bench.document.current_id

        self.wait(done, "the image")
        bench.focus_canvas()

    def zoom_to(self, x: float, y: float, times: float) -> None:
        """The wheel over a place, until an image pixel is that many pixels of the screen."""
        while self.bench.view.zoom < times:
            xdotool("mousemove", *self.at(x, y), "click", 4)
            QTest.qWait(20)

    def go_to(self, part: str) -> None:
        """Next image by key until one of this name is shown."""
        for _ in range(20):
            image = self.bench.document.current
            if image is not None and part in image.path:
                break
            self.press("d")
        self.ready()

    def answered(self) -> None:
        batch = self.bench.drafting._batch
        self.wait(lambda: batch is not None and not batch.waiting(), "the masks")

    def shown(self, shape: tuple[int, ...]) -> Mask:
        draft = self.bench.drafting.draft
        crop = draft.crop() if draft is not None else None
        return crops.to_mask(crop or crops.EMPTY, shape[0], shape[1])

    def accept(self) -> list[ObjectRecord]:
        """Enter; returns the new objects."""
        before = set(self.bench.document.objects)
        self.press("Return")
        self.wait(lambda: set(self.bench.document.objects) > before, "the object")
        return [one for key, one in self.bench.document.objects.items() if key not in before]

    def note(self, how: str, record: ObjectRecord, target: Mask) -> None:
        found = masks.decode(record.mask)
        iou = float((found & target).sum() / max(1, (found | target).sum()))
        entry = {"how": how, "iou": round(iou, 3), "clicks": record.clicks}
        self.report.append(entry | {"seconds": round(record.seconds, 1)})

    # ways to make an object --------------------------------------------------------------

    def by_clicks(self, target: Mask) -> None:
        """Click, look, correct with left or right, accept."""
        self.tool("c", "prompt")
        mask = np.zeros_like(target)
        for _ in range(MOST_CLICKS):
            click = next_click(target, mask)
            if click is None:
                break
            self.click(click[0] + 0.5, click[1] + 0.5, 1 if click[2] else 3)
            self.answered()
            mask = self.shown(target.shape)
            if (mask & target).sum() / max(1, (mask | target).sum()) >= GOOD:
                break
        self.note("clicks", self.accept()[0], target)

    def by_boxes(self, targets: list[Mask]) -> None:
        """All boxes first, Enter once."""
        self.tool("b", "box")
        for target in targets:
            x0, y0, x1, y1 = tight(target)
            self.drag([(x0 - 0.5, y0 - 0.5), (x1 + 1.5, y1 + 1.5)])
        self.wait(lambda: self.bench.drafting.count == len(targets), "a draft per box")
        self.answered()
        self.picture(f"boxes-{len(targets)}")
        records = self.accept()
        for record, target in zip(sorted(records, key=lambda one: one.id), targets, strict=True):
            self.note("box", record, target)

    def by_brush(self, target: Mask) -> None:
        """Row by row with a brush as wide as the rows."""
        self.tool("p", "brush")
        self.bench._set_brush_size(3)
        for row in strokes(target, 2):
            self.drag(row)
        self.note("brush", self.accept()[0], target)

    def correct_with_brush(self, record: ObjectRecord, target: Mask) -> None:
        """Paint what is missing of an accepted object."""
        self.bench.document.select((record.id,))
        self.tool("p", "brush")
        self.bench._set_brush_size(3)
        missing = target & ~masks.decode(record.mask)
        for row in list(strokes(missing, 3))[:6]:
            self.drag(row)
        self.note("corrected by brush", self.bench.document.objects[record.id], target)

    def split_and_undo(self, record: ObjectRecord) -> None:
        """The knife right across an object, then undo."""
        count = len(self.bench.document.objects)
        x, y, w, h = masks.bbox(record.mask)
        self.tool("k", "cut")
        self.drag([(x + w / 2, y - 4), (x + w / 2, y + h + 4)])
        self.wait(lambda: len(self.bench.document.objects) == count + 1, "two parts")
        self.picture("split")
        self.press("ctrl+z")
        self.wait(lambda: len(self.bench.document.objects) == count, "the undo")
        assert self.bench.document.objects[record.id].mask == record.mask


def tight(mask: Mask) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the pixels, the last ones included."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())


def strokes(mask: Mask, step: int) -> Iterator[list[tuple[float, float]]]:
    """A line per ``step`` rows from the first to the last pixel of the row's longest run."""
    for y in range(0, mask.shape[0], step):
        padded = np.diff(np.concatenate([[0], mask[y].astype(np.int8), [0]]))
        starts, ends = np.flatnonzero(padded == 1), np.flatnonzero(padded == -1)
        if len(starts):
            longest = int(np.argmax(ends - starts))
            left, right = starts[longest] + 1.0, ends[longest] - 1.0
            yield [(left, y + 0.5), (max(left + 0.5, right), y + 0.5)]


def targets_of(path: Path, least: int, most: int) -> list[Mask]:
    """Instances with an area in this range, in reading order."""
    with Image.open(path) as image:
        index = np.asarray(image)
    found = [index == value for value in np.unique(index) if value]
    return [one for one in found if least <= one.sum() <= most]


def choose(data: Path, domain: str, count: int, least: int, most: int) -> tuple[Path, list[Mask]]:
    """The first test image with that many instances of this size, and these."""
    meta = json.loads((data / domain / "META.json").read_text(encoding="utf-8"))
    for item in meta["items"]:
        if item["split"] == "test":
            found = targets_of(data / domain / item["mask"], least, most)
            if len(found) >= count:
                return data / domain / item["image"], found[:count]
    raise LookupError(f"{domain} has no image with {count} such instances")


def label(walker: Walker, data: Path, out: Path) -> None:
    """Ten nuclei and three lesions."""
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    nuclei, cells = choose(data, "nuclei", 10, 200, 4000)
    leaf, lesions = choose(data, "coffee_leaf", 3, 300, 20000)
    for source, name in ((nuclei, "1 nuclei"), (leaf, "2 leaf")):
        shutil.copyfile(source, folder / f"{name}{source.suffix}")
    walker.open(folder)
    walker.go_to("nuclei")
    walker.picture("first-image")
    for cell in cells[:4]:
        walker.by_clicks(cell)
    walker.by_boxes(cells[4:8])
    for cell in cells[8:10]:
        walker.by_brush(cell)
    walker.split_and_undo(next(iter(walker.bench.document.objects.values())))
    walker.picture("nuclei-done")
    walker.go_to("leaf")
    walker.by_clicks(lesions[0])
    walker.by_boxes(lesions[1:3])
    record = max(walker.bench.document.objects.values(), key=lambda one: one.id)
    walker.correct_with_brush(record, lesions[2])
    walker.picture("leaf-done")


def show_panels(walker: Walker) -> None:
    """Every panel, light and dark, at two sizes of the window."""
    window, bench = walker.window, walker.bench
    bench.document.select(tuple(bench.document.objects)[:1])
    for width, height in SIZES:
        window.showNormal()
        window.setGeometry(0, 24, width, height - 30)
        QTest.qWait(300)
        for look in ("light", "dark"):
            theme.theme().choose(look)
            for panel in bench.right_panels():
                panel.show()
                panel.raise_()
                walker.picture(f"{width}-{look}-{panel.objectName()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--panels", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    app = application()
    window = make_window()
    window.setGeometry(0, 24, 1280, 770)
    window.show()
    walker = Walker(window, args.out)
    try:
        QTest.qWait(800)
        walker.picture("welcome")
        label(walker, Path(os.environ["INFOSAM_STUDIO_DATA"]), args.out)
        if args.panels:
            show_panels(walker)
    finally:
        (args.out / "walk.json").write_text(json.dumps(walker.report, indent=1) + "\n")
        window.close()
        app.processEvents()
    print(json.dumps(walker.report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
