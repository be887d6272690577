"""The machine a run lives on: threads, priority, memory.

torch is imported where it is needed: a run must be able to hear "cancel" while that happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

M_MMAP_THRESHOLD: Final = -3
LARGE_BLOCK: Final = 8 * 2**20


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(threads: int | None, *, leave_one: bool) -> int:
    """Set the threads of torch and OpenCV and return their number.

    Without a number torch's own choice stays (it honours OMP_NUM_THREADS); ``leave_one`` keeps
    a core free for the window that started this run. Never more than there are cores.
    """
    import torch

    from infosam_studio.annotation._cv2 import cv2

    if threads is None:
        threads = torch.get_num_threads()
        if leave_one:
            threads = min(threads, available_cores() - 1)
    threads = max(1, min(threads, available_cores()))
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def give_back_large_blocks() -> None:
    """Have glibc return blocks of 8 MB and more to the system as soon as they are freed.

    By itself it learns to keep blocks of up to 32 MB, and activations of different sizes leave
    holes: an eighth of the peak in a step of ViT-B in fp32, for a few per cent of its time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def lower_priority() -> None:
    """Let everything else on the machine go first."""
    if sys.platform == "win32":
        with contextlib.suppress(ImportError, OSError):
            psutil = importlib.import_module("psutil")
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        return
    with contextlib.suppress(OSError):
        os.nice(10)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far in MB: of the device where it has its own, else resident."""
    if device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if sys.platform == "win32":
        psutil = importlib.import_module("psutil")
        return round(float(psutil.Process().memory_info().peak_wset) / 2**20, 1)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def process_started() -> float:
    """When this process began, as a ``time.monotonic()`` value; now where that is unknown.

    The user's minutes begin when the command does, not when torch has been imported.
    """
    with contextlib.suppress(Exception):
        psutil = importlib.import_module("psutil")
        return time.monotonic() - (time.time() - float(psutil.Process().create_time()))
    return time.monotonic()
