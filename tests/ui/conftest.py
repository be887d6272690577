"""Windows on small projects, with the real predictor on real threads."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from infosam_studio.resource_files import resource_path
from infosam_studio.ui import theme
from infosam_studio.ui.app import application, settings
from infosam_studio.ui.garbage import collected_here
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench

SIZE = 256
DISCS = ((70, 80, 34), (180, 90, 40), (120, 190, 44))
WAIT_MS = 120_000


def draw_discs(seed: int) -> np.ndarray:
    """Three bright discs on a noisy dark ground, uint8 [256,256,3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    picture = random.normal(70, 6, (SIZE, SIZE, 3))
    for number, (cx, cy, radius) in enumerate(DISCS):
        inside = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
        picture[inside] = random.normal((200, 120 + 40 * number, 90), 6, (int(inside.sum()), 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True, scope="module")
def _lasting() -> None:
    """Leave out of every later collection what is there now: torch alone costs a quarter second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _collected_here(qapp: Any) -> Iterator[None]:
    """As in the app: no garbage collection on worker threads, which would destroy widgets there."""
    with collected_here():
        yield


@pytest.fixture
def images_folder(tmp_path: Path) -> Path:
    """A folder with three images of discs."""
    folder = tmp_path / "discs"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(draw_discs(number)).save(folder / f"disc {number}.png")
    return folder


@pytest.fixture(scope="session")
def predictor_maker(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path | None], Any]:
    """Real predictors that share one loaded model: the starter, random where it is not there."""
    from infosam_studio.segmentation.checkpoints import LoadedModel, load_checkpoint
    from infosam_studio.segmentation.embedding_cache import DiskCache
    from infosam_studio.segmentation.predictor import Predictor

    loaded: list[LoadedModel] = []
    made: list[Predictor] = []

    def make(_name: str, cache_dir: Path | None) -> Predictor:
        if not loaded:
            if resource_path("models", "starter.safetensors").is_file():
                loaded.append(load_checkpoint("starter"))
            else:
                import torch

                from infosam_studio.segmentation.starter import build_starter

                torch.manual_seed(0)
                loaded.append(LoadedModel.from_sam(build_starter()))
        disk = DiskCache(cache_dir / "embeddings", 2**28) if cache_dir is not None else None
        while made:  # a test before may have left a version in the model they share
            made.pop().load_adapter(None)
        made.append(Predictor(loaded[0], disk=disk))
        return made[0]

    return make


@pytest.fixture
def window(qtbot: Any, predictor_maker: Callable[[str, Path | None], Any]) -> Iterator[MainWindow]:
    """The main window on its welcome page."""
    app = application()
    store = settings()
    store.setValue("hover", "false")
    theme.install(app, store)
    made = MainWindow(store, maker=predictor_maker)
    made.resize(1100, 760)
    made.show()
    qtbot.waitExposed(made)
    yield made
    made.confirm = lambda *_args, **_options: True  # nobody is there to answer
    made.close()
    made.deleteLater()


def open_project(qtbot: Any, window: MainWindow, path: Path) -> Workbench:
    """Open ``path`` and wait until its first image is on the canvas and encoded."""
    with qtbot.waitSignal(window.project_opened, timeout=WAIT_MS):
        window.open_path(path)
    bench = window.bench
    assert bench is not None
    wait_ready(qtbot, bench)
    return bench


def wait_ready(qtbot: Any, bench: Workbench) -> None:
    """Wait until the current image is shown and its embedding is there."""

    def ready() -> bool:
        image = bench.document.current
        shown = image is not None and bench.view.image_size == (image.width, image.height)
        return shown and bench.ready_image == bench.document.current_id

    qtbot.waitUntil(ready, timeout=WAIT_MS)


@pytest.fixture
def bench(qtbot: Any, window: MainWindow, images_folder: Path) -> Workbench:
    """A project of three images of discs, the first one encoded."""
    return open_project(qtbot, window, images_folder)


def at(bench: Workbench, x: float, y: float) -> QPoint:
    """Where the middle of pixel ``x, y`` lies in the canvas."""
    return bench.view.to_viewport(x + 0.5, y + 0.5).toPoint()


def click(
    qtbot: Any,
    bench: Workbench,
    x: float,
    y: float,
    button: Qt.MouseButton = Qt.MouseButton.LeftButton,
    modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier,
) -> None:
    """Click on the canvas and wait for the mask."""
    QTest.mouseClick(bench.view.viewport(), button, modifier, at(bench, x, y))
    wait_mask(qtbot, bench)


def wait_mask(qtbot: Any, bench: Workbench) -> None:
    """Wait until the newest prompt is answered."""

    def answered() -> bool:
        draft = bench.drafting.draft
        return draft is not None and not draft.waiting()

    qtbot.waitUntil(answered, timeout=WAIT_MS)


def drag(bench: Workbench, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag with the left button from one pixel to another."""
    viewport, left = bench.view.viewport(), Qt.MouseButton.LeftButton
    first, last = at(bench, *start), at(bench, *end)
    QTest.mousePress(viewport, left, pos=first)
    for step in range(1, 9):
        QTest.mouseMove(viewport, first + (last - first) * step / 8)
    QTest.mouseRelease(viewport, left, pos=last)


def key(bench: Workbench, name: Qt.Key, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
    """Press a key while the canvas has the focus."""
    bench.focus_canvas()
    QTest.keyClick(bench.view, name, modifier)
