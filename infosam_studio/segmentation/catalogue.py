"""The checkpoints this machine knows: the starter, the published ones, and those of the user.

What the user added or downloaded is remembered in ``library.json`` in the models' folder;
`library` changes it, this module only reads.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from infosam_studio.resource_files import resource_path
from infosam_studio.segmentation import hashing

log = logging.getLogger(__name__)

INDEX = "library.json"
INDEX_VERSION = 1
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


BUILT_IN = (
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
    folder, own = models_folder(), read_index()
    known = {"starter": _starter()}
    for info in BUILT_IN:
        places = [folder / file_name(info), own[info.name].path if info.name in own else None]
        known[info.name] = replace(info, path=next(filter(_is_file, places), None))
    for name, info in own.items():
        if name not in known:
            known[name] = replace(info, path=info.path if _is_file(info.path) else None)
    return known


def _is_file(path: Path | None) -> bool:
    return path is not None and path.is_file()


def index_path() -> Path:
    """Where the user's checkpoints are listed."""
    return models_folder() / INDEX


def read_index() -> dict[str, CheckpointInfo]:
    """The user's own entries by name; ``path`` is where the file was, present or not.

    A damaged list counts as empty: the files themselves are still there to be added again.
    """
    try:
        content = json.loads(index_path().read_text(encoding="utf-8"))
        entries = content["models"] if content["version"] <= INDEX_VERSION else {}
        return {name: _entry(name, fields) for name, fields in entries.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged and left out: %s", index_path(), error)
        return {}


def _entry(name: str, fields: dict[str, Any]) -> CheckpointInfo:
    return CheckpointInfo(
        name=str(name),
        architecture=str(fields["architecture"]),
        path=Path(fields["path"]),
        sha256=str(fields["sha256"]),
        url=None,
        size_bytes=int(fields["size_bytes"]),
        licence=str(fields.get("licence", "")),
        description=str(fields.get("description", "")),
    )


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
