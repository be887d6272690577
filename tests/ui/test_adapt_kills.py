"""Killing the child and the app, filling the disk, deleting images: labels and versions survive.

The short ones run always; the others with ``pytest tests/ui/test_adapt_kills.py -m slow``
(several minutes on two cores).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infosam_studio.annotation.project import Project
from infosam_studio.events import Event
from infosam_studio.ui.main_window import MainWindow
from infosam_studio.ui.workbench import Workbench
from infosam_studio.ui.workers_adapt import Ended
from tests.ui.conftest import WAIT_MS, open_project
from tests.ui.test_adapting import RUN_MS, label_everything, needs_starter

pytestmark = [
    needs_starter,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]
APP = Path(__file__).with_name("adapting_app.py")
ORPHAN_SECONDS = 30.0


def alive(pid: int) -> bool:
    """Whether a process still runs; a dead one nobody has collected counts as gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return status[0] != "Z"
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").is_dir()


def labels(project: Project) -> list[tuple[object, ...]]:
    return [(one.id, one.image_id, one.class_id, one.mask) for one in project.objects()]


def check_sound(bench: Workbench, before: list[tuple[object, ...]]) -> None:
    """The labels are those of before, every version is whole, nothing half-written is shown."""
    project = bench.document.project
    assert labels(project) == before
    assert project.check(full=True) == []
    assert all(not row.problem for row in bench.adapting.versions)


def wait_end(qtbot: Any, bench: Workbench) -> Ended:
    ended: list[Ended] = []
    bench.adapting.finished.connect(ended.append)
    qtbot.waitUntil(lambda: bool(ended), timeout=RUN_MS)
    return ended[0]


def wait_stage(qtbot: Any, bench: Workbench, stage: str) -> bool:
    """Wait for a stage of the run; False where it ended before."""
    adapting = bench.adapting

    def there() -> bool:
        return adapting.run is None or adapting.run.stage == stage

    qtbot.waitUntil(there, timeout=RUN_MS)
    return adapting.run is not None


def kill_child(bench: Workbench) -> None:
    child = bench.adapting.process_id
    assert child is not None
    os.kill(child, signal.SIGKILL)


def test_a_child_killed_while_it_learns(qtbot: Any, bench: Workbench) -> None:
    label_everything(bench)
    before = labels(bench.document.project)
    assert bench.adapting.start()
    assert wait_stage(qtbot, bench, "train")
    kill_child(bench)
    ended = wait_end(qtbot, bench)
    assert ended.result is None
    assert "memory" in ended.problem
    assert bench.adapting.possible
    assert bench.model_panel.button.isEnabled()
    assert bench.model_panel.card.button.text() == "Try again"
    assert bench.adapting.in_use is None
    check_sound(bench, before)


def test_cancel_while_it_learns_takes_a_second(qtbot: Any, bench: Workbench) -> None:
    label_everything(bench)
    assert bench.adapting.start()
    assert wait_stage(qtbot, bench, "train")
    child = bench.adapting.process_id
    assert child is not None
    started = time.monotonic()
    bench.model_panel.button.click()
    assert wait_end(qtbot, bench).cancelled
    # The promise is a second; machines that test do other things as well.
    assert time.monotonic() - started < 3.0
    assert not alive(child)
    assert "Nothing has changed" in bench.model_panel.card.text


def test_closing_the_window_asks_once_and_stops_the_child(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    bench = open_project(qtbot, window, images_folder)
    label_everything(bench)
    folder, before = bench.document.project.folder, labels(bench.document.project)
    asked: list[str] = []

    def answer(_parent: object, _title: str, text: str, **_buttons: str) -> bool:
        asked.append(text)
        return len(asked) > 1

    window.confirm = answer
    assert bench.adapting.start()
    qtbot.waitUntil(lambda: bench.adapting.process_id is not None, timeout=WAIT_MS)
    child = bench.adapting.process_id
    assert child is not None
    assert not window.close()  # the first answer is no: everything goes on
    assert bench.adapting.run is not None
    assert window.isVisible()
    assert window.close()
    assert len(asked) == 2
    assert not alive(child)
    with Project.open(folder) as project:
        assert labels(project) == before
        assert project.check(full=True) == []


class App:
    """The app in a process of its own, on a project."""

    def __init__(self, project: Path, stage: str = "") -> None:
        command = [sys.executable, str(APP), str(project), *([stage] if stage else [])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment
        )

    def read(self, key: str) -> Any:
        """The next line with this key."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            data = json.loads(line)
            if key in data:
                return data[key]
        raise AssertionError(f"the app ended without telling its {key}")

    def wait_stage(self, stage: str) -> None:
        while self.read("stage") != stage:
            pass

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def labelled_project(qtbot: Any, window: MainWindow, images: Path) -> tuple[Path, list[Any]]:
    bench = open_project(qtbot, window, images)
    label_everything(bench)
    found = bench.document.project.folder, labels(bench.document.project)
    window.close_project()
    return found


def wait_gone(pid: int) -> None:
    end = time.monotonic() + ORPHAN_SECONDS
    while alive(pid):
        assert time.monotonic() < end, "the child outlives the app"
        time.sleep(0.1)


def test_no_child_survives_a_killed_app(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    folder, before = labelled_project(qtbot, window, images_folder)
    app = App(folder)
    child = app.read("child")
    app.wait_stage("train")
    app.kill()
    wait_gone(child)
    bench = open_project(qtbot, window, folder)
    qtbot.waitUntil(lambda: bench.adapting.last is not None, timeout=WAIT_MS)
    assert "Your labels are all there" in bench.model_panel.card.text
    assert bench.model_panel.card.button.text() == "Go on"
    assert bench.adapting.possible
    check_sound(bench, before)


@pytest.mark.slow
def test_a_candidate_finished_without_the_app_is_offered(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    folder, before = labelled_project(qtbot, window, images_folder)
    app = App(folder, "train")
    child = app.read("child")
    end = time.monotonic() + RUN_MS / 1000
    while not (folder / "adapters" / "v1" / "manifest.json").is_file():
        assert alive(child), "the child ended without a version"
        assert time.monotonic() < end
        time.sleep(0.05)
    app.kill()
    wait_gone(child)
    bench = open_project(qtbot, window, folder)
    qtbot.waitUntil(lambda: bench.adapting.last is not None, timeout=WAIT_MS)
    card = bench.model_panel.card
    assert "v1 is ready" in card.text
    assert bench.adapting.in_use is None
    check_sound(bench, before)
    with qtbot.waitSignal(bench.model_ready, timeout=WAIT_MS) as ready:
        card.button.click()
    assert ready.args[0].adapter == "v1"
    assert bench.adapting.in_use == "v1"
    window.close_project()
    again = open_project(qtbot, window, folder)
    assert again.adapting.in_use == "v1"
    assert again.adapting.last is None  # offered once


@pytest.mark.slow
def test_a_child_killed_at_random_moments(qtbot: Any, bench: Workbench) -> None:
    """Every stage, and within it a moment drawn by chance; at the end a whole run succeeds."""
    label_everything(bench)
    before = labels(bench.document.project)
    draw = random.Random(7)
    for stage in ("load", "before", "encode", "train", "train", "after", "write"):
        assert bench.adapting.start()
        if wait_stage(qtbot, bench, stage):
            qtbot.wait(draw.randrange(1, 300))
        if bench.adapting.run is not None and bench.adapting.process_id is not None:
            kill_child(bench)
            ended = wait_end(qtbot, bench)
            assert "\n" not in ended.problem
        qtbot.waitUntil(lambda: bench.adapting.possible, timeout=WAIT_MS)
        with qtbot.waitSignal(bench.adapting.store.listed, timeout=WAIT_MS):
            bench.adapting.store.refresh()
        check_sound(bench, before)
    assert bench.adapting.start()
    assert wait_end(qtbot, bench).result is not None
    with qtbot.waitSignal(bench.adapting.store.listed, timeout=WAIT_MS):
        bench.adapting.store._change("tidy")
    check_sound(bench, before)
    left = [p.name for p in (bench.document.project.folder / "adapters").glob(".*")]
    assert left == []


@pytest.mark.slow
def test_going_on_after_a_kill(qtbot: Any, bench: Workbench) -> None:
    label_everything(bench)
    assert bench.adapting.start()
    assert wait_stage(qtbot, bench, "train")
    bench.adapting.cancel()
    assert wait_end(qtbot, bench).cancelled
    bench.model_panel.card.button.click()
    assert bench.adapting.run is not None
    assert bench.adapting.run.wish.resume
    assert wait_end(qtbot, bench).result is not None


@pytest.mark.slow
def test_an_image_deleted_while_it_learns(
    qtbot: Any, window: MainWindow, images_folder: Path
) -> None:
    bench = open_project(qtbot, window, images_folder)
    label_everything(bench)
    before = labels(bench.document.project)
    gone = sorted(images_folder.iterdir())[1:]
    assert bench.adapting.start()
    events: list[Event] = []
    assert bench.adapting._supervisor is not None
    bench.adapting._supervisor.event_read.connect(events.append)
    qtbot.waitUntil(lambda: any(e.kind == "started" for e in events), timeout=RUN_MS)
    for path in gone:
        path.unlink()
    ended = wait_end(qtbot, bench)
    if ended.result is None:  # else everything it needed had been read already
        assert any(path.name in ended.problem for path in gone)
        assert "\n" not in ended.problem
    check_sound(bench, before)


@pytest.mark.slow
def test_a_full_disk_while_it_learns(qtbot: Any, bench: Workbench) -> None:
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("the limits of another process cannot be set here")
    label_everything(bench)
    before = labels(bench.document.project)
    assert bench.adapting.start()
    assert wait_stage(qtbot, bench, "train")
    # No file of the child may grow any more: what a full disk is like, for it alone.
    child = bench.adapting.process_id
    assert child is not None
    resource.prlimit(child, resource.RLIMIT_FSIZE, (4096, 4096))
    ended = wait_end(qtbot, bench)
    assert ended.result is None
    assert "free some space" in ended.problem, ended.problem
    assert "\n" not in ended.problem
    check_sound(bench, before)
    assert bench.model_panel.card.button.text() == "Try again"
    bench.model_panel.card.button.click()
    assert wait_end(qtbot, bench).result is not None
