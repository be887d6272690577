"""The files shipped with the app: found, complete, drawn by our own script."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infosam_studio.resource_files import resource_path, resource_root

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ("cells", "fields", "fruit", "leaf", "metal", "pebbles")


def sample(name: str) -> Path:
    (found,) = resource_path("samples", "images").glob(f"{name}.*")
    return found


def test_resources_are_those_of_the_working_tree() -> None:
    assert resource_root() == ROOT / "resources"


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_has_its_true_masks(name: str) -> None:
    image = Image.open(sample(name))
    index = np.asarray(Image.open(resource_path("samples", "masks", f"{name}.png")))
    assert image.mode == "RGB"
    assert index.dtype == np.uint8
    assert index.shape == (image.height, image.width)
    counts = np.bincount(index.ravel())
    assert len(counts) - 1 >= 8, "at least eight objects to click on"
    assert counts.min() >= 60, "every number in use, no crumbs"


def test_samples_are_what_the_script_draws(tmp_path: Path) -> None:
    """One scene is enough: the others come from the same seeds and functions."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; "
        "import render_samples; render_samples.render('leaf', Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "packaging"), str(tmp_path)], check=True, cwd=ROOT
    )
    for name, allowed in (("images/leaf.jpg", 1.0), ("masks/leaf.png", 0.01)):
        drawn = np.asarray(Image.open(tmp_path / name), np.int16)
        shipped = np.asarray(Image.open(resource_path("samples", name)), np.int16)
        # Rounding differs between processors; nothing more may.
        assert np.abs(drawn - shipped).mean() < allowed


def test_icons_are_there_in_their_sizes() -> None:
    assert resource_path("icons", "infosam-studio.svg").is_file()
    for size in (16, 32, 64, 128, 256, 512):
        assert Image.open(resource_path("icons", f"infosam-studio-{size}.png")).size == (size, size)


def test_constraints_hold_every_direct_dependency() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "packaging" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


@pytest.mark.slow
def test_the_wheel_carries_the_resources(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-q", "-w", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "infosam_studio/_resources/constraints.txt" in names
    for path in resource_root().rglob("*"):
        if path.is_file() and path.suffix != ".icns":
            inside = path.relative_to(resource_root()).as_posix()
            assert f"infosam_studio/_resources/{inside}" in names
