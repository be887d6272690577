"""Measured speeds are remembered for this machine alone, and never those of a busy one."""

from __future__ import annotations

import json
from pathlib import Path

import platformdirs
import pytest

from infosam_studio.segmentation import advice, hashing, speeds
from infosam_studio.segmentation.advice import RANKING, Speed


@pytest.fixture(autouse=True)
def _given_speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFOSAM_STUDIO_MODELS", str(tmp_path / "models"))
    given = {name: Speed(0.5 + n, 0.05) for n, name in enumerate(reversed(RANKING))}
    monkeypatch.setattr(advice, "measure", lambda _device, grid: given)


def stored() -> Path:
    return platformdirs.user_cache_path(hashing.APP, appauthor=False) / "speeds.json"


def test_what_was_measured_is_known_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "_share", lambda: 1.0)
    assert speeds.known() is None
    found = speeds.measure("cpu")
    again = speeds.known()
    assert again is not None
    assert again == found
    assert again.of("vit_b") == Speed(2.5, 0.05)
    assert again.of("something else") is None
    # Encodes of up to 4 s are fine, so ViT-L would do; the starter is all there is.
    found_advice = again.advice()
    assert (found_advice.now, found_advice.adaptation) == ("starter", "full")
    assert found_advice.model in ("sam_vit_l", "sam_vit_b")


def test_another_machine_or_a_damaged_file_counts_as_unmeasured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speeds, "_share", lambda: 1.0)
    speeds.measure("cpu")
    content = json.loads(stored().read_text())
    content["machine"]["cores"] += 1
    stored().write_text(json.dumps(content))
    assert speeds.known() is None
    for damaged in ("", "[]", '{"version": 1}'):
        stored().write_text(damaged)
        assert speeds.known() is None


def test_a_busy_machine_says_so_and_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "_share", lambda: 0.4)
    assert speeds.measure("cpu").busy
    assert speeds.known() is None
