"""Which build of torch fits this machine, and from where it comes."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from logged_run import succeeds

TORCH_INDEXES = "https://download.pytorch.org/whl"
# Newest first; PyTorch publishes each release for two or three of them.
WINDOWS_CUDA = ("cu132", "cu130", "cu129", "cu128", "cu126")


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
