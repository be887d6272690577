"""The checkpoints of this machine: list, get, add by path, verify, remove.

Published ones are downloaded into the models' folder. A file the user already has is used where
it lies, unless a copy is asked for. ``library.json`` beside them remembers names and hashes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from infosam_studio.segmentation import downloads, hashing
from infosam_studio.segmentation.catalogue import (
    BUILT_IN,
    INDEX_VERSION,
    CheckpointInfo,
    file_name,
    index_path,
    models_folder,
    read_index,
    registry,
)
from infosam_studio.segmentation.checkpoints import inspect_checkpoint
from infosam_studio.segmentation.file_lock import exclusive
from infosam_studio.segmentation.network import Network, Progress
from infosam_studio.segmentation.weight_files import CheckpointError

PUBLISHED = {info.name: info for info in BUILT_IN}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Entry:
    """One line of the model list.

    ``state``: "ready", "partial" (a download was stopped after ``partial_bytes``), "absent"
    (can be downloaded) or "missing" (the user's file is no longer where it was).
    ``origin``: "shipped", "published" or "own".
    """

    info: CheckpointInfo
    state: str
    origin: str
    partial_bytes: int = 0


@dataclass(frozen=True)
class Verdict:
    """What `verify` found; ``problem`` is one sentence, empty where all is well."""

    name: str
    ok: bool
    problem: str = ""


def entries() -> list[Entry]:
    """Every checkpoint with its state; needs no network."""
    return [_entry(info) for info in registry().values()]


def _entry(info: CheckpointInfo) -> Entry:
    origin = "shipped" if info.name == "starter" else "own"
    if info.name in PUBLISHED:
        origin = "published"
    if info.path is not None:
        return Entry(info, "ready", origin)
    part = downloads.part_of(models_folder() / file_name(info))
    if origin == "published" and part.is_file() and part.stat().st_size:
        return Entry(info, "partial", origin, part.stat().st_size)
    return Entry(info, "absent" if origin == "published" else "missing", origin)


def get(
    name: str,
    *,
    network: Network | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> CheckpointInfo:
    """Download a published checkpoint, or return it where it is already there.

    A stopped download goes on where it was. Raises `DownloadError`, `CheckpointError` or
    `Cancelled`.
    """
    known = registry()
    info = _known(known, name)
    if info.path is not None:
        return info
    if info.url is None:
        raise CheckpointError(
            f"The model {name} cannot be downloaded, its file {_where(name)} is gone: put it back "
            "or remove the model."
        )
    target = models_folder() / file_name(info)
    downloads.download(
        info.url,
        target,
        sha256=info.sha256,
        size=info.size_bytes,
        network=network,
        progress=progress,
        cancelled=cancelled,
    )
    hashing.remember(target, info.sha256)
    return replace(info, path=target)


def discard_part(name: str) -> None:
    """Forget a stopped download."""
    downloads.discard(models_folder() / file_name(_known(registry(), name)))


def add(
    name: str,
    file: Path,
    *,
    architecture: str | None = None,
    copy: bool = False,
    licence: str = "",
) -> CheckpointInfo:
    """Make a file of the user's known under a name; its architecture is read from its keys.

    Under the name of a published checkpoint only that very file is accepted. With ``copy`` it
    is copied into the models' folder, else used where it lies. Raises `CheckpointError`.
    """
    if name == "starter" or not NAME.fullmatch(name):
        raise CheckpointError(
            f"{name} cannot be the name of a model: use letters, digits, dots and dashes."
        )
    if name in read_index():
        raise CheckpointError(f"There is already a model {name}: remove it or use another name.")
    info = inspect_checkpoint(file.absolute(), name=name)
    if architecture is not None and architecture != info.architecture:
        raise CheckpointError(
            f"{file} holds a {info.architecture} model, not {architecture}: leave --architecture "
            "out or choose another file."
        )
    published = PUBLISHED.get(name)
    if published is not None and info.sha256 != published.sha256:
        raise CheckpointError(
            f"{file} is not the published {name} (its SHA-256 differs): add it under another name."
        )
    if copy:
        info = replace(info, path=_copied(file, name))
    info = replace(info, licence=licence or (published.licence if published else ""))
    _change_index(lambda models: models | {name: _fields(info)})
    return registry()[name]


def name_for(file: Path) -> str:
    """A name for a file that is about to be added: the published one where it is that very file,
    else a free one made from its own. Raises `CheckpointError` where it cannot be read."""
    try:
        size = file.stat().st_size
        for info in PUBLISHED.values():
            if size == info.size_bytes and hashing.sha256_of_file(file) == info.sha256:
                return info.name
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read ({error.strerror or error}): check the path."
        ) from error
    base = re.sub(r"[^A-Za-z0-9._-]+", "_", file.stem).strip("._-")[:56] or "model"
    taken, number, name = registry(), 2, base
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _copied(file: Path, name: str) -> Path:
    target = models_folder() / f"{name}{file.suffix}"
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, aside)
        os.replace(aside, target)
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be copied to {target.parent} ({error.strerror or error}): make room "
            "there or add it without a copy."
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def verify(name: str) -> Verdict:
    """Read a checkpoint again from the disk: hash, keys and shapes."""
    info = _known(registry(), name)
    if info.path is None:
        return Verdict(name, False, f"The file of {name} ({_where(name)}) is not there.")
    try:
        found = hashing.sha256_of_file(info.path, trust_cache=False)
        if found != _expected(info):
            return Verdict(
                name,
                False,
                f"{info.path} changed since it was published or added (its SHA-256 differs): "
                "remove it and get it again.",
            )
        inspect_checkpoint(info.path)
    except OSError as error:
        return Verdict(name, False, f"{info.path} cannot be read ({error.strerror or error}).")
    except CheckpointError as error:
        return Verdict(name, False, str(error))
    return Verdict(name, True)


def _expected(info: CheckpointInfo) -> str:
    """The hash that was published; the starter's stands in its own manifest."""
    if info.name != "starter" or info.path is None:
        return info.sha256
    try:
        manifest = json.loads(info.path.with_suffix(".json").read_text(encoding="utf-8"))
        return str(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return info.sha256


def remove(name: str) -> None:
    """Forget a checkpoint; files in the models' folder go, the user's own elsewhere stay."""
    info = _known(registry(), name)
    if name == "starter":
        raise CheckpointError("The starter model belongs to the app and cannot be removed.")
    if name in PUBLISHED:
        downloads.discard(models_folder() / file_name(info))
    inside = info.path is not None and info.path.absolute().parent == models_folder().absolute()
    if inside and info.path is not None:
        try:
            info.path.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"{info.path} cannot be removed ({error.strerror or error}): close what uses it."
            ) from error
    _change_index(lambda models: {key: value for key, value in models.items() if key != name})


def _known(known: Mapping[str, CheckpointInfo], name: str) -> CheckpointInfo:
    if name not in known:
        raise CheckpointError(f"There is no model {name}: choose one of {', '.join(known)}.")
    return known[name]


def _where(name: str) -> str:
    info = read_index().get(name)
    return str(info.path) if info else file_name(registry()[name])


def _fields(info: CheckpointInfo) -> dict[str, Any]:
    return {
        "architecture": info.architecture,
        "path": str(info.path),
        "sha256": info.sha256,
        "size_bytes": info.size_bytes,
        "licence": info.licence,
        "description": info.description,
    }


def _change_index(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Rewrite ``library.json`` in one step, one process at a time."""
    path = index_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("a+b") as lock, exclusive(lock) as mine:
            if not mine:
                raise CheckpointError("Another window is changing the model list: try again.")
            models = {info.name: _fields(info) for info in read_index().values()}
            content = {"version": INDEX_VERSION, "models": change(models)}
            aside = path.with_name(f".{path.name}.{os.getpid()}")
            aside.write_text(json.dumps(content, indent=1), encoding="utf-8")
            os.replace(aside, path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written ({error.strerror or error}): choose another folder for "
            "models with INFOSAM_STUDIO_MODELS."
        ) from error
