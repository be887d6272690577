"""Take the guide's pictures of the window into `resources/guide`: the real app on the samples.

    python packaging/render_screenshots.py [OUT]

Runs offscreen with settings and projects of its own in a temporary folder, with the shipped
starter model. Pictures are PNG with a palette, so that all of them together stay small.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIZE = (1200, 750)
COLORS = 256
CELLS, LEAF = "cells", "leaf"


def isolate(home: str) -> None:
    """Before Qt starts: nothing of the person's own settings, no window on a screen."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = home
    for name in ("APPDATA", "LOCALAPPDATA"):
        os.environ[name] = home
    sys.path.insert(0, str(ROOT))


class Studio:
    """One window on the samples."""

    def __init__(self, out: Path, place: Path) -> None:
        from PySide6.QtTest import QTest

        from infosam_studio.ui.app import make_window
        from infosam_studio.ui.samples import copy_samples
        from infosam_studio.ui.waiting import wait_for

        self.out, self.test, self.wait_for = out, QTest, wait_for
        self.window = make_window()
        self.window.settings.setValue("hover", "false")
        self.window.resize(*SIZE)
        self.window.show()
        wait_for(
            self.window.project_opened,
            lambda: self.window.open_path(copy_samples(place / "samples")),
            "opening the samples",
        )
        bench = self.window.bench
        assert bench is not None
        self.bench = bench
        self.until(lambda: bench.ready_image is not None)

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the window work until something holds."""
        for _ in range(6000):
            if condition():
                return
            self.test.qWait(20)
        raise TimeoutError("the window did not get there within two minutes")

    def open(self, part: str) -> list[tuple[int, int, int, int]]:
        """Show the sample of this name; returns the boxes of its objects, the largest first."""
        import numpy as np
        from PIL import Image

        from infosam_studio.resource_files import resource_path

        bench = self.bench
        record = next(one for one in bench.document.images() if part in one.path)
        bench.document.open_image(record.id)
        self.until(lambda: bench.ready_image == record.id)
        self.until(lambda: bench.view.image_size == (record.width, record.height))
        with Image.open(resource_path("samples", "masks", f"{Path(record.path).stem}.png")) as file:
            index = np.asarray(file)
        boxes = []
        for value in np.unique(index)[1:]:
            ys, xs = np.nonzero(index == value)
            boxes.append((int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())))
        return sorted(boxes, key=lambda b: (b[0] - b[2]) * (b[3] - b[1]))

    def answered(self) -> None:
        """Wait for the masks of everything unfinished."""
        drafting = self.bench.drafting
        self.until(lambda: not any(d.waiting() for d in (*drafting.parked, drafting.draft) if d))

    def look(self, name: str) -> None:
        """Light or dark."""
        from infosam_studio.ui.theme import theme

        theme().choose(name)

    def picture(self, name: str) -> None:
        """Write the window as a PNG with few colours."""
        from PIL import Image

        # A first grab lays out what has just become visible, tiles and thumbnails follow.
        self.window.grab()
        self.bench.toast.hide()
        self.bench.status.forget_latency()  # it tells of the machine that took the picture
        self.test.qWait(1500)
        path = self.out / f"{name}.png"
        self.window.grab().save(str(path))
        with Image.open(path) as image:
            few = image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def boxes(studio: Studio) -> None:
    """Several boxes drawn, some objects accepted before."""
    studio.look("light")
    found = studio.open(CELLS)
    drafting = studio.bench.drafting
    studio.bench.tools.use("box")
    for box in found[:6]:
        drafting.begin_box(*box)
    studio.answered()
    drafting.accept()
    for box in found[6:10]:
        drafting.begin_box(*box)
    studio.answered()
    studio.picture("window-boxes")
    drafting.accept()


def click(studio: Studio) -> None:
    """One click with its candidates, in dark."""
    studio.look("dark")
    found = studio.open(LEAF)
    studio.bench.tools.use("prompt")
    x0, y0, x1, y1 = found[min(1, len(found) - 1)]
    studio.bench.drafting.add_point((x0 + x1) // 2, (y0 + y1) // 2, 1)
    studio.answered()
    studio.bench.model_panel.raise_()
    studio.picture("window-click")
    studio.bench.drafting.cancel_all()


def main(argv: list[str]) -> int:
    out = Path(argv[0]) if argv else ROOT / "resources" / "guide"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        isolate(home)
        studio = Studio(out, Path(home))
        try:
            boxes(studio)
            click(studio)
        finally:
            studio.window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
