"""How the canvas feels: paint time and event-loop lateness while brushing on a large image.

    python tests/benchmarks/bench_canvas.py [--side 4096] [--objects 300] [--seconds 6]

Brushes, hovers and zooms on the real window (offscreen unless QT_QPA_PLATFORM says otherwise)
with the inference thread encoding in the background; prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui.app import application, settings
from infosam_studio.ui.inference_messages import EncodeState, SetRegion
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.theme import install
from infosam_studio.ui.waiting import wait_for
from infosam_studio.ui.workbench import Workbench

from PySide6.QtCore import QEventLoop, QObject, QPoint, Qt, QTimer  # isort: skip
from PySide6.QtTest import QTest  # isort: skip

TICK_MS = 5


class Lateness(QObject):
    """How much later than asked a timer fires: what the person feels.

    And ``busy``: how much processor time the main thread took between two ticks, which is what
    the window itself is to blame for, also where other programs keep the machine busy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.late: list[float] = []
        self.busy: list[float] = []
        self._last, self._spent = time.perf_counter(), time.thread_time()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def _tick(self) -> None:
        now, spent = time.perf_counter(), time.thread_time()
        self.late.append(max(0.0, (now - self._last) * 1000 - TICK_MS))
        self.busy.append((spent - self._spent) * 1000)
        self._last, self._spent = now, spent

    def figures(self) -> dict[str, object]:
        """The figures since the last time."""
        figures: dict[str, object] = dict(_spread(self.late))
        figures["busy"] = _spread(self.busy)
        self.late, self.busy = [], []
        self._last, self._spent = time.perf_counter(), time.thread_time()
        return figures


def _spread(found: list[float]) -> dict[str, float]:
    values = np.array(found or [0.0])
    return {
        "p50_ms": round(float(np.percentile(values, 50)), 2),
        "p95_ms": round(float(np.percentile(values, 95)), 2),
        "max_ms": round(float(values.max()), 2),
    }


def make_images(folder: Path, side: int) -> None:
    """Two large noisy images; the second is encoded while the first is worked on."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(2):
        small = random.integers(0, 255, (side // 32, side // 32, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png", compress_level=1)


class Encoding(QObject):
    """Keeps the inference thread encoding one region of the image after the other."""

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self.count = 0
        bench.inference.encode_state.connect(self._next)
        self._ask()

    def _ask(self) -> None:
        image_id, (width, height) = self._bench.document.current_id, self._bench.view.image_size
        assert image_id is not None
        side = min(width, height) // 4
        x, y = 37 * self.count % (width - side), 53 * self.count % (height - side)
        self._bench.inference.submit(SetRegion(image_id, (x, y, x + side, y + side)))

    def _next(self, state: EncodeState) -> None:
        if state.region is not None and state.phase in ("ready", "cancelled", "failed"):
            self.count += state.phase == "ready"
            QTimer.singleShot(0, self._ask)


def add_objects(bench: Workbench, side: int, count: int) -> None:
    """Discs all over the image."""
    random = np.random.default_rng(1)
    class_id, image_id = bench.document.ensure_class(), bench.document.current_id
    assert image_id is not None
    found = []
    for _ in range(count):
        radius = int(random.integers(20, side // 20))
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        disc = x * x + y * y <= radius * radius
        x0, y0 = random.integers(0, side - 2 * radius - 1, 2)
        rle = masks.encode_window(disc, int(x0), int(y0), side, side)
        found.append(ObjectRecord(id=0, image_id=image_id, class_id=class_id, mask=rle))
    bench.document.change_objects("Add", add=found)


def spin(milliseconds: int) -> None:
    """Let the event loop run."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def brush(bench: Workbench, seconds: float) -> None:
    """Strokes across the canvas, as fast as a hand moves."""
    viewport = bench.view.viewport()
    width, height = viewport.width(), viewport.height()
    ends = time.perf_counter() + seconds
    stroke = 0
    while time.perf_counter() < ends:
        y = 60 + (stroke * 47) % (height - 120)
        QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=QPoint(80, y))
        for x in range(80, width - 80, 12):
            QTest.mouseMove(viewport, QPoint(x, y + (x // 40) % 9))
            spin(8)
        QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=QPoint(width - 80, y))
        stroke += 1


def hover(bench: Workbench, seconds: float) -> None:
    """The pointer wanders with the preview on."""
    viewport = bench.view.viewport()
    ends = time.perf_counter() + seconds
    step = 0
    while time.perf_counter() < ends:
        x = 100 + (step * 13) % (viewport.width() - 200)
        QTest.mouseMove(viewport, QPoint(x, 120 + (step * 7) % (viewport.height() - 240)))
        spin(10)
        step += 1


def zoom(bench: Workbench, seconds: float) -> None:
    """In and out and sideways."""
    ends = time.perf_counter() + seconds
    step = 0
    while time.perf_counter() < ends:
        bench.view.zoom_by(1.12 if (step // 20) % 2 == 0 else 1 / 1.12)
        bench.view.pan(6 if (step // 10) % 2 == 0 else -6, 3)
        spin(12)
        step += 1
    bench.view.fit()


def paint_times(bench: Workbench, count: int = 15) -> dict[str, float]:
    """Milliseconds to paint the whole canvas."""
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        bench.view.viewport().grab()
        taken.append((time.perf_counter() - started) * 1000)
    return {"p50_ms": round(float(np.median(taken)), 2), "max_ms": round(max(taken), 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    app = application()
    store = settings()
    install(app, store)
    window = MainWindow(store)
    window.resize(1280, 800)
    window.show()
    with tempfile.TemporaryDirectory() as place:
        make_images(Path(place) / "images", args.side)
        path = Path(place) / "images"
        wait_for(window.project_opened, lambda: window.open_path(path), "opening")
        bench = window.bench
        assert bench is not None
        wait_for(bench.image_ready, lambda: None, "encoding", seconds=300)
        add_objects(bench, args.side, args.objects)
        spin(1500)
        encoding = Encoding(bench)
        lateness = Lateness()
        spin(200)
        lateness.figures()
        figures: dict[str, object] = {"side": args.side, "objects": args.objects}
        figures["paint"] = paint_times(bench)
        lateness.figures()
        for name, action in (("hover", hover), ("zoom", zoom)):
            action(bench, args.seconds)
            figures[name] = lateness.figures()
        bench.tools.use("brush")
        brush(bench, args.seconds)
        figures["brush"] = lateness.figures()
        figures["regions_encoded_meanwhile"] = encoding.count
        print(json.dumps(figures))
        window.close()


if __name__ == "__main__":
    main()
