"""Versions of the project's model: listing and changing them, on a thread (torch is imported)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infosam_studio.annotation.project import Project

IN_USE = "adapter"
MODEL = "model"


@dataclass(frozen=True)
class VersionRow:
    """One version as the panel shows it; ``path`` is None for the base model.

    ``before``, ``after`` and ``per_class`` are the gate's figures as the manifest has them.
    """

    name: str
    path: Path | None
    created: str = ""
    speed: str = ""
    method: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    recipe: str = ""
    checkpoint: str = ""
    seconds: float = 0.0
    per_class: dict[str, Any] = field(default_factory=dict)
    train_images: int = 0

    @property
    def remark(self) -> str:
        """What the user has written about it."""
        return str(self.notes.get("remark") or "")

    @property
    def gate(self) -> dict[str, Any]:
        """The gate's verdict, empty where there was none."""
        return dict(self.notes.get("gate") or {})


def list_versions(project: Project) -> list[VersionRow]:
    """All versions, the oldest first, without the base model."""
    from infosam_studio.adaptation import versions

    rows = []
    for one in versions.versions(project):
        manifest = one.manifest
        if manifest is None:
            rows.append(VersionRow(one.name, one.path, problem=one.problem or "damaged"))
            continue
        rows.append(
            VersionRow(
                one.name,
                one.path,
                manifest.created,
                manifest.speed,
                manifest.method,
                dict(manifest.before),
                dict(manifest.after),
                dict(manifest.notes),
                recipe=manifest.recipe,
                checkpoint=manifest.checkpoint,
                seconds=float(manifest.duration_s),
                per_class=dict(manifest.per_class),
                train_images=len(manifest.split.get("train") or ()),
            )
        )
    return rows


def result_of(row: VersionRow) -> dict[str, Any]:
    """The result object of the run that made a version, as far as its manifest keeps it."""
    return {
        "adapter": row.name,
        "method": row.method,
        "recipe": row.recipe,
        "speed": row.speed,
        "promoted": bool(row.gate.get("promoted")),
        "before": row.before,
        "after": row.after,
        "per_class": row.per_class,
        "gate": row.gate or None,
        "seconds": row.seconds,
        "unproven": row.notes.get("unproven"),
        "train_images": row.train_images,
        "train_objects": row.notes.get("train_objects", 0),
    }


def present_checkpoints() -> list[str]:
    """The base models whose file is on this machine, the starter first."""
    from infosam_studio.segmentation.catalogue import registry

    return [name for name, info in registry().items() if info.path is not None]


class VersionTask:
    """One change of the versions, then the new list and what the change gave; on a thread."""

    def __init__(self, project: Project, action: str = "", *arguments: Any) -> None:
        self._project, self._action, self._arguments = project, action, arguments

    def __call__(self) -> tuple[list[VersionRow], Any]:
        from infosam_studio.adaptation import versions

        result = None
        if self._action:
            result = getattr(versions, self._action)(self._project, *self._arguments)
        return list_versions(self._project), result
