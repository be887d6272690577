"""A few of the cases that `tests/benchmarks/fuzz_importers.py` makes by the thousand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "fuzz_importers.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_importers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "family", ["coco", "png", "yolo", "voc", "labelme", "isat", "geojson", "tiff"]
)
def test_damaged_files_break_no_promise(script: ModuleType, tmp_path: Path, family: str) -> None:
    result = script.fuzz(family, 5.0, seed=3, keep=tmp_path, most_cases=12)
    assert result["broken"] == {}
    assert result["project_sound"]
    assert result["cases"] == 12
