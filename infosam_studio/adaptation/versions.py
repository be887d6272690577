"""The versions of a project: its adapters, which one is in use, and taking them in and out.

Which version is in use is a setting of the project (``adapter``: a name, or null for the base
model); everything else is the adapter folders themselves.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from infosam_studio.adaptation.plan import NAME, choose_device
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.adapter_folder import (
    AdapterError,
    AdapterFolder,
    AdapterManifest,
)
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.embedding_cache import DiskCache
from infosam_studio.segmentation.predictor import Predictor

IN_USE: Final = "adapter"
MODEL: Final = "model"
DEFAULT_MODEL: Final = "starter"
BASE: Final = "none"
REMARK: Final = "remark"
# .v3.4711.part, .v3.deleted.4711 and .import.4711.x beside the versions, v3.state.4711 among the
# saved states: the number is that of the process.
HALF_WRITTEN: Final = (
    re.compile(r"\..+\.(\d+)\.part"),
    re.compile(r"(?:\..+\.deleted|.+\.state)\.(\d+)"),
    re.compile(r"\.import\.(\d+)\..+"),
)
MOST_UNPACKED: Final = 4 * 2**30
FILES: Final = (
    "manifest.json",
    "adapter_model.safetensors",
    "adapter_config.json",
    "relation.safetensors",
)


@dataclass(frozen=True)
class Version:
    """One adapter of a project; ``problem`` says why it cannot be used, if so."""

    name: str
    path: Path
    manifest: AdapterManifest | None
    in_use: bool
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For ``adapters --json``."""
        manifest = self.manifest.to_json() if self.manifest else {}
        kept = ("checkpoint", "recipe", "method", "speed", "created", "before", "after", "notes")
        return {
            "name": self.name,
            "in_use": self.in_use,
            "problem": self.problem,
            **{key: manifest.get(key) for key in kept},
        }


def model_name(project: Project, asked: str | None) -> str:
    """The base checkpoint asked for, else the project's own, else the starter."""
    return asked or str(project.setting(MODEL) or DEFAULT_MODEL)


def in_use(project: Project) -> str | None:
    """The name of the version in use, None for the base model."""
    name = project.setting(IN_USE)
    return str(name) if name else None


def versions(project: Project) -> list[Version]:
    """All versions, the oldest first; damaged ones are listed with their problem."""
    used = in_use(project)
    found = []
    if project.adapters_dir.is_dir():
        for path in sorted(project.adapters_dir.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                found.append(_version(path, used))
    return sorted(found, key=lambda v: (v.manifest.created if v.manifest else "", v.name))


def _version(path: Path, used: str | None) -> Version:
    try:
        manifest = AdapterFolder.read(path).manifest
    except AdapterError as error:
        return Version(path.name, path, None, path.name == used, str(error))
    return Version(path.name, path, manifest, path.name == used)


def find(project: Project, name: str) -> AdapterFolder:
    """The version of this name; StudioError where there is none."""
    path = project.adapters_dir / name
    if not NAME.fullmatch(name) or not path.is_dir():
        known = ", ".join(version.name for version in versions(project)) or "none yet"
        raise StudioError(f"There is no version {name} in this project (there is: {known}).")
    return AdapterFolder.read(path)


def resolve_adapter(project: Project, asked: str | None) -> AdapterFolder | None:
    """A version by name, an adapter folder by path, "none" for the base; None: that in use."""
    if asked == BASE:
        return None
    if asked is None:
        name = in_use(project)
        return find(project, name) if name else None
    if not (project.adapters_dir / asked).is_dir() and Path(asked).is_dir():
        return AdapterFolder.read(Path(asked))
    return find(project, asked)


def open_predictor(
    project: Project,
    model: str | None,
    folder: AdapterFolder | None,
    *,
    device: str = "auto",
    precision: str = "auto",
) -> Predictor:
    """A predictor on the project's embedding cache, with this version on it.

    Without an explicit model an adapter brings its own checkpoint.
    """
    if model is None and folder is not None:
        model = folder.manifest.checkpoint
    loaded = load_checkpoint(model_name(project, model))
    disk = DiskCache(project.cache_dir / "embeddings")
    predictor = Predictor(loaded, device=choose_device(device), precision=precision, disk=disk)
    predictor.load_adapter(folder)
    return predictor


def use(project: Project, name: str | None) -> str | None:
    """Put a version in use (None or "none": the base model); returns the one before."""
    before = in_use(project)
    if name is None or name == BASE:
        project.set_setting(IN_USE, None)
    else:
        find(project, name)
        project.set_setting(IN_USE, name)
    return before


def next_name(folder: Path) -> str:
    """The first free name of the kind v1, v2, …"""
    taken = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    number = 1
    while f"v{number}" in taken:
        number += 1
    return f"v{number}"


def rename(project: Project, name: str, new: str) -> None:
    """Rename a version; it stays in use if it was."""
    folder = find(project, name)
    target = _free(project, new)
    os.rename(folder.path, target)
    _write_manifest(target, replace(folder.manifest, name=new))
    if in_use(project) == name:
        project.set_setting(IN_USE, new)


def _free(project: Project, name: str) -> Path:
    if not NAME.fullmatch(name) or name == BASE:
        raise StudioError(
            f"{name!r} cannot be the name of a version: use letters, digits, spaces, dots, "
            "dashes and underscores."
        )
    target = project.adapters_dir / name
    if target.exists():
        raise StudioError(f"There is already a version {name}: choose another name.")
    return target


def _write_manifest(path: Path, manifest: AdapterManifest) -> None:
    content = json.dumps(manifest.to_json(), indent=1, sort_keys=True)
    aside = path / f"manifest.json.{os.getpid()}"
    try:
        aside.write_text(content, encoding="utf-8")
        os.replace(aside, path / "manifest.json")
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise StudioError(
            f"{path / 'manifest.json'} cannot be written ({error.strerror or error}): free some "
            "space and try again."
        ) from error


def annotate(project: Project, name: str, text: str) -> None:
    """Keep a remark with a version; it goes along on export. An empty text takes it away."""
    folder = find(project, name)
    notes = {key: value for key, value in folder.manifest.notes.items() if key != REMARK}
    if text.strip():
        notes[REMARK] = text.strip()
    _write_manifest(folder.path, replace(folder.manifest, notes=notes))


def tidy(project: Project) -> list[str]:
    """Delete what runs that were killed have left half-written; returns the names.

    Half-written folders carry the number of the process that wrote them. Those of processes
    that still live, and anything else, stay.
    """
    found = []
    for folder in (project.adapters_dir, project.cache_dir / "adapt"):
        for path in folder.iterdir() if folder.is_dir() else ():
            matches = [pattern.fullmatch(path.name) for pattern in HALF_WRITTEN]
            writer = next((int(match[1]) for match in matches if match), None)
            if writer is not None and not _lives(writer):
                found.append(path.name)
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
    return found


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        return bool(importlib.import_module("psutil").pid_exists(pid))
    except ImportError:
        return True


def delete(project: Project, name: str) -> None:
    """Delete a version; where it is in use, the base model takes its place."""
    path = project.adapters_dir / name
    if not NAME.fullmatch(name) or not path.is_dir():
        find(project, name)
    if in_use(project) == name:
        project.set_setting(IN_USE, None)
    # Renamed first: a folder half deleted must not look like a version.
    doomed = path.with_name(f".{name}.deleted.{os.getpid()}")
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def export(project: Project, name: str, out: Path) -> Path:
    """Copy a version to a new folder, or into a ``.zip``; returns what was written."""
    folder = find(project, name)
    if out.exists():
        raise StudioError(f"{out} exists already: choose another name.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() == ".zip":
            _zip(folder.path, out)
        else:
            shutil.copytree(folder.path, out)
    except OSError as error:
        raise StudioError(f"{out} cannot be written ({error.strerror or error}).") from error
    return out


def _zip(folder: Path, out: Path) -> None:
    aside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in FILES:
                if (folder / name).is_file():
                    archive.write(folder / name, name)
        os.replace(aside, out)
    finally:
        aside.unlink(missing_ok=True)


def import_version(project: Project, source: Path) -> str:
    """Take in an adapter folder or ``.zip``; returns the name it got here.

    Every key and shape is checked when the version is first used; its manifest and files here.
    """
    if not source.exists():
        raise StudioError(f"{source} does not exist: choose an adapter folder or a .zip of one.")
    project.adapters_dir.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".import.{os.getpid()}.", dir=project.adapters_dir))
    aside.chmod(0o755)
    try:
        if source.is_dir():
            for name in FILES:
                if (source / name).is_file():
                    shutil.copyfile(source / name, aside / name)
        else:
            _unzip(source, aside)
        folder = AdapterFolder.read(aside)
        folder.tensors  # noqa: B018 (a damaged file must fail here)
        name = _name_here(project, folder.manifest.name)
        _write_manifest(aside, replace(folder.manifest, name=name))
        os.rename(aside, project.adapters_dir / name)
    except OSError as error:
        raise StudioError(
            f"{source} cannot be imported ({error.strerror or error}): free some space and try "
            "again."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return name


def _unzip(source: Path, target: Path) -> None:
    """Only the known names are read, from the archive's own or its one folder; nothing else is.

    No path of the archive is ever used as one, so it cannot write outside ``target``.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            for name, info in _members(archive).items():
                if info.file_size > MOST_UNPACKED:
                    raise StudioError(f"{source.name} is too large to be an adapter.")
                with archive.open(info) as stream, (target / name).open("wb") as out:
                    shutil.copyfileobj(stream, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        # RuntimeError: it asks for a password. NotImplementedError: a rare compression.
        raise StudioError(
            f"{source.name} is damaged or not a zip file of an adapter: export it again."
        ) from error


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The adapter's files by name: those beside the manifest that lies least deep."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    manifests = [info for info in files if PurePosixPath(info.filename).name == FILES[0]]
    if not manifests:
        return {}
    first = min(manifests, key=lambda info: info.filename.count("/"))
    place = PurePosixPath(first.filename).parent
    paths = [(PurePosixPath(info.filename), info) for info in files]
    return {path.name: info for path, info in paths if path.parent == place and path.name in FILES}


def _name_here(project: Project, wanted: str) -> str:
    base = wanted if NAME.fullmatch(wanted) and wanted != BASE else "imported"
    name, number = base, 2
    while (project.adapters_dir / name).exists():
        name, number = f"{base} {number}", number + 1
    return name
