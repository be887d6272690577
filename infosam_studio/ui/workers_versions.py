"""Versions of the project's model: listing and changing them, on a thread (torch is imported)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infosam_studio.annotation.project import Project

IN_USE = "adapter"


@dataclass(frozen=True)
class VersionRow:
    """One version as the panel shows it; ``path`` is None for the base model."""

    name: str
    path: Path | None
    created: str = ""
    speed: str = ""
    method: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


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
            )
        )
    return rows


class VersionTask:
    """One change of the versions, then the new list; runs on a task thread."""

    def __init__(self, project: Project, action: str = "", *arguments: Any) -> None:
        self._project, self._action, self._arguments = project, action, arguments

    def __call__(self) -> list[VersionRow]:
        from infosam_studio.adaptation import versions

        if self._action:
            getattr(versions, self._action)(self._project, *self._arguments)
        return list_versions(self._project)
