"""The checkpoints the app knows, and loading one without running anything from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infosam_studio.segmentation import hashing
from infosam_studio.segmentation.architectures import build_empty, layout, recognise
from infosam_studio.segmentation.catalogue import CheckpointInfo, models_folder, registry
from infosam_studio.segmentation.weight_files import CheckpointError, read_weights

__all__ = [
    "CheckpointError",
    "CheckpointInfo",
    "LoadedModel",
    "inspect_checkpoint",
    "load_checkpoint",
    "models_folder",
    "registry",
]


@dataclass
class LoadedModel:
    """A ``Sam`` with its weights, in eval mode and frozen, and what identifies them."""

    sam: Any
    info: CheckpointInfo
    encoder_sha256: str

    @classmethod
    def from_sam(cls, sam: Any, *, name: str = "memory", architecture: str = "") -> LoadedModel:
        """Wrap a ``Sam`` that is already in memory; its hashes are taken from its tensors."""
        state = sam.state_dict()
        info = CheckpointInfo(
            name=name,
            architecture=architecture,
            path=None,
            sha256=hashing.sha256_of_tensors(state),
            url=None,
            size_bytes=sum(value.numel() * value.element_size() for value in state.values()),
            licence="",
            description="",
        )
        return cls(_frozen(sam), info, _encoder_sha256(sam))


def inspect_checkpoint(path: Path, *, name: str | None = None) -> CheckpointInfo:
    """Recognise a checkpoint file by its keys and shapes; raises `CheckpointError`."""
    tensors = read_weights(path)
    architecture = recognised(path, tensors)
    return _local_info(path, name or path.stem, architecture)


def _local_info(path: Path, name: str, architecture: str) -> CheckpointInfo:
    return CheckpointInfo(
        name=name,
        architecture=architecture,
        path=path,
        sha256=hashing.sha256_of_file(path),
        url=None,
        size_bytes=path.stat().st_size,
        licence="",
        description="Added from a file.",
    )


def recognised(path: Path, tensors: Mapping[str, Tensor], wanted: str | None = None) -> str:
    """The architecture all of these weights fit, key by key and shape by shape."""
    architecture = recognise(tensors)
    if architecture is None:
        raise CheckpointError(
            f"{path} holds weights, but of no architecture known here: use SAM ViT-B, ViT-L or "
            "ViT-H, MobileSAM, or the starter model."
        )
    if wanted is not None and wanted != architecture:
        raise CheckpointError(
            f"{path} is a {architecture} checkpoint, not {wanted}: choose that architecture or "
            "another file."
        )
    problem = _misfit(layout(architecture), tensors)
    if problem:
        raise CheckpointError(
            f"{path} looks like {architecture} but {problem}: get the complete checkpoint."
        )
    return architecture


def _misfit(expected: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor]) -> str:
    """What is wrong with the first keys that do not fit, or an empty string."""
    missing = [key for key in expected if key not in tensors]
    if missing:
        return f"lacks {_some(missing)}"
    extra = [key for key in tensors if key not in expected]
    if extra:
        return f"has unknown weights {_some(extra)}"
    for key, shape in expected.items():
        if tuple(tensors[key].shape) != shape:
            return f"{key} is {list(tensors[key].shape)} instead of {list(shape)}"
    return ""


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
    return " and ".join(keys[:2]) + more if not more else ", ".join(keys[:2]) + more


def load_checkpoint(
    name_or_info: str | Path | CheckpointInfo, device: str | torch.device = "cpu"
) -> LoadedModel:
    """Load a checkpoint by registry name, by path, or by its info.

    The model comes in fp32, in eval mode, without gradients, its keys and shapes checked one
    by one; the peak memory is that of one copy. Raises `CheckpointError`.
    """
    info = _resolve(name_or_info)
    if info.path is None:
        raise CheckpointError(
            f"The model {info.name} is not on this machine: get it with "
            f"infosam-studio models get {info.name}, or choose starter."
        )
    tensors = read_weights(info.path)
    architecture = recognised(info.path, tensors, info.architecture or None)
    info = replace(info, architecture=architecture, sha256=_checked_sha256(info, info.path))
    sam = build_empty(architecture)
    floats = {key: _as_fp32(value) for key, value in tensors.items()}
    sam.load_state_dict(floats, strict=True, assign=True)
    encoder = _remembered_encoder_sha256(sam, info.sha256)
    return LoadedModel(_frozen(sam).to(device), info, encoder)


def _checked_sha256(info: CheckpointInfo, path: Path) -> str:
    """The file's hash; `CheckpointError` where another one was published or remembered."""
    found = hashing.sha256_of_file(path)
    if info.sha256 and found != info.sha256:
        raise CheckpointError(
            f"{path} is not the {info.name} that was published or added (its SHA-256 differs): "
            "remove it and get it again."
        )
    return found


def _resolve(name_or_info: str | Path | CheckpointInfo) -> CheckpointInfo:
    if isinstance(name_or_info, CheckpointInfo):
        return name_or_info
    known = registry()
    if isinstance(name_or_info, str) and name_or_info in known:
        return known[name_or_info]
    path = Path(name_or_info)
    if path.is_file():
        return _local_info(path, path.stem, "")
    raise CheckpointError(
        f"There is no model {name_or_info}: choose one of {', '.join(known)}, or name a file."
    )


def _as_fp32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _frozen(sam: Any) -> Any:
    return sam.eval().requires_grad_(False)


def _encoder_sha256(sam: Any) -> str:
    """Hash of every tensor that acts between pixels and embedding."""
    tensors = dict(sam.image_encoder.state_dict())
    tensors["pixel_mean"], tensors["pixel_std"] = sam.pixel_mean, sam.pixel_std
    return hashing.sha256_of_tensors(tensors)


def _remembered_encoder_sha256(sam: Any, file_sha256: str) -> str:
    """The same, looked up by the hash of the file where it was computed before."""
    cache, key = hashing.HashCache(), f"encoder|{file_sha256}"
    known = cache.get(key)
    if known is None:
        known = _encoder_sha256(sam)
        cache.put(key, known)
    return known
