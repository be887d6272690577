"""Versions of a project: remarks, leftovers of killed runs, and archives nobody should trust."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infosam_studio.adaptation import versions
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.adapter_folder import AdapterFolder, AdapterManifest, write_adapter


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "images").mkdir()
    with Project.create(tmp_path / "project", tmp_path / "images") as made:
        write(made.adapters_dir / "v1")
        yield made


def write(path: Path) -> AdapterFolder:
    manifest = AdapterManifest(path.name, "starter", "f" * 64, created="2026-01-01T00:00:00+00:00")
    tensors = {"base_model.model.mask_decoder.weight": torch.arange(6.0)}
    return write_adapter(path, tensors, manifest, {"peft_type": "LORA"}, None)


def names(project: Project) -> list[str]:
    return [one.name for one in versions.versions(project)]


def test_a_remark_stays_with_the_version(project: Project, tmp_path: Path) -> None:
    versions.annotate(project, "v1", "  after the second plate ")
    out = versions.export(project, "v1", tmp_path / "v1.zip")
    versions.delete(project, "v1")
    assert versions.import_version(project, out) == "v1"
    manifest = versions.find(project, "v1").manifest
    assert manifest.notes[versions.REMARK] == "after the second plate"
    versions.annotate(project, "v1", "")
    assert versions.REMARK not in versions.find(project, "v1").manifest.notes


def test_leftovers_of_the_dead_go_and_nothing_else(project: Project) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    states = project.cache_dir / "adapt"
    states.mkdir(parents=True)
    gone = [f".v2.{dead.pid}.part", f".v1.deleted.{dead.pid}", f".import.{dead.pid}.x1"]
    kept = [f".v3.{os.getpid()}.part", ".hidden", "v1"]
    for name in gone + kept[:2]:
        (project.adapters_dir / name).mkdir()
        (project.adapters_dir / name / "adapter_model.safetensors").write_bytes(b"half")
    (states / f"v2.state.{dead.pid}").write_bytes(b"half")
    (states / "v2.state").write_bytes(b"whole")
    assert set(versions.tidy(project)) == {*gone, f"v2.state.{dead.pid}"}
    assert sorted(p.name for p in project.adapters_dir.iterdir()) == sorted(kept)
    assert [p.name for p in states.iterdir()] == ["v2.state"]
    assert names(project) == ["v1"]


def zip_of(project: Project, out: Path, place: str) -> Path:
    """The files of v1 in a zip, each under ``place``."""
    with zipfile.ZipFile(out, "w") as archive:
        for path in (project.adapters_dir / "v1").iterdir():
            archive.write(path, place + path.name)
    return out


@pytest.mark.parametrize("place", ["", "v1/", "deep/er/", "../", "/", "../../../", "C:\\x\\"])
def test_an_archive_never_writes_elsewhere(project: Project, tmp_path: Path, place: str) -> None:
    source = zip_of(project, tmp_path / "in.zip", place)
    before = {p for p in tmp_path.rglob("*") if project.adapters_dir not in p.parents}
    try:
        name = versions.import_version(project, source)
        assert AdapterFolder.read(project.adapters_dir / name).tensors
    except StudioError:
        assert "\\" in place  # no manifest is found there at all
    after = {p for p in tmp_path.rglob("*") if project.adapters_dir not in p.parents}
    assert after == before


def test_two_adapters_in_one_archive_are_not_mixed(project: Project, tmp_path: Path) -> None:
    source = zip_of(project, tmp_path / "in.zip", "")
    with zipfile.ZipFile(source, "a") as archive:
        archive.writestr("other/adapter_model.safetensors", b"something else")
    name = versions.import_version(project, source)
    kept = (project.adapters_dir / name / "adapter_model.safetensors").read_bytes()
    assert kept == (project.adapters_dir / "v1" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("cut", [10, 300, 700])
def test_a_damaged_archive_is_one_sentence(project: Project, tmp_path: Path, cut: int) -> None:
    source = versions.export(project, "v1", tmp_path / "in.zip")
    content = bytearray(source.read_bytes())
    content[cut : cut + 60] = os.urandom(60)
    source.write_bytes(bytes(content))
    with pytest.raises(StudioError, match="again"):
        versions.import_version(project, source)
    source.write_bytes(bytes(content[: len(content) // 2]))
    with pytest.raises(StudioError, match=r"in\.zip"):
        versions.import_version(project, source)
    assert names(project) == ["v1"]
    assert [p.name for p in project.adapters_dir.iterdir()] == ["v1"]


def test_an_archive_too_large_is_refused(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "MOST_UNPACKED", 100)
    source = versions.export(project, "v1", tmp_path / "in.zip")
    with pytest.raises(StudioError, match="too large"):
        versions.import_version(project, source)
