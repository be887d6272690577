"""The model manager: downloading with pause and retry, own files, switching, the advice."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QFileDialog

from infosam_studio.segmentation import catalogue, library, speeds
from infosam_studio.segmentation.advice import RANKING, Speed
from infosam_studio.segmentation.architectures import BUILDERS
from infosam_studio.ui.dialogs.models import ModelManager
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.model_desk import SPEED
from infosam_studio.ui.models import TOLD
from infosam_studio.ui.workers_inference import make_predictor
from tests.ui.conftest import WAIT_MS, click, open_project, wait_ready


class Server(ThreadingHTTPServer):
    """Serves one file; sends half of it while ``gate`` is shut, refuses with ``status``."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.status = content, 200
        self.gate = threading.Event()
        self.gate.set()
        self.ranges: list[str | None] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up when a download is paused."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_args: object) -> None:
        return

    def do_GET(self) -> None:
        content, wanted = self.server.content, self.headers["Range"]
        self.server.ranges.append(wanted)
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        middle = max(start, len(content) // 2)
        self.wfile.write(content[start:middle])
        if self.server.gate.wait(30):
            self.wfile.write(content[middle:])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of MobileSAM's true layout."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(BUILDERS["mobile_sam"]().state_dict(), path)
    return path


@pytest.fixture
def server(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The published MobileSAM is this file for a while, and lies on a mirror."""
    content = weights.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    info = replace(catalogue.BUILT_IN[0], sha256=digest, size_bytes=len(content))
    monkeypatch.setattr(catalogue, "BUILT_IN", (info, *catalogue.BUILT_IN[1:]))
    monkeypatch.setitem(library.PUBLISHED, "mobile_sam", info)
    serving = Server(content)
    threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True).start()
    yield serving
    serving.gate.set()
    serving.shutdown()
    serving.server_close()


@pytest.fixture(autouse=True)
def _measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that MobileSAM suits, measured before."""
    monkeypatch.setenv("INFOSAM_STUDIO_MODELS", str(tmp_path / "models"))
    given = {name: Speed(9.0, 0.05) for name in RANKING}
    given |= {"mobile_sam": Speed(1.5, 0.04), "starter": Speed(0.1, 0.02)}
    speeds.remember(speeds.Measured("cpu", "2026-01-31", 16 * 2**30, given))


@pytest.fixture
def manager(qtbot: Any, window: MainWindow) -> ModelManager:
    """The manager over the welcome page, its list filled."""
    return opened(qtbot, window)


def opened(qtbot: Any, window: MainWindow) -> ModelManager:
    window.actions_["models"].trigger()
    found = window.desk.manager
    assert found is not None
    qtbot.waitUntil(lambda: found.list.count() == len(library.entries()), timeout=WAIT_MS)
    return found


def press(button: Any) -> None:
    assert button.isVisible()
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def told(manager: ModelManager, number: int = 1) -> str:
    return manager.list.item(number).text()


def test_offline_everything_is_listed_with_size_licence_and_speed(manager: ModelManager) -> None:
    assert told(manager, 0).startswith("starter\n14 MB  ·  in use")
    assert told(manager, 2) == "sam_vit_b\n375 MB  ·  not downloaded"
    manager.choose("sam_vit_b")
    texts = {name: label.text() for name, label in manager.details._values.items()}
    assert texts["Licence"] == "Apache-2.0"
    assert texts["Speed here"].startswith("9.0 s for an image, 50 ms for a click")
    assert "2026-01-31" in texts["Speed here"]
    assert manager.details.get_button.isVisible()
    assert not manager.details.remove_button.isVisible()
    manager.choose("starter")
    assert "Trained on" in manager.details.card.toPlainText()
    assert "free" in manager._place.text()


def test_download_pause_resume_and_what_arrived(
    qtbot: Any, manager: ModelManager, server: Server, tmp_path: Path
) -> None:
    manager._network_button.setChecked(True)
    manager.network.mirror.setText(server.address)
    manager._models.refresh()
    manager.choose("mobile_sam")
    details = manager.details
    server.gate.clear()
    press(details.get_button)
    qtbot.waitUntil(lambda: "downloading, 50%" in told(manager), timeout=WAIT_MS)
    assert "MB of" in details.progress_text.text()
    press(details.pause_button)
    qtbot.waitUntil(lambda: "paused" in told(manager), timeout=WAIT_MS)
    part = tmp_path / "models" / "mobile_sam.pt.part"
    assert part.stat().st_size >= len(server.content) // 2
    server.gate.set()
    assert details.get_button.text() == "Resume"
    press(details.get_button)
    qtbot.waitUntil(lambda: told(manager).endswith("ready"), timeout=WAIT_MS)
    assert (server.ranges[0], server.ranges[1]) == (None, f"bytes={len(server.content) // 2}-")
    assert "SHA-256 is right" in details.note.text()
    press(details.verify_button)
    qtbot.waitUntil(lambda: "intact" in details.note.text(), timeout=WAIT_MS)
    press(details.remove_button)
    qtbot.waitUntil(lambda: "not downloaded" in told(manager), timeout=WAIT_MS)
    assert not list((tmp_path / "models").glob("mobile_sam*"))


def test_a_refused_download_says_why_and_is_tried_again_or_cancelled(
    qtbot: Any, manager: ModelManager, server: Server, tmp_path: Path
) -> None:
    manager.network.mirror.setText(server.address)
    manager._models.refresh()
    manager.choose("mobile_sam")
    details = manager.details
    server.status = 404
    press(details.get_button)
    qtbot.waitUntil(lambda: "download failed" in told(manager), timeout=WAIT_MS)
    assert "no such file" in details.note.text()
    assert details.get_button.text() == "Retry"
    server.status = 200
    server.gate.clear()
    press(details.get_button)
    qtbot.waitUntil(lambda: "downloading, 50%" in told(manager), timeout=WAIT_MS)
    press(details.cancel_button)
    qtbot.waitUntil(lambda: "not downloaded" in told(manager), timeout=WAIT_MS)
    assert not list((tmp_path / "models").glob("*.part"))


def test_a_file_of_ones_own(
    qtbot: Any, manager: ModelManager, weights: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    page = tmp_path / "saved page.pth"
    page.write_text("<!DOCTYPE html><title>404</title>")
    chosen = [str(page)]
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: (chosen[-1], ""))
    press(manager.add_button)
    qtbot.waitUntil(lambda: "is a web page" in manager._told.text(), timeout=WAIT_MS)
    assert manager.list.count() == 5
    own = tmp_path / "My cells (v2).pt"
    own.write_bytes(weights.read_bytes())
    chosen.append(str(own))
    press(manager.add_button)
    qtbot.waitUntil(lambda: manager.list.count() == 6, timeout=WAIT_MS)
    manager.choose("My_cells_v2")
    assert "Recognised as mobile_sam" in manager.details.note.text()
    assert manager.details._values["File"].toolTip() == str(own)
    press(manager.details.remove_button)
    qtbot.waitUntil(lambda: manager.list.count() == 5, timeout=WAIT_MS)
    assert own.is_file()


def test_switching_keeps_objects_prompts_and_the_unfinished_object(
    qtbot: Any, weights: Path, window: MainWindow, images_folder: Path, tmp_path: Path
) -> None:
    window._maker = make_predictor
    library.add("small", weights)
    bench = open_project(qtbot, window, images_folder)
    click(qtbot, bench, 70, 80)
    bench.drafting.accept()
    click(qtbot, bench, 180, 90)
    objects = list(bench.document.objects)
    assert bench.drafting.draft is not None
    assert bench.drafting.draft.current is not None
    points = bench.drafting.draft.current.points
    manager = opened(qtbot, window)
    manager.choose("small")
    assert manager.details.use_button.text() == "Use in this project"
    # The unfinished object gets a mask of the new model.
    with (
        qtbot.waitSignal(bench.mask_shown, timeout=WAIT_MS),
        qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS),
    ):
        press(manager.details.use_button)
    wait_ready(qtbot, bench)
    assert list(bench.document.objects) == objects
    assert bench.drafting.draft is not None
    assert bench.drafting.draft.current is not None
    assert bench.drafting.draft.current.points == points
    assert bench.drafting.looking.input_size == 1024
    assert bench.document.project.setting("model") == "small"
    assert "in use" in told(manager, 5)
    assert not manager.details.remove_button.isEnabled()
    window.close_project()
    again = open_project(qtbot, window, images_folder)
    assert again.model == "small"
    assert again.drafting.draft is not None


def test_the_advice_is_given_once_and_taken_with_one_button(
    qtbot: Any, weights: Path, server: Server, window: MainWindow, images_folder: Path
) -> None:
    with qtbot.waitSignal(window.desk.proposed, timeout=WAIT_MS):
        window.desk.begin()
    assert window.welcome.proposal.text().startswith("mobile_sam suits this machine: about 1.5 s")
    press(window.welcome.models_button)
    manager = window.desk.manager
    assert manager is not None
    assert window.settings.value(TOLD) == "true"
    qtbot.waitUntil(lambda: manager.list.count() > 0, timeout=WAIT_MS)
    assert "instant adaptation" in manager.advice.text.text()
    manager.network.mirror.setText(server.address)
    press(manager.advice.button)
    qtbot.waitUntil(lambda: told(manager).endswith("ready"), timeout=WAIT_MS)
    window._maker = make_predictor
    bench = open_project(qtbot, window, images_folder)
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS):
        press(manager.advice.button)
    assert bench.adapting.model == "mobile_sam"
    options = bench.model_panel.options
    # One of them is on the processor of a slow machine, so its speed of adaptation is quick.
    options.speed.setCurrentIndex(options.speed.findData("full"))
    assert bench.document.project.setting(SPEED) == "full"
    assert not bench.toast.isVisible() or "suits" not in bench.toast.text


def test_measuring_is_a_child_that_ends_with_the_window(qtbot: Any, window: MainWindow) -> None:
    models = window.desk.models
    models.measure()
    measuring = models._child
    assert measuring is not None
    qtbot.waitUntil(lambda: measuring._child is not None, timeout=WAIT_MS)
    child = measuring._child
    assert child is not None
    assert child.poll() is None
    models.measure()  # one at a time
    assert models._child is measuring
    window.close()
    assert child.poll() is not None
