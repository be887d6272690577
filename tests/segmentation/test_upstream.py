"""segment_anything is importable without torchvision."""

from __future__ import annotations

import subprocess
import sys

SNIPPET = """
import sys
sys.modules["torchvision"] = None  # any import of it now fails
from infosam_studio.segmentation.upstream import segment_anything_modules
upstream = segment_anything_modules()
assert upstream.Sam.__module__ == "segment_anything.modeling.sam"
assert callable(upstream.build_sam.build_sam_vit_b)
assert segment_anything_modules().Sam is upstream.Sam
from segment_anything.modeling import Sam
assert Sam is upstream.Sam
"""


def test_imports_without_torchvision() -> None:
    done = subprocess.run([sys.executable, "-c", SNIPPET], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
