"""Reading weight files from anywhere without running what is in them.

Only safetensors and ``torch.load(weights_only=True)`` are used. Whatever else a file turns out
to be (a web page, a program in a pickle, half a download, a zip bomb) becomes one sentence.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from infosam_studio.errors import StudioError

PICKLE = b"\x80"
# What torch says about a pickle that wants to call something, and what it names.
CODE = re.compile(r"GLOBAL ([\w.<>]+)|Unsupported (?:operand|class)|\bREDUCE\b|call reduce")
MAX_ENTRIES = 100_000
MAX_RATIO = 4
# Where training scripts put the model inside what they save, and what they put before its keys.
WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model")
PREFIXES = ("module.", "sam.", "model.", "sam_model.")


class CheckpointError(StudioError):
    """A checkpoint that cannot be used, and why."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file, on the CPU.

    A state dict inside a training checkpoint is unwrapped and common prefixes
    (``module.``, ``sam.``) are taken off. Raises `CheckpointError`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror or error}): check the path."
        ) from error
    if size == 0:
        raise CheckpointError(f"{path} is empty: download or copy it again.")
    _refuse_text(path, head)
    if head[:4] == b"PK\x03\x04":
        content = _read_zip(path, size)
    elif _is_safetensors(head, size):
        content = _read_safetensors(path)
    elif head[:1] == PICKLE:
        content = _read_torch(path)
    else:
        raise CheckpointError(_no_checkpoint(path))
    return _tensors_of(path, content)


def _refuse_text(path: Path, head: bytes) -> None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"<!--")):
        raise CheckpointError(
            f"{path} is a web page, not a checkpoint: the download answered with an error page, "
            "fetch it again."
        )
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is only a pointer to a large file: fetch the file itself with git lfs pull."
        )


def _is_safetensors(head: bytes, size: int) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= max(size, 100_000_000)


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(str(path))
    except (SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or cut short ({_first_line(error)}): download or copy it again."
        ) from error


def _read_zip(path: Path, size: int) -> object:
    """A zip archive as torch writes it: stored, so not much larger unpacked than packed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or cut short ({_first_line(error)}): download or copy it again."
        ) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise CheckpointError(_about_pickle(path, "GLOBAL TorchScript"))
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_RATIO * size:
        raise CheckpointError(
            f"{path} would unpack to {unpacked / 2**20:.0f} MB from {size / 2**20:.1f} MB, which "
            "no checkpoint does: it was not opened, get the file from its publisher."
        )
    return _read_torch(path)


def _read_torch(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # About pickle protocols: the result is checked.
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_about_pickle(path, str(error))) from error
    except MemoryError as error:
        raise CheckpointError(
            f"{path} needs more memory than this machine has: choose a smaller model."
        ) from error
    except Exception as error:
        # The readers inside torch raise whatever a broken byte leads to; nothing was executed.
        raise CheckpointError(
            f"{path} is damaged, cut short or no checkpoint ({_first_line(error)}): download or "
            "copy it again."
        ) from error
    return content


def _about_pickle(path: Path, message: str) -> str:
    """What torch's restricted unpickler stumbled over, in one sentence."""
    match = CODE.search(message)
    if match is None:
        return _no_checkpoint(path)
    what = f" ({match[1]})" if match[1] else ""
    return (
        f"{path} holds program code{what} beside its weights and was not loaded: ask its "
        "publisher for a plain state dict or a .safetensors file."
    )


def _no_checkpoint(path: Path) -> str:
    return f"{path} is no checkpoint: choose a .pth or .safetensors file with SAM weights."


def _tensors_of(path: Path, content: object) -> dict[str, Tensor]:
    found = _unwrap(content)
    if found is None:
        raise CheckpointError(
            f"{path} holds no weights by name: choose a file with the state dict of a SAM model."
        )
    return _without_prefix(found)


def _unwrap(content: object) -> dict[str, Tensor] | None:
    """The state dict itself, or the one a training script wrapped."""
    if not isinstance(content, Mapping):
        return None
    tensors = _named_tensors(content)
    if len(tensors) == len(content) and tensors:
        return tensors
    for name in WRAPPERS:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            tensors = _named_tensors(inner)
            if tensors:
                return tensors
    return None


def _named_tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while True:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in tensors)), None)
        if prefix is None:
            return tensors
        tensors = {key[len(prefix) :]: value for key, value in tensors.items()}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120].rstrip(".:") if lines else type(error).__name__
