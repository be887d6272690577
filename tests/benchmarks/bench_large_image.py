"""A 20,000 × 20,000 image in the window: memory, and lateness while panning and zooming.

    python tests/benchmarks/bench_large_image.py [--side 20000] [--objects 300] [--seconds 8]

Draws a tiled TIFF into a temporary folder (or takes ``--image``), opens it on the real window
(offscreen unless QT_QPA_PLATFORM says otherwise) and prints one JSON object. Memory is what the
process holds (RSS), in MB: before opening, at most while the tiles are built, and at most while
panning and zooming, with the model encoding in the background.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import tifffile
from bench_canvas import Lateness, add_objects, spin

from infosam_studio.ui.app import application, settings
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.theme import install
from infosam_studio.ui.waiting import wait_for
from infosam_studio.ui.workbench import Workbench

from PySide6.QtCore import QRectF  # isort: skip

TILE = 512


def draw(path: Path, side: int) -> None:
    """A slide of noisy cells, written tile by tile."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:TILE, 0:TILE]
    kinds = []
    for number in range(6):
        cells = np.hypot(x % 64 - 32, y % 64 - 32) < 14 + 2 * number
        base = np.where(cells[:, :, None], (120, 80, 150), (225, 205, 220))
        kinds.append(np.clip(base + random.normal(0, 7, (TILE, TILE, 3)), 0, 255).astype(np.uint8))
    count = -(-side // TILE)

    def tiles() -> Iterator[np.ndarray]:
        for row in range(count):
            for column in range(count):
                yield kinds[(3 * row + 5 * column) % len(kinds)]

    tifffile.imwrite(
        path,
        tiles(),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression="zstd",
    )


class Memory:
    """The process's memory, looked at a hundred times a second."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._stop = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @staticmethod
    def now() -> float:
        """RSS in MB."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _watch(self) -> None:
        while not self._stop:
            self.peak = max(self.peak, self.now())
            time.sleep(0.01)

    def take(self) -> float:
        """The most since the last time."""
        peak, self.peak = self.peak, self.now()
        return round(peak)

    def close(self) -> None:
        self._stop = True
        self._thread.join()


def pan(bench: Workbench, seconds: float, zoom: float) -> None:
    """Across the whole image at one zoom, as fast as a hand drags."""
    view = bench.view
    width = view.viewport().width() / zoom
    view.fit_rect(QRectF(0, 0, width, width / 2), margin=1.0)
    ends, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        view.pan(-40 if (step // 60) % 2 == 0 else 40, -18 if (step // 200) % 2 == 0 else 18)
        spin(12)
        step += 1


def zoom(bench: Workbench, seconds: float) -> None:
    """From the whole image down to single pixels and back, at changing places."""
    view = bench.view
    view.fit()
    ends, step = time.perf_counter() + seconds, 0
    while time.perf_counter() < ends:
        view.zoom_by(1.12 if (step // 50) % 2 == 0 else 1 / 1.12)
        view.pan(9 if (step // 50) % 4 < 2 else -9, 5)
        spin(12)
        step += 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--image", type=Path, help="a folder with one large image to take instead")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    args = parser.parse_args()
    app = application()
    store = settings()
    install(app, store)
    window = MainWindow(store)
    window.resize(args.width, args.height)
    window.show()
    with tempfile.TemporaryDirectory() as place:
        folder = args.image or Path(place) / "images"
        if args.image is None:
            folder.mkdir()
            draw(folder / "slide.tif", args.side)
        figures = measure(window, folder, args.objects, args.seconds)
        window.close()
    print(json.dumps(figures))


def measure(window: MainWindow, folder: Path, objects: int, seconds: float) -> dict[str, object]:
    """Open the image and move about on it."""
    figures: dict[str, object] = {}
    wait_for(window.project_opened, lambda: window.open_path(folder), "opening", seconds=300)
    bench = window.bench
    assert bench is not None
    memory = Memory()
    figures["rss_before_mb"] = round(memory.now())
    lateness, started = Lateness(), time.perf_counter()
    if bench.picture is None:
        wait_for(bench.picture_shown, lambda: None, "building tiles", seconds=600)
    figures["build_s"] = round(time.perf_counter() - started, 1)
    figures["build"] = lateness.figures()
    figures["rss_build_mb"] = memory.take()
    stored = bench.showing.reader.store.folder
    figures["tiles_mb"] = round(sum(one.stat().st_size for one in stored.glob("*")) / 1e6)
    if bench.ready_image is None:
        wait_for(bench.image_ready, lambda: None, "encoding", seconds=300)
    figures["rss_encode_mb"] = memory.take()
    add_objects(bench, bench.view.image_size[0], objects)
    spin(1500)
    lateness.figures()
    for name, scale in (("pan_at_10_percent", 0.1), ("pan_at_100_percent", 1.0)):
        pan(bench, seconds / 2, scale)
        figures[name] = lateness.figures()
    zoom(bench, seconds)
    figures["zoom"] = lateness.figures()
    figures["rss_moving_mb"] = memory.take()
    memory.close()
    return figures


if __name__ == "__main__":
    main()
