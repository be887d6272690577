"""The checkpoints the app knows, and loading one without running anything from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation import hashing
from infosam_studio.segmentation.architectures import build_empty, layout, recognise
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

META = "https://dl.fbaipublicfiles.com/segment_anything/"
MOBILE = "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/master/weights/mobile_sam.pt"


@dataclass(frozen=True)
class CheckpointInfo:
    """Base weights: what they are, where they come from, where they lie.

    ``architecture`` is "starter", "mobile_sam", "vit_b", "vit_l" or "vit_h"; ``path`` is None
    where the file is not on this machine; ``sha256`` is that of the file, in hex.
    """

    name: str
    architecture: str
    path: Path | None
    sha256: str
    url: str | None
    size_bytes: int
    licence: str
    description: str


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


_BUILT_IN = (
    CheckpointInfo(
        "mobile_sam",
        "mobile_sam",
        None,
        "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        MOBILE,
        40_728_226,
        "Apache-2.0",
        "SAM for any laptop: small and quick, close to ViT-B on clear objects.",
    ),
    CheckpointInfo(
        "sam_vit_b",
        "vit_b",
        None,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        META + "sam_vit_b_01ec64.pth",
        375_042_383,
        "Apache-2.0",
        "SAM with its smallest encoder: the one to adapt; seconds per image without a GPU.",
    ),
    CheckpointInfo(
        "sam_vit_l",
        "vit_l",
        None,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        META + "sam_vit_l_0b3195.pth",
        1_249_524_607,
        "Apache-2.0",
        "SAM with its middle encoder: better masks, three times the work of ViT-B.",
    ),
    CheckpointInfo(
        "sam_vit_h",
        "vit_h",
        None,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        META + "sam_vit_h_4b8939.pth",
        2_564_550_879,
        "Apache-2.0",
        "SAM at its best: for a GPU, six times the work of ViT-B.",
    ),
)


def models_folder() -> Path:
    """Where downloaded and added checkpoints lie; ``INFOSAM_STUDIO_MODELS`` overrides it."""
    named = os.environ.get("INFOSAM_STUDIO_MODELS")
    if named:
        return Path(named)
    return platformdirs.user_data_path(hashing.APP, appauthor=False) / "models"


def file_name(info: CheckpointInfo) -> str:
    """The name a downloaded checkpoint gets in `models_folder`."""
    return info.url.rpartition("/")[2] if info.url else f"{info.name}.safetensors"


def registry() -> dict[str, CheckpointInfo]:
    """Every known checkpoint by name, the starter first; ``path`` is set where it is present."""
    folder = models_folder()
    known = {"starter": _starter()}
    for info in _BUILT_IN:
        path = folder / file_name(info)
        known[info.name] = replace(info, path=path if path.is_file() else None)
    return known


def _starter() -> CheckpointInfo:
    path = resource_path("models", "starter.safetensors")
    present = path.is_file()
    return CheckpointInfo(
        "starter",
        "starter",
        path if present else None,
        hashing.sha256_of_file(path) if present else "",
        None,
        path.stat().st_size if present else 0,
        "Apache-2.0",
        "Comes with the app: small and quick, for the first minute and for weak machines.",
    )


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
