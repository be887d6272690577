"""How the window feels while the model is adapted: lateness of its event loop, click to mask.

    python -m tests.benchmarks.bench_adapt_lateness [--domain wbc] [--images 10] [--speed full]

The real window on real images. Somebody clicks, cancels and goes to the next image all the time;
first with nothing else going on, then during a full adaptation. Two cores, also on machines that
have more. Promised: during the adaptation an event is late by less than 50 ms (95 %) and 250 ms
(worst), and a mask takes at most twice as long as before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QObject, QPoint, Qt, QTimer, Slot
from PySide6.QtTest import QTest

from tests.benchmarks.bench_adapt_run import make_project

P95_MS, MAX_MS, RATIO = 50.0, 250.0, 2.0
EVERY_MS = 10
IDLE_SECONDS = 20.0
PAUSE_MS = 350
CLICKS_PER_OBJECT, OBJECTS_PER_IMAGE = 3, 3


class Lateness(QObject):
    """A timer that is due every ten milliseconds, and how late it came each time."""

    def __init__(self) -> None:
        super().__init__()
        self.late_ms: list[float] = []
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(EVERY_MS)
        self._timer.timeout.connect(self._due)
        self._last = 0.0

    def start(self) -> None:
        """Measure from now on."""
        self.late_ms, self._last = [], time.perf_counter()
        self._timer.start()

    def stop(self) -> dict[str, float]:
        """The figures since the start, in milliseconds."""
        self._timer.stop()
        late = np.array(self.late_ms)
        return {
            "events": len(late),
            "median": round(float(np.median(late)), 2),
            "p95": round(float(np.quantile(late, 0.95)), 2),
            "p99": round(float(np.quantile(late, 0.99)), 2),
            "max": round(float(late.max()), 1),
        }

    @Slot()
    def _due(self) -> None:
        now = time.perf_counter()
        self.late_ms.append(max(0.0, (now - self._last) * 1000 - EVERY_MS))
        self._last = now


class User:
    """Clicks three times per object, drops it, and goes on to the next image now and then."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.draw = np.random.default_rng(0)
        self.click_ms: list[float] = []
        self.images = 0

    def work_on_one_image(self, until: Any) -> None:
        """Three objects of three clicks, then the next image, or until ``until`` says so."""
        from infosam_studio.ui.waiting import wait_for

        for _ in range(OBJECTS_PER_IMAGE):
            for _ in range(CLICKS_PER_OBJECT):
                if until():
                    return
                self._click()
                QTest.qWait(PAUSE_MS)
            self.bench.focus_canvas()
            QTest.keyClick(self.bench.view, Qt.Key.Key_Escape)
        wait_for(
            self.bench.image_ready,
            lambda: QTest.keyClick(self.bench.view, Qt.Key.Key_D),
            "encoding the next image",
        )
        self.images += 1

    def _click(self) -> None:
        from infosam_studio.ui.waiting import wait_for

        size = self.bench.view.viewport().size()
        x, y = self.draw.uniform(0.35, 0.65, 2)
        place = QPoint(int(x * size.width()), int(y * size.height()))
        viewport, left = self.bench.view.viewport(), Qt.MouseButton.LeftButton
        started = time.perf_counter()
        wait_for(
            self.bench.mask_shown,
            lambda: QTest.mouseClick(viewport, left, pos=place),
            "predicting a mask",
        )
        self.click_ms.append((time.perf_counter() - started) * 1000)

    def take(self) -> dict[str, float]:
        """The click figures since the last call."""
        found, self.click_ms = self.click_ms, []
        return {
            "clicks": len(found),
            "median": round(statistics.median(found), 1),
            "p95": round(float(np.quantile(found, 0.95)), 1),
        }


def measure(
    project: Path, speed: str, idle_seconds: float = IDLE_SECONDS, minutes: float | None = None
) -> dict[str, Any]:
    """Idle and during an adaptation; the project is labelled already."""
    from infosam_studio.ui.app import SWITCH_INTERVAL, application
    from infosam_studio.ui.garbage import collected_here

    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    application()
    try:
        with collected_here():
            return _in_a_window(project, speed, idle_seconds, minutes)
    finally:
        sys.setswitchinterval(interval)


def _in_a_window(
    project: Path, speed: str, idle_seconds: float, minutes: float | None
) -> dict[str, Any]:
    from infosam_studio.ui.app import make_window
    from infosam_studio.ui.waiting import wait_for

    window = make_window()
    window.confirm = lambda *_args, **_buttons: True
    window.resize(1280, 800)
    window.show()
    try:
        wait_for(window.project_opened, lambda: window.open_path(project), "opening")
        bench = window.bench
        assert bench is not None
        if bench.ready_image is None:
            wait_for(bench.image_ready, lambda: None, "encoding the first image")
        return _both(bench, speed, idle_seconds, minutes)
    finally:
        window.close()


def _both(bench: Any, speed: str, idle_seconds: float, minutes: float | None) -> dict[str, Any]:
    import torch

    user, lateness = User(bench), Lateness()
    user.work_on_one_image(lambda: False)  # warm
    user.take()
    lateness.start()
    end = time.monotonic() + idle_seconds
    while time.monotonic() < end:
        user.work_on_one_image(lambda: time.monotonic() > end)
    idle = {"late_ms": lateness.stop(), "click_ms": user.take(), "images": user.images}
    ends: list[Any] = []
    bench.adapting.finished.connect(ends.append)
    user.images = 0
    bench.model_panel.show()
    bench.model_panel.raise_()
    guesses: list[tuple[float, float]] = []
    lateness.start()
    started = time.monotonic()
    assert bench.adapting.start(speed=speed, minutes=minutes)
    while not ends:
        user.work_on_one_image(lambda: bool(ends))
        run = bench.adapting.run
        left = run.remaining() if run is not None else None
        if left is not None:
            guesses.append((time.monotonic() - started, left))
    busy = {"late_ms": lateness.stop(), "click_ms": user.take(), "images": user.images}
    seconds = time.monotonic() - started
    result = ends[0].result or {}
    swaps = _swaps(bench, str(result["adapter"])) if result else {}
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "inference_threads": torch.get_num_threads(),
        "idle": idle,
        "adapting": busy,
        "click_ratio": round(busy["click_ms"]["median"] / idle["click_ms"]["median"], 2),
        "swap_ms": swaps,
        "run_seconds": round(seconds, 1),
        "steps": result.get("steps"),
        "problem": ends[0].problem,
        "said_left_against_true": [
            (round(at, 1), round(left, 1), round(seconds - at, 1)) for at, left in guesses
        ],
    }


def _swaps(bench: Any, name: str) -> dict[str, float]:
    """From the decision to the model that answers: without encoding the image again."""
    from infosam_studio.ui.waiting import wait_for

    bench.adapting.use(None)
    QTest.qWait(1500)
    found = {}
    for what, target in (("to the version", name), ("back to the base", None)):
        started = time.perf_counter()
        wait_for(bench.model_ready, lambda target=target: bench.adapting.use(target), what)
        found[what] = round((time.perf_counter() - started) * 1000, 1)
        QTest.qWait(3000)
    return found


def run(
    data: Path,
    domain: str,
    images: int,
    speed: str,
    *,
    idle_seconds: float = IDLE_SECONDS,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Make the project and measure, on two cores."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if affinity is not None:
        os.sched_setaffinity(0, set(sorted(affinity)[:2]))
    try:
        with tempfile.TemporaryDirectory() as place:
            project = make_project(data, domain, images, Path(place) / "project")
            return measure(project, speed, idle_seconds, minutes)
    finally:
        if affinity is not None:
            os.sched_setaffinity(0, affinity)


@pytest.mark.benchmark
def test_the_window_stays_quick_during_a_full_adaptation(data_dir: Path) -> None:
    if os.getloadavg()[0] > 0.5:
        pytest.skip("the promise is for two cores that do nothing else")
    found = run(data_dir, "wbc", 10, "full")
    assert found["problem"] == ""
    assert found["adapting"]["late_ms"]["p95"] < P95_MS
    assert found["adapting"]["late_ms"]["max"] < MAX_MS
    assert found["click_ratio"] <= RATIO


def main() -> int:
    """Run once and print."""
    parser = argparse.ArgumentParser()
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    parser.add_argument("--data", type=Path, default=Path(named) if named else None)
    parser.add_argument("--domain", default="wbc")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--speed", choices=("instant", "full"), default="full")
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    parser.add_argument("--minutes", type=float, help="length of the run (default: its own)")
    args = parser.parse_args()
    if args.data is None:
        print("name the images with --data or INFOSAM_STUDIO_DATA", file=sys.stderr)
        return 2
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    found = run(
        args.data,
        args.domain,
        args.images,
        args.speed,
        idle_seconds=args.idle_seconds,
        minutes=args.minutes,
    )
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
