"""`doctor`: what is installed, what is missing or mismatched, and the command that mends it.

Libraries are tried in child processes: a broken one can end the interpreter that imports it.
`python -m infosam_studio.commands.doctor NAME` is such a child.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infosam_studio import __version__
from infosam_studio.errors import StudioError
from infosam_studio.resource_files import resource_path, resource_root
from infosam_studio.system_libraries import (
    QT_LIBRARIES,
    has_display,
    install_line,
    missing_libraries,
)

DISTRIBUTION = "infosam-studio"
# Those that break most often, and what is imported to try them; torchvision before peft, which
# imports it wherever it finds it.
TRIED = {
    "opencv-python": "infosam_studio.annotation._cv2",
    "PySide6-Essentials": "PySide6.QtWidgets",
    "torchvision": "torchvision",
    "peft": "peft",
}
# What the app can do without, and what that adds.
OPTIONAL = {"pydicom": "reads DICOM"}
OPENCV_BUILDS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)
LOW_DISK_GIB = 2.0
CHILD_TIMEOUT_S = 180


@dataclass(frozen=True)
class Problem:
    """Something that stops a part of the app, and the one line that mends it."""

    problem: str
    mend: str


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("doctor", help="what is missing, and the command that mends it")
    parser.add_argument(
        "path", nargs="?", type=Path, help="a project or folder whose disk should be checked too"
    )
    parser.set_defaults(handler=run_doctor)


def run_doctor(args: argparse.Namespace) -> dict[str, Any]:
    """Check everything; the answer's `ok` says whether no problem was found."""
    problems: list[Problem] = []
    facts: dict[str, Any] = {
        "infosam_studio": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {os.cpu_count()} processor threads",
        "processor": processor_features(),
    }
    for name, check in CHECKS.items():
        found: list[Problem] = []
        facts[name] = check(args.path, found)
        problems += found
    count = len(problems)
    mended = "the command that mends it" if count == 1 else "the commands that mend them"
    summary = f"{count} problem{'s' * (count != 1)}, with {mended}." if count else "All is well."
    return {
        "summary": summary,
        "ok": not problems,
        "problems": [asdict(problem) for problem in problems],
        **facts,
    }


# --- libraries ---------------------------------------------------------------------------------


def check_packages(_path: Path | None, problems: list[Problem]) -> list[dict[str, Any]]:
    """Every direct dependency: installed and tested version; missing ones are problems."""
    tested = tested_versions()
    rows = []
    for name in direct_dependencies():
        installed = installed_version(name)
        if installed is None:
            problems.append(Problem(f"{name} is not installed.", pip_install(name)))
        rows.append({"name": name, "installed": installed, "tested": tested.get(_key(name))})
    builds = [name for name in OPENCV_BUILDS if installed_version(name) is not None]
    if len(builds) > 1:
        others = " ".join(builds)
        mend = f"{pip('uninstall', '-y', *builds)} && {pip_install('opencv-python')}"
        problems.append(Problem(f"Several builds of OpenCV overwrite each other: {others}.", mend))
    return rows


def check_optional(_path: Path | None, _problems: list[Problem]) -> list[dict[str, Any]]:
    """What may be installed besides, and the command for it; no problem where it is not."""
    rows = []
    for name, use in OPTIONAL.items():
        installed = installed_version(name)
        row: dict[str, Any] = {"name": name, "for": use, "installed": installed}
        rows.append(row if installed else row | {"command": pip_install(name)})
    return rows


def direct_dependencies() -> list[str]:
    """The names this installation declares; the tested list where it has no metadata."""
    try:
        declared = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return sorted(tested_versions())
    return sorted(
        (_name(text) for text in declared if "extra ==" not in text), key=lambda name: name.lower()
    )


def _name(requirement: str) -> str:
    end = next((i for i, c in enumerate(requirement) if c in " <>=!~;[("), len(requirement))
    return requirement[:end]


def _key(name: str) -> str:
    return name.lower().replace("_", "-")


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def constraints_file() -> Path | None:
    """The tested versions: inside a wheel among the resources, else in `packaging`."""
    inside = resource_path("constraints.txt")
    in_tree = resource_root().parent / "packaging" / "constraints.txt"
    return next((path for path in (inside, in_tree) if path.is_file()), None)


def tested_versions() -> dict[str, str]:
    path = constraints_file()
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {_key(name): version for name, version in pairs}


def pip(*arguments: str) -> str:
    quoted = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return " ".join([quoted, "-m", "pip", *arguments])


def pinned(name: str) -> str:
    version = tested_versions().get(_key(name))
    return f"{name}=={version}" if version else name


def pip_install(name: str) -> str:
    return pip("install", pinned(name))


def check_torch(_path: Path | None, problems: list[Problem]) -> dict[str, Any]:
    """Build, devices and bf16 of torch; a CPU build beside an NVIDIA GPU is a problem."""
    if installed_version("torch") is None:
        return {"version": None}
    facts, reason = in_child("torch")
    if facts is None:
        mend = pip("install", "--force-reinstall", pinned("torch"))
        problems.append(Problem(f"torch does not load: {reason}", mend))
        return {"version": installed_version("torch")}
    gpu = nvidia_gpu()
    facts["nvidia_gpu"] = gpu
    if gpu and not facts["cuda_build"]:
        mend = f"{pip('uninstall', '-y', 'torch')} && {pip_install('torch')}"
        problems.append(Problem(f"{gpu} is here, but torch is built for the CPU alone.", mend))
    elif gpu and not facts["cuda"]:
        problems.append(
            Problem(
                f"torch cannot use {gpu}; its driver is older than CUDA {facts['cuda_build']}.",
                "install a newer NVIDIA driver, then restart",
            )
        )
    return facts


def describe_torch() -> dict[str, Any]:
    """Run in a child: what this torch can do on this machine."""
    import torch

    cuda = torch.cuda.is_available()
    facts: dict[str, Any] = {
        "version": str(torch.__version__),
        "cuda_build": torch.version.cuda,
        "cuda": cuda,
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "bf16_on_gpu": cuda and torch.cuda.is_bf16_supported(),
    }
    if cuda:
        gpu = torch.cuda.get_device_properties(0)
        facts["gpu"] = f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"
    # A product of two small matrices: a build for another processor fails here, not at import.
    torch.ones(8, 8) @ torch.ones(8, 8)
    return facts


def check_loading(_path: Path | None, problems: list[Problem]) -> dict[str, str]:
    """Import the libraries that break most often, each in its own interpreter."""
    outcome: dict[str, str] = {}
    for name, module in TRIED.items():
        if installed_version(name) is None:
            continue  # a missing library is a problem of the packages, torchvision of nobody
        facts, reason = in_child(module)
        outcome[name] = "loads" if facts is not None else f"broken: {reason}"
        if facts is not None:
            continue
        if name == "torchvision":
            text = "torchvision was built for another torch and breaks `import peft`"
            mend = pip("uninstall", "-y", name)
            problems.append(Problem(f"{text}; nothing here needs it.", mend))
        elif name == "PySide6-Essentials" and missing_libraries(QT_LIBRARIES):
            continue  # reported with the window, and mended there
        elif name != "peft" or "broken" not in outcome.get("torchvision", ""):
            mend = pip("install", "--force-reinstall", "--no-deps", pinned(name))
            problems.append(Problem(f"{name} does not load: {reason}", mend))
    return outcome


def describe_module(name: str) -> dict[str, Any]:
    """Run in a child: import a module and say its version."""
    module = importlib.import_module(name)
    return {"version": str(getattr(module, "__version__", ""))}


def in_child(name: str) -> tuple[dict[str, Any] | None, str]:
    """Describe a library in another interpreter; (None, reason) where that fails."""
    if getattr(sys, "frozen", False):  # a frozen program's executable is not a Python
        try:
            return _describe(name), ""
        except Exception as error:  # whatever a broken library raises
            return None, f"{type(error).__name__}: {error}"
    command = [sys.executable, "-m", "infosam_studio.commands.doctor", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None, f"it did not load within {CHILD_TIMEOUT_S} s"
    if done.returncode == 0 and done.stdout.strip():
        facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return facts, ""
    lines = done.stderr.strip().splitlines() or [f"the interpreter ended with {done.returncode}"]
    return None, lines[-1]


def _describe(name: str) -> dict[str, Any]:
    return describe_torch() if name == "torch" else describe_module(name)


def nvidia_gpu() -> str | None:
    """The name of the first NVIDIA GPU, as its driver tells it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().split("\n")[0] or None if done.returncode == 0 else None


def processor_features() -> list[str]:
    """What speeds bf16 up on this processor (Linux tells; elsewhere the list is empty)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    return [flag for flag in known if flag in flags]


# --- the window --------------------------------------------------------------------------------


def check_window(_path: Path | None, problems: list[Problem]) -> dict[str, Any]:
    """Qt's system libraries, the display, and variables that mislead Qt."""
    missing = missing_libraries()
    if missing:
        text = f"Qt misses system libraries: {', '.join(missing)}."
        problems.append(Problem(text, install_line(missing)))
    for name in ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR", "QT_PLUGIN_PATH"):
        value = os.environ.get(name, "")
        if "cv2" in Path(value).parts:
            unset = f"set {name}=" if os.name == "nt" else f"unset {name}"
            problems.append(Problem(f"{name} points into OpenCV's own Qt ({value}).", unset))
    return {
        "display": has_display(),
        "platform": os.environ.get("QT_QPA_PLATFORM", "default"),
        "missing_libraries": missing,
    }


# --- files -------------------------------------------------------------------------------------


def check_resources(_path: Path | None, problems: list[Problem]) -> dict[str, Any]:
    """The files shipped with the app."""
    try:
        root = resource_root()
    except StudioError as error:
        problems.append(Problem(str(error), reinstall()))
        return {"folder": None}
    starter = resource_path("models", "starter.safetensors")
    if not starter.is_file():
        problems.append(Problem(f"The starter model is missing at {starter}.", reinstall()))
    return {"folder": str(root), "starter_model": starter.is_file()}


def reinstall() -> str:
    """The command that brings shipped files back: git in a working tree, else pip."""
    tree = Path(__file__).resolve().parents[2]
    if (tree / ".git").exists():
        return f'git -C "{tree}" checkout -- resources'
    return pip("install", "--force-reinstall", "--no-deps", DISTRIBUTION)


def check_folders(path: Path | None, problems: list[Problem]) -> list[dict[str, Any]]:
    """Where settings, data and cache go (and PATH): writable, with room left."""
    rows = []
    for purpose, folder in folders(path):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(existing).free / 2**30
        writable = may_write(existing)
        row = {"for": purpose, "folder": str(folder), "writable": writable}
        rows.append({**row, "free_gib": round(free, 1)})
        if not writable and purpose != "project":
            mend = f"give yourself the right to write to {existing}"
            problems.append(Problem(f"The {purpose} folder {folder} cannot be written.", mend))
        if free < LOW_DISK_GIB:
            mend = f"free some space on the disk of {existing}"
            problems.append(Problem(f"Only {free:.1f} GiB are free for {folder}.", mend))
    return rows


def folders(path: Path | None) -> Iterator[tuple[str, Path]]:
    try:
        import platformdirs
    except ImportError:  # reported as a missing package
        return
    name = DISTRIBUTION
    yield "settings", platformdirs.user_config_path(name, appauthor=False)
    yield "data", platformdirs.user_data_path(name, appauthor=False)
    yield "cache", platformdirs.user_cache_path(name, appauthor=False)
    if path is not None:
        yield "project", path.absolute()


def may_write(folder: Path) -> bool:
    """Whether a file can be made there; asking for permission bits is not enough on Windows."""
    place = folder if folder.is_dir() else folder.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


CHECKS: dict[str, Callable[[Path | None, list[Problem]], Any]] = {
    "packages": check_packages,
    "optional": check_optional,
    "torch": check_torch,
    "loading": check_loading,
    "window": check_window,
    "resources": check_resources,
    "folders": check_folders,
}


if __name__ == "__main__":
    print(json.dumps(_describe(sys.argv[1])))
