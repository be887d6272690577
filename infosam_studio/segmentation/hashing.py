"""Hashes of files and of weights; those of files are remembered until the file changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

APP = "infosam-studio"


def sha256_of_file(path: Path, *, trust_cache: bool = True) -> str:
    """SHA-256 of a file's content, in hex.

    Remembered by path, size, modification time and inode, so a 2.5 GB checkpoint is read once;
    ``trust_cache=False`` reads it again (that is what ``models verify`` does).
    """
    stamp = _stamp(path)
    cache = HashCache()
    if trust_cache:
        known = cache.get(stamp)
        if known is not None:
            return known
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    cache.put(stamp, digest)
    return digest


def remember(path: Path, digest: str) -> None:
    """Take note of a file's hash that was just computed while writing it."""
    HashCache().put(_stamp(path), digest)


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, whatever the order of the mapping."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def combined(*parts: str) -> str:
    """One SHA-256 over several strings, each kept apart from the next."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class HashCache:
    """A small JSON file of known hashes in the user's cache folder; losing it costs time."""

    LIMIT = 500

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or platformdirs.user_cache_path(APP, appauthor=False) / "hashes.json"

    def get(self, key: str) -> str | None:
        """The remembered value, or None."""
        value = self._read().get(key)
        return value if isinstance(value, str) else None

    def put(self, key: str, value: str) -> None:
        """Remember a value; a folder that cannot be written is no error."""
        entries = self._read()
        entries.pop(key, None)
        entries[key] = value
        kept = dict(list(entries.items())[-self.LIMIT :])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            aside.write_text(json.dumps(kept), encoding="utf-8")
            os.replace(aside, self.path)
        except OSError:
            return

    def _read(self) -> dict[str, Any]:
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}


def _stamp(path: Path) -> str:
    status = path.stat()
    return json.dumps(
        [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino], ensure_ascii=True
    )
