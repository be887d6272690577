"""The adapter folder: its manifest, how it is written, how it is read and checked.

A folder holds ``adapter_model.safetensors``, ``relation.safetensors``, ``manifest.json`` and,
for recipe ``studio``, PEFT's ``adapter_config.json``. `apply_to` puts it on a model without
importing peft (`adapter_layers` has the arithmetic).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infosam_studio.segmentation import adapter_layers, hashing
from infosam_studio.segmentation.adapter_layers import AdapterError
from infosam_studio.segmentation.checkpoints import CheckpointInfo, LoadedModel

__all__ = ["AdapterError", "AdapterFolder", "AdapterManifest", "Undo", "apply_to", "write_adapter"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
RELATION = "relation.safetensors"
RECIPES = ("studio", "paper")


@dataclass(frozen=True)
class AdapterManifest:
    """What is known about an adapter; see the fields' comments for units.

    ``checkpoint_sha256`` is the file hash of the base weights it belongs to,
    ``encoder_sha256`` that of the weights which act in the encoder with it applied.
    """

    name: str
    checkpoint: str
    checkpoint_sha256: str
    encoder_sha256: str = ""
    method: str = "infosam"  # infosam, lora, decoder
    recipe: str = "studio"  # studio, paper
    speed: str = "full"  # full, instant
    seed: int = 0
    created: str = ""  # ISO 8601, UTC
    training_hash: str = ""  # of the training objects
    split: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    per_class: dict[str, Any] = field(default_factory=dict)
    duration_s: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    acts_on_encoder: bool = True
    notes: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``manifest.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: object, where: Path) -> AdapterManifest:
        """From ``manifest.json``; unknown keys are left out, wrong types raise `AdapterError`."""
        if not isinstance(content, dict):
            raise AdapterError(f"{where} is not an adapter manifest: import the adapter again.")
        version = content.get("format_version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise AdapterError(f"{where} names no format version: import the adapter again.")
        if version > FORMAT_VERSION:
            raise AdapterError(
                f"{where} has format {version}, written by a newer InfoSAM Studio: update the app."
            )
        known = {item.name: content[item.name] for item in fields(cls) if item.name in content}
        try:
            manifest = cls(**known)
        except TypeError as error:
            raise AdapterError(f"{where} is incomplete ({error}): import it again.") from error
        manifest._check(where)
        return manifest

    def _check(self, where: Path) -> None:
        for name in ("name", "checkpoint", "checkpoint_sha256", "recipe", "encoder_sha256"):
            if not isinstance(getattr(self, name), str):
                raise AdapterError(f"{where}: {name} is not a text; import the adapter again.")
        if not self.name or not self.checkpoint_sha256:
            raise AdapterError(f"{where} does not say its name and base: import it again.")
        if self.recipe not in RECIPES:
            raise AdapterError(
                f"{where} uses recipe {self.recipe}, which is unknown here: update the app."
            )


@dataclass(frozen=True)
class AdapterFolder:
    """An adapter on disk; its weights are read when they are first asked for."""

    path: Path
    manifest: AdapterManifest

    @classmethod
    def read(cls, path: Path) -> AdapterFolder:
        """Read a folder's manifest; raises `AdapterError` where it is no adapter."""
        where = path / MANIFEST
        content = _read_json(where)
        for name in (WEIGHTS, CONFIG) if _recipe(content) == "studio" else (WEIGHTS,):
            if not (path / name).is_file():
                raise AdapterError(f"{path} has no {name}: copy or import the adapter again.")
        return cls(path, AdapterManifest.from_json(content, where))

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The adapter's weights by their keys, on the CPU."""
        return _read_tensors(self.path / WEIGHTS)

    @cached_property
    def relation(self) -> dict[str, Tensor]:
        """The relation module's weights, empty where the folder has none."""
        path = self.path / RELATION
        return _read_tensors(path) if path.is_file() else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """PEFT's configuration, empty for recipe ``paper``."""
        path = self.path / CONFIG
        if self.manifest.recipe == "paper" and not path.is_file():
            return {}
        content = _read_json(path)
        if not isinstance(content, dict):
            raise AdapterError(f"{path} is not a PEFT configuration: import the adapter again.")
        return content


def _recipe(content: object) -> str:
    return str(content.get("recipe", "studio")) if isinstance(content, dict) else "studio"


def _read_json(path: Path) -> object:
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(
            f"{path} cannot be read ({error.strerror or error}): choose an adapter folder."
        ) from error
    except ValueError as error:
        raise AdapterError(f"{path} is damaged: copy or import the adapter again.") from error
    return content


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        # In the file tensors lie at any address; in memory of their own, aligned, products come out
        # as they do for weights that were trained or copied here, to the bit.
        return {key: value.clone() for key, value in load_file(str(path)).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(
            f"{path} is damaged or missing: copy or import the adapter again."
        ) from error


def write_adapter(
    path: Path,
    tensors: Mapping[str, Tensor],
    manifest: AdapterManifest,
    peft_config: Mapping[str, Any] | None,
    relation: Mapping[str, Tensor] | None,
) -> AdapterFolder:
    """Write a complete adapter folder aside, then rename it to ``path``.

    ``tensors`` carry the keys of the recipe (PEFT's saved keys for ``studio``); ``peft_config``
    is what PEFT writes to ``adapter_config.json`` and is required there. Raises `AdapterError`
    where the folder exists or cannot be written; nothing half-written stays behind.
    """
    if manifest.recipe == "studio" and peft_config is None:
        raise AdapterError(f"{path.name} is a LoRA adapter without its PEFT configuration.")
    if path.exists():
        raise AdapterError(f"There is already an adapter at {path}: choose another name.")
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        _save_tensors(aside / WEIGHTS, tensors)
        _save_tensors(aside / RELATION, relation or {})
        if peft_config is not None:
            _write_json(aside / CONFIG, dict(peft_config))
        _write_json(aside / MANIFEST, manifest.to_json())
        os.rename(aside, path)
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise AdapterError(
            f"The adapter cannot be written to {path} ({why}): free some "
            "space or choose another place."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return AdapterFolder.read(path)


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    save_file(plain, str(path), metadata={"format": "pt"})
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1, sort_keys=True, default=_plain)
        stream.flush()
        os.fsync(stream.fileno())


def _plain(value: object) -> object:
    """PEFT's configuration holds sets and enums."""
    if isinstance(value, set | frozenset | tuple):
        return sorted(str(item) for item in value)
    return getattr(value, "value", str(value))


@dataclass
class Undo:
    """An adapter in place; `undo` takes it off again, bit for bit."""

    folder: AdapterFolder
    change: adapter_layers.Change
    _encoder: dict[str, str] = field(default_factory=dict)

    @property
    def acts_on_encoder(self) -> bool:
        """Whether embeddings of the base model are invalid while it is in place."""
        return bool(self.change.encoder_tensors)

    def encoder_sha256(self, model: LoadedModel) -> str:
        """Hash of the base's encoder weights together with the adapter's own."""
        base = model.encoder_sha256
        if not self.acts_on_encoder:
            return base
        if base not in self._encoder:
            own = hashing.sha256_of_tensors(self.change.encoder_tensors)
            scales = json.dumps(self.change.scales, sort_keys=True)
            self._encoder[base] = hashing.combined(base, own, scales)
        return self._encoder[base]

    def undo(self) -> None:
        """Put the base model's own weights and modules back."""
        self.change.undo()


def apply_to(sam: Any, folder: AdapterFolder, *, base: CheckpointInfo | None = None) -> Undo:
    """Put an adapter on a base ``Sam``, every key and shape checked before anything changes.

    ``base`` says which checkpoint the model holds: an adapter of another one is refused.
    Raises `AdapterError`.
    """
    manifest = folder.manifest
    if base is not None and manifest.checkpoint_sha256 != base.sha256:
        raise AdapterError(
            f"The adapter {manifest.name} belongs to {manifest.checkpoint}, not to {base.name} "
            "(the weights differ): switch to that model first."
        )
    try:
        if manifest.recipe == "paper":
            change = adapter_layers.plan_paper(sam, folder.tensors)
        else:
            change = adapter_layers.plan_lora(
                sam, folder.tensors, folder.config, acts_on_encoder=manifest.acts_on_encoder
            )
    except AdapterError as error:
        raise AdapterError(f"The adapter {manifest.name} does not fit: {error}") from error
    change.apply()
    return Undo(folder, change)
