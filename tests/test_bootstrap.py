"""The bootstrap script: choosing torch, making and mending `.venv`, knowing when it is done."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from infosam_studio import system_libraries

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "packaging" / "bootstrap.py"


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; its folder is on the path while a test runs."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("bootstrap")


@pytest.fixture
def torch_choice(bootstrap: ModuleType) -> ModuleType:
    return importlib.import_module("torch_choice")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the two files that decide what is installed."""
    root = tmp_path / "project"
    (root / "packaging").mkdir(parents=True)
    for name in ("pyproject.toml", "packaging/constraints.txt"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    return root


def test_it_needs_nothing_but_python() -> None:
    """Started by a bare interpreter: no site-packages, no user packages."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "app [PATH]" in done.stdout


def test_a_wrong_command_is_wrong_usage() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "install"], capture_output=True)
    assert done.returncode == 2


# --- torch


def listing(index: str, version: str) -> bool:
    """An index that has the CPU build and, for Windows, CUDA 12.8."""
    return (index.rsplit("/", 1)[1], version) in {("cpu", "2.13.0+cpu"), ("cu128", "2.13.0+cu128")}


@pytest.mark.parametrize(
    ("system", "gpu", "requirement", "index"),
    [
        ("linux", False, "torch==2.13.0+cpu", "cpu"),
        ("linux", True, "torch==2.13.0", None),
        ("win32", False, "torch==2.13.0", None),
        ("win32", True, "torch==2.13.0+cu128", "cu128"),
        ("darwin", False, "torch==2.13.0", None),
    ],
)
def test_the_torch_build_fits_the_machine(
    torch_choice: ModuleType, system: str, gpu: bool, requirement: str, index: str | None
) -> None:
    choice = torch_choice.torch_choice("2.13.0", gpu=gpu, system=system, offers=listing)
    assert choice.requirement == requirement
    assert (choice.index or "").rpartition("/")[2] == (index or "")


@pytest.mark.parametrize(("system", "gpu"), [("linux", False), ("win32", True)])
def test_without_that_index_the_default_one_is_used(
    torch_choice: ModuleType, system: str, gpu: bool
) -> None:
    choice = torch_choice.torch_choice("2.13.0", gpu=gpu, system=system, offers=lambda *_: False)
    assert (choice.requirement, choice.index) == ("torch==2.13.0", None)


class Index(BaseHTTPRequestHandler):
    """An index page as PyTorch serves it; under /slow it never ends."""

    released = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.released.wait(30)
            return
        page = b'<a href="/whl/cpu/torch-2.13.0%2Bcpu-cp311-cp311-linux_x86_64.whl">torch</a>'
        self.send_response(200 if self.path == "/whl/cpu/torch/" else 404)
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Index.released.clear()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    Index.released.set()
    httpd.shutdown()
    httpd.server_close()


def test_an_index_is_asked_for_the_version(torch_choice: ModuleType, server: str) -> None:
    assert torch_choice.index_offers(f"{server}/whl/cpu", "2.13.0+cpu")
    assert not torch_choice.index_offers(f"{server}/whl/cpu", "2.13.1+cpu")
    assert not torch_choice.index_offers(f"{server}/whl/cu999", "2.13.0+cpu")


def test_a_silent_index_is_given_up_soon(torch_choice: ModuleType, server: str) -> None:
    assert not torch_choice.index_offers(f"{server}/slow", "2.13.0+cpu", timeout=0.3)
    assert not torch_choice.index_offers("http://127.0.0.1:9/whl", "2.13.0+cpu", timeout=0.3)


def test_constraints_name_one_torch_for_every_build(bootstrap: ModuleType) -> None:
    version = bootstrap.pinned(ROOT, "torch")
    assert version
    assert "+" not in version


# --- the environment


def test_an_environment_is_made_and_a_broken_one_made_again(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    venv, log = tmp_path / ".venv", tmp_path / "log"
    bootstrap.make_environment(venv, log)
    assert bootstrap.environment_works(venv)
    python = bootstrap.python_in(venv)
    python.unlink()
    python.write_text("not an interpreter")
    assert not bootstrap.environment_works(venv)
    bootstrap.make_environment(venv, log)
    assert bootstrap.environment_works(venv)


@pytest.mark.slow
def test_an_environment_without_ensurepip_gets_its_pip_from_outside(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    """What Debian's Python needs where it has pip but no ensurepip."""
    venv, log = tmp_path / ".venv", tmp_path / "log"
    if not bootstrap.by_outer_pip(venv, log):
        pytest.skip(f"no package index answers here: {bootstrap.last_error(log)}")
    assert bootstrap.environment_works(venv)


def test_failing_commands_leave_their_reason_in_the_log(
    bootstrap: ModuleType, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    code = "import sys; print('ERROR: no such wheel'); sys.exit(1)"
    assert not bootstrap.run_logged([sys.executable, "-c", code], log)
    assert bootstrap.last_error(log).startswith("ERROR: no such wheel (all of it in ")
    assert not bootstrap.run_logged([str(tmp_path / "missing")], log)
    assert "error:" in bootstrap.last_error(log)


def test_what_must_be_installed_is_read_from_the_project(bootstrap: ModuleType) -> None:
    plain = bootstrap.requirements(ROOT, ())
    assert any(text.startswith("torch>=") for text in plain)
    assert not any(text.startswith("pytest>=") for text in plain)
    assert any(text.startswith("pytest>=") for text in bootstrap.requirements(ROOT, ("test",)))


def test_the_stamp_notices_every_change(bootstrap: ModuleType, project: Path) -> None:
    before = bootstrap.fingerprint(project)
    assert before == bootstrap.fingerprint(project)
    with (project / "packaging" / "constraints.txt").open("a") as file:
        file.write("# another\n")
    changed = bootstrap.fingerprint(project)
    moved = project.rename(project.with_name("moved"))
    assert len({before, changed, bootstrap.fingerprint(moved)}) == 3


def test_readiness_needs_stamp_extras_and_libraries(
    bootstrap: ModuleType, project: Path, tmp_path: Path
) -> None:
    venv = tmp_path / ".venv"
    assert not bootstrap.is_ready(venv, project, ())
    (venv / "bin").mkdir(parents=True)
    stamp = {"fingerprint": bootstrap.fingerprint(project), "extras": []}
    bootstrap.stamp_file(venv).write_text(json.dumps(stamp))
    assert not bootstrap.is_ready(venv, project, ()), "stamped, but there is no Python"
    if os.name == "nt":
        return
    # An environment that has all libraries: the one that runs this test.
    bootstrap.python_in(venv).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    bootstrap.python_in(venv).chmod(0o755)
    assert bootstrap.is_ready(venv, project, ())
    assert not bootstrap.is_ready(venv, project, ("test",)), "the tests need more"
    bootstrap.stamp_file(venv).write_text("{broken")
    assert not bootstrap.is_ready(venv, project, ())


# --- system libraries


def test_missing_libraries_become_one_line_to_copy() -> None:
    missing = ["libEGL.so.1", "libxcb-cursor.so.0"]
    line = system_libraries.install_line(missing)
    assert "\n" not in line
    assert "libegl1 libxcb-cursor0" in line or all(name in line for name in missing)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a check for Linux alone")
def test_the_dynamic_linker_is_asked() -> None:
    libraries = ["libc.so.6", "libno-such-thing.so.1"]
    assert system_libraries.missing_libraries(libraries) == ["libno-such-thing.so.1"]
