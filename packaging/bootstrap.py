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
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "packaging")]

# These need nothing but Python itself.
from logged_run import SetupError, clean_env, last_error, run_logged, say, succeeds  # noqa: E402
from torch_choice import TorchChoice, torch_choice  # noqa: E402

from infosam_studio.system_libraries import (  # noqa: E402
    DEBIAN_PACKAGES,
    QT_LIBRARIES,
    has_display,
    install_line,
    missing_libraries,
)

MODULE = "infosam_studio"
OLDEST, NEWEST = (3, 11), (3, 14)
NEEDED_GIB = 4


# --- the environment ---------------------------------------------------------------------------


def python_in(venv: Path) -> Path:
    """The interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def environment_works(venv: Path) -> bool:
    """Whether the environment's Python starts, is new enough, and has pip."""
    code = f"import sys, pip; sys.exit(sys.version_info < {OLDEST!r})"
    return succeeds([str(python_in(venv)), "-c", code])


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
    asks_for_help = bool({"-h", "--help"} & set(arguments))
    if not has_display() and "QT_QPA_PLATFORM" not in env and not asks_for_help:
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
