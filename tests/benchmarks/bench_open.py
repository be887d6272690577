"""Going to another image and the first click on it, in the real window with the real model.

    INFOSAM_STUDIO_DATA=FOLDER python tests/benchmarks/bench_open.py [--threads 2] [--json FILE]

Real images of several domains (256 to 1024 pixels long) are gone through three times. The
baseline is the first time, when nothing is known of an image; then all of them are encoded and
the project is opened anew, so that embeddings come from the disk; the third time the images are
visited by name instead of in order, so that nothing has been read ahead. Opening is from the key
to the image on the canvas with its embedding at hand, the click from the button to the mask.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np

from infosam_studio.ui import theme
from infosam_studio.ui.app import application, settings
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.waiting import wait_for
from infosam_studio.ui.workbench import Workbench

from PySide6.QtCore import QEventLoop, Qt, QTimer  # isort: skip
from PySide6.QtTest import QTest  # isort: skip

DOMAINS = ("nuclei", "wbc", "coffee_leaf", "crop_weed", "skin_lesion", "ultrasound")
PER_DOMAIN = 2
LOOKS_MS = 400


def copy_images(data: Path, folder: Path) -> None:
    """A few test images of every domain."""
    folder.mkdir(parents=True)
    for domain in DOMAINS:
        meta = json.loads((data / domain / "META.json").read_text(encoding="utf-8"))
        items = [item for item in meta["items"] if item["split"] == "test"][:PER_DOMAIN]
        for item in items:
            source = data / domain / item["image"]
            shutil.copyfile(source, folder / f"{domain} {source.name}")


def pause(milliseconds: int) -> None:
    """Somebody looks at the image; the event loop runs."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


class Round:
    """Goes through images and keeps what it took."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.opened: list[float] = []
        self.clicked: list[float] = []

    def go(self, image_id: int, *, by_key: bool) -> None:
        """To this image, then the first click in its middle, then look a while."""
        bench = self.bench
        if bench.document.current_id != image_id:
            started = time.perf_counter()
            wait_for(
                bench.image_ready,
                lambda: self._step(image_id, by_key),
                "opening an image",
                wanted=lambda ready: ready == image_id,
            )
            while not self._shown():
                QTest.qWait(1)
            self.opened.append((time.perf_counter() - started) * 1000)
        self.clicked.append(self._click())
        bench.drafting.cancel()
        pause(LOOKS_MS)

    def _step(self, image_id: int, by_key: bool) -> None:
        if by_key:
            self.bench.images.step(1)
        else:
            self.bench.document.open_image(image_id)

    def _shown(self) -> bool:
        image = self.bench.document.current
        return image is not None and self.bench.view.image_size == (image.width, image.height)

    def _click(self) -> float:
        bench = self.bench
        width, height = bench.view.image_size
        place = bench.view.to_viewport(width / 2, height / 2).toPoint()
        started = time.perf_counter()
        wait_for(
            bench.mask_shown,
            lambda: QTest.mouseClick(bench.view.viewport(), Qt.MouseButton.LeftButton, pos=place),
            "a mask",
        )
        return (time.perf_counter() - started) * 1000

    def figures(self) -> dict[str, Any]:
        """Median, 95th percentile and the worst, in milliseconds."""
        return {"open": spread(self.opened), "first click": spread(self.clicked)}


def spread(values: list[float]) -> dict[str, float]:
    found = np.array(values)
    return {
        "median_ms": round(float(np.median(found)), 1),
        "p95_ms": round(float(np.percentile(found, 95)), 1),
        "max_ms": round(float(found.max()), 1),
    }


def opened(folder: Path) -> tuple[MainWindow, Workbench]:
    """The window on this folder with model and first image ready."""
    store = settings()
    store.setValue("hover", "false")
    window = MainWindow(store)
    window.resize(1280, 800)
    window.show()
    wait_for(window.project_opened, lambda: window.open_path(folder), "opening the folder")
    bench = window.bench
    assert bench is not None
    if bench.ready_image is None:
        wait_for(bench.image_ready, lambda: None, "the first image")
    pause(LOOKS_MS)
    return window, bench


def visit(folder: Path, *, by_key: bool, shuffled: bool = False, wait_all: bool = False) -> Round:
    """One round through all images in a window of its own."""
    window, bench = opened(folder)
    ids = [record.id for record in bench.document.images()]
    if shuffled:
        ids = [ids[index] for index in np.random.default_rng(0).permutation(len(ids))]
    else:
        bench.document.open_image(ids[0])
        pause(LOOKS_MS)
    made = Round(bench)
    for image_id in ids:
        made.go(image_id, by_key=by_key)
    if wait_all:
        pause(3000)
    window.close()
    window.deleteLater()
    pause(50)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    application()
    theme.install(application(), settings())
    report: dict[str, Any] = {"threads": args.threads}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        copy_images(Path(os.environ["INFOSAM_STUDIO_DATA"]), folder)
        rounds = {
            "never encoded (baseline)": {"by_key": False, "shuffled": True, "wait_all": True},
            "encoded before, next image": {"by_key": True},
            "encoded before, any image": {"by_key": False, "shuffled": True},
        }
        for name, how in rounds.items():
            report[name] = visit(folder, **how).figures()
            print(name, json.dumps(report[name]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
