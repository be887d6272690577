"""What a run asks of the machine."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks of 12 and 16 MB by turns, of which the first kind is dropped: what stays resident?
HOLES = """
import sys
import numpy as np
from infosam_studio.adaptation.machine import give_back_large_blocks

if sys.argv[1] == "give":
    give_back_large_blocks()
ones = lambda size: np.ones(size * 2**20, dtype=np.uint8)
ones(30)  # From here on glibc by itself would keep blocks of up to 30 MB.
blocks = [ones(12 if place % 2 else 16) for place in range(20)]
blocks = blocks[::2]
resident = next(line for line in open("/proc/self/status") if line.startswith("VmRSS"))
print(int(resident.split()[1]) // 1024)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_large_blocks_leave_no_holes() -> None:
    resident = {
        way: int(subprocess.check_output([sys.executable, "-c", HOLES, way]))
        for way in ("give", "keep")
    }
    # Ten blocks of 12 MB were freed between others.
    assert resident["give"] < resident["keep"] - 80
