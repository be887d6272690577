#!/usr/bin/env python3
"""Set everything up and start the app or the tests, from nothing but Python 3.11 or newer.

    python3 packaging/bootstrap.py app [PATH] [--tour]    open the window (PATH: project, folder
                                                          of images, or image); without a display
                                                          the guided tour runs offscreen
    python3 packaging/bootstrap.py test                   ruff, mypy and the test suite
    python3 packaging/bootstrap.py test ARGUMENTS         pytest alone, with these arguments

The first run makes `.venv` beside this folder and installs the tested versions into it; later
runs start at once. Standard library only; Linux, macOS and Windows.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from infosam_studio.system_libraries import (  # noqa: E402  (needs nothing but Python itself)
    DEBIAN_PACKAGES,
    QT_LIBRARIES,
    has_display,
    install_line,
    missing_libraries,
)

MODULE = "infosam_studio"
OLDEST, NEWEST = (3, 11), (3, 14)
TORCH_INDEXES = "https://download.pytorch.org/whl"
# Newest first; PyTorch publishes each release for two or three of them.
WINDOWS_CUDA = ("cu132", "cu130", "cu129", "cu128", "cu126")
NEEDED_GIB = 4
HEARTBEAT_S = 20.0


class SetupError(Exception):
    """What went wrong and what to do about it, in one line."""


def say(text: str) -> None:
    print(f"[setup] {text}", file=sys.stderr, flush=True)


# --- the environment ---------------------------------------------------------------------------


def python_in(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment_works(venv: Path) -> bool:
    """Whether the environment's Python starts, is new enough, and has pip."""
    code = f"import sys, pip; sys.exit(sys.version_info < {OLDEST!r})"
    return succeeds([str(python_in(venv)), "-c", code])


def succeeds(command: Sequence[str], *, timeout: float = 60.0) -> bool:
    """Run a command silently; False also where it does not exist or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, env=clean_env())
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def clean_env() -> dict[str, str]:
    """The caller's environment without what would leak other packages into ours."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return env | {"PYTHONNOUSERSITE": "1", "PIP_USER": "0", "PYTHONUTF8": "1"}


def make_environment(venv: Path, log: Path) -> None:
    """Make the virtual environment, by whichever way this machine allows."""
    if venv.exists() and environment_works(venv):
        return
    if venv.exists():
        say(f"{venv.name} is broken or too old: making it again")
    else:
        say(f"making {venv.name} (Python {platform.python_version()})")
    for make in (by_venv, by_virtualenv, by_outer_pip, by_apt):
        remove_tree(venv)
        if make(venv, log) and environment_works(venv):
            return
    remove_tree(venv)
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    raise SetupError(
        "This Python cannot make virtual environments; as administrator: "
        f"apt-get install -y {package}   (other systems: install `virtualenv`), then run this again"
    )


def by_venv(venv: Path, log: Path) -> bool:
    # Debian ships `venv` without `ensurepip`; it would fail after making half a folder.
    if importlib.util.find_spec("ensurepip") is None:
        return False
    return run_logged([sys.executable, "-m", "venv", str(venv)], log)


def by_virtualenv(venv: Path, log: Path) -> bool:
    if importlib.util.find_spec("virtualenv") is not None:
        return run_logged([sys.executable, "-m", "virtualenv", str(venv)], log)
    tool = shutil.which("virtualenv")
    return bool(tool) and run_logged([str(tool), "-p", sys.executable, str(venv)], log)


def by_outer_pip(venv: Path, log: Path) -> bool:
    """An environment without pip, filled by the pip that this Python already has."""
    if importlib.util.find_spec("pip") is None:
        return False
    if not run_logged([sys.executable, "-m", "venv", "--without-pip", str(venv)], log):
        return False
    inner = str(python_in(venv))
    return run_logged([sys.executable, "-m", "pip", "--python", inner, "install", "pip"], log)


def by_apt(venv: Path, log: Path) -> bool:
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if not install_with_apt([package], log):
        return False
    return run_logged([sys.executable, "-m", "venv", str(venv)], log)


def remove_tree(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


# --- what is installed -------------------------------------------------------------------------


def fingerprint(root: Path) -> str:
    """Changes whenever what has to be installed changes, or the project was moved."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("pyproject.toml", "packaging/constraints.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_ready(venv: Path, root: Path, extras: Iterable[str]) -> bool:
    """Whether a former run installed everything and it is still there."""
    try:
        stamp = json.loads(stamp_file(venv).read_text(encoding="utf-8"))
        if stamp["fingerprint"] != fingerprint(root) or not set(extras) <= set(stamp["extras"]):
            return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    # Looked for, not imported: this runs at every start.
    modules = ("torch", "PySide6", "cv2", "numpy", MODULE)
    code = f"import importlib.util as u; assert all(map(u.find_spec, {modules!r}))"
    return succeeds([str(python_in(venv)), "-c", code])


def stamp_file(venv: Path) -> Path:
    return venv / "infosam-studio.json"


def requirements(root: Path, extras: Iterable[str]) -> list[str]:
    """The project's dependencies and those of the extras, plus what building it needs."""
    import tomllib

    document = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    found = [*document["project"]["dependencies"]]
    for extra in extras:
        found += document["project"]["optional-dependencies"][extra]
    return [*found, *document["build-system"]["requires"], "editables"]


def pinned(root: Path, name: str) -> str:
    """The tested version of a package."""
    text = (root / "packaging/constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(name)}==(\S+)", text, re.MULTILINE)
    if found is None:
        raise SetupError(f"packaging/constraints.txt names no version of {name}.")
    return found.group(1)


def install(venv: Path, root: Path, extras: Sequence[str], log: Path) -> None:
    """Install torch, the other tested versions and the project itself, then stamp it."""
    pip = [str(python_in(venv)), "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--no-input", "--progress-bar", "off"]
    constrained = [*pip, "-c", str(root / "packaging/constraints.txt")]
    choice = torch_choice(pinned(root, "torch"))
    say(f"{choice.requirement}: {choice.words}")
    if choice.index is not None and not torch_installed(venv, choice):
        # Only torch itself comes from there.
        only_torch = [*pip, "--no-deps", "--index-url", choice.index, choice.requirement]
        if not run_logged(only_torch, log):
            say("that index did not deliver; using the default one")
    say("installing the tested versions (the first time: some minutes, about 1 GB to download)")
    if not run_logged([*constrained, *requirements(root, extras)], log):
        raise SetupError(f"Installing the libraries failed: {last_error(log)}")
    say("installing the project itself")
    if not run_logged([*pip, "--no-deps", "--no-build-isolation", "-e", str(root)], log):
        raise SetupError(f"Installing the project failed: {last_error(log)}")
    check_imports(venv)
    stamp = {"fingerprint": fingerprint(root), "extras": sorted(extras)}
    stamp_file(venv).write_text(json.dumps(stamp), encoding="utf-8")


def check_imports(venv: Path) -> None:
    """Import the large libraries once: what does not load is better said now."""
    say("checking that everything loads")
    code = "import cv2, numpy, torch, PySide6.QtWidgets, infosam_studio; print(torch.__version__)"
    done = subprocess.run(
        [str(python_in(venv)), "-c", code], capture_output=True, text=True, env=clean_env()
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(
            f"Everything is installed but does not load ({reason}); remove {venv} and run this "
            "again."
        )


def last_error(log: Path) -> str:
    """The line of pip's output that says why it failed, and where the rest is."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("ERROR:", "error:"))]
    reason = (errors or [line for line in lines if line.strip()] or ["no output"])[-1]
    return f"{reason} (all of it in {log})"


# --- torch -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TorchChoice:
    """What to ask pip for, from which index (None: the default one), and why."""

    requirement: str
    index: str | None
    words: str


def torch_choice(
    version: str,
    *,
    gpu: bool | None = None,
    system: str = sys.platform,
    offers: Callable[[str, str], bool] | None = None,
) -> TorchChoice:
    """CUDA where there is an NVIDIA GPU, else the CPU build where it can be reached.

    The default index serves the CUDA build for Linux (2.5 GB more to download) and the CPU
    build for Windows; on macOS there is one build only.
    """
    offers = offers or index_offers
    default = f"torch=={version}"
    if system == "darwin":
        return TorchChoice(default, None, "the one build for macOS")
    if gpu if gpu is not None else has_nvidia_gpu():
        for name in WINDOWS_CUDA if system == "win32" else ():
            index = f"{TORCH_INDEXES}/{name}"
            if offers(index, f"{version}+{name}"):
                return TorchChoice(f"{default}+{name}", index, "NVIDIA GPU found, CUDA build")
        return TorchChoice(default, None, "NVIDIA GPU found, default build")
    index = f"{TORCH_INDEXES}/cpu"
    if system != "win32" and offers(index, f"{version}+cpu"):
        return TorchChoice(f"{default}+cpu", index, "no NVIDIA GPU, CPU build")
    return TorchChoice(default, None, "no NVIDIA GPU, build of the default index")


def has_nvidia_gpu() -> bool:
    tool = shutil.which("nvidia-smi")
    return tool is not None and succeeds([tool, "-L"], timeout=15)


def index_offers(index: str, version: str, *, timeout: float = 4.0) -> bool:
    """Whether an index answers within a few seconds and lists that version of torch."""
    import urllib.request  # a tenth of a second that most starts need not wait for

    found: list[bool] = []

    def look() -> None:
        try:
            with urllib.request.urlopen(f"{index}/torch/", timeout=timeout) as answer:
                text = answer.read().decode("utf-8", "replace").replace("%2B", "+")
            found.append(f"torch-{version}-" in text)
        except (OSError, ValueError):
            found.append(False)

    # A thread, because resolving a name can hang for longer than any socket timeout.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(timeout + 1)
    return found == [True]


def torch_installed(venv: Path, choice: TorchChoice) -> bool:
    version = choice.requirement.partition("==")[2]
    code = f"import importlib.metadata as m; assert m.version('torch') == {version!r}"
    return succeeds([str(python_in(venv)), "-c", code])


# --- system libraries --------------------------------------------------------------------------


def provide_libraries(log: Path) -> None:
    """Make Qt's system libraries available, or say how."""
    missing = missing_libraries()
    if not missing:
        return
    line = install_line(missing)
    say(f"missing system libraries: {' '.join(missing)}")
    if install_with_apt([DEBIAN_PACKAGES[name] for name in missing], log):
        missing = missing_libraries(missing)
    if any(name in QT_LIBRARIES for name in missing):
        raise SetupError(f"Qt needs system libraries that are not here: {line}")
    if missing:
        say(f"to open windows on X11: {line}")


def install_with_apt(packages: Sequence[str], log: Path) -> bool:
    """Install Debian packages; False where this user may not or it did not work."""
    apt = shutil.which("apt-get")
    if apt is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return False
    say(f"apt-get install {' '.join(packages)}")
    os.environ.setdefault("DEBIAN_FRONTEND", "noninteractive")
    command = [apt, "install", "-y", "--no-install-recommends", *packages]
    # A machine that was never updated has no package lists; one that was may be offline.
    return run_logged(command, log) or (
        run_logged([apt, "update"], log) and run_logged(command, log)
    )


# --- running things ----------------------------------------------------------------------------


def run_logged(command: Sequence[str], log: Path) -> bool:
    """Run a command into the log; on the terminal, only its latest news."""
    with log.open("a", encoding="utf-8") as out:
        out.write(f"\n$ {shlex.join(command)}\n")
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_env(),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as problem:
        with log.open("a", encoding="utf-8") as out:
            out.write(f"error: {problem}\n")
        return False
    news = News()
    reader = threading.Thread(target=copy_lines, args=(process, log, news), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(0.2)
            news.show()
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        news.clear()
    return process.wait() == 0


def copy_lines(process: subprocess.Popen[str], log: Path, news: News) -> None:
    assert process.stdout is not None
    with log.open("a", encoding="utf-8") as out:
        for line in process.stdout:
            out.write(line)
            out.flush()
            news.text = line.strip()


class News:
    """The latest line of a running command: rewritten in place on a terminal, else now and then."""

    def __init__(self) -> None:
        self.text = ""
        self.terminal = sys.stderr.isatty()
        self.started = self.shown = time.monotonic()

    def show(self) -> None:
        now = time.monotonic()
        if self.terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            line = f"        {now - self.started:4.0f} s  {self.text}"[:width]
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        elif now - self.shown > HEARTBEAT_S:
            self.shown = now
            say(f"  {now - self.started:.0f} s: {self.text[:120]}")

    def clear(self) -> None:
        if self.terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


# --- commands ----------------------------------------------------------------------------------


def set_up(root: Path, extras: Sequence[str]) -> Path:
    """Return the environment's Python, after installing whatever is missing."""
    venv = root / ".venv"
    if not is_ready(venv, root, extras):
        started = time.monotonic()
        check_machine(root)
        log = root / ".venv-setup.log"
        log.write_text("", encoding="utf-8")
        make_environment(venv, log)
        provide_libraries(log)
        install(venv, root, extras, log)
        say(f"ready after {time.monotonic() - started:.0f} s")
    return python_in(venv)


def check_machine(root: Path) -> None:
    """Refuse early, with the reason, what could only fail later."""
    if sys.maxsize < 2**32:
        raise SetupError("This Python is a 32-bit build; PyTorch needs a 64-bit one.")
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        raise SetupError("PyTorch is no longer built for Intel; use an arm64 Python on this Mac.")
    free = shutil.disk_usage(root).free / 2**30
    if free < NEEDED_GIB:
        raise SetupError(
            f"{root} has {free:.1f} GiB free and the libraries need about {NEEDED_GIB}: "
            "free some space, then run this again."
        )


def app(arguments: Sequence[str]) -> int:
    """Open the window, or run the guided tour where there is no display."""
    python = set_up(ROOT, ())
    env = clean_env()
    command = [str(python), "-m", MODULE, "open", *arguments]
    if not has_display() and "QT_QPA_PLATFORM" not in env:
        say("no display: running the guided tour offscreen")
        env["QT_QPA_PLATFORM"] = "offscreen"
        command = [str(python), "-m", MODULE, "open", "--tour"]
    if os.name == "nt":
        return subprocess.run(command, env=env).returncode
    sys.stdout.flush()
    os.execve(command[0], command, env)


def test(arguments: Sequence[str]) -> int:
    """Run ruff, mypy and pytest; all three, so that one run tells everything."""
    python = str(set_up(ROOT, ("test",)))
    env = {"QT_QPA_PLATFORM": "offscreen"} | clean_env()
    pytest = [python, "-m", "pytest", *arguments]
    steps = [[python, "-m", "ruff", "check", "."], [python, "-m", "mypy"], pytest]
    failed = []
    for command in [pytest] if arguments else steps:
        name, started = command[2], time.monotonic()
        say(f"{name} ...")
        code = subprocess.run(command, cwd=ROOT, env=env).returncode
        outcome = "ok" if code == 0 else f"failed ({code})"
        say(f"{name}: {outcome}, {time.monotonic() - started:.0f} s")
        failed += [name] if code else []
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def suitable_python() -> str | None:
    """Another Python on the path that fits, where the running one is too old or too new."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return None
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            return found
    if sys.version_info[:2] < OLDEST:
        raise SetupError(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is "
            f"{platform.python_version()}: install one and run this again with it."
        )
    return None


def main(argv: Sequence[str]) -> int:
    commands: dict[str, Callable[[Sequence[str]], int]] = {"app": app, "test": test}
    if not argv or argv[0] not in commands:
        print(__doc__)
        return 0 if argv and argv[0] in ("-h", "--help") else 2
    try:
        other = suitable_python()
        if other is not None:
            return subprocess.run([other, str(Path(__file__).resolve()), *argv]).returncode
        return commands[argv[0]](argv[1:])
    except SetupError as problem:
        say(str(problem))
        return 1
    except KeyboardInterrupt:
        say("stopped; run the same command to go on")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
