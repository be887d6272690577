"""Fields of other programs: kept in the project where that is safe.

Those of the file as a whole (licences, keys of images and classes) are kept beside the step that
brought the labels in, so that they come and go with it when it is undone and redone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infosam_studio.annotation.project import Project

MAX_DEPTH = 32
MAX_CHARACTERS = 1_000_000


def keep(project: Project, format: str, fields: Mapping[str, Any], *, before: int) -> None:
    """Keep an import's fields for the next export in that format.

    `before` is `newest_step` from before the import; call it in the transaction of the import.
    """
    newest = newest_step(project)
    step = newest if newest != before else None  # the file brought nothing but its fields
    steps = {e.id: e.undone for e in project.history()}
    entries = [e for e in _entries(project, format) if e["step"] is None or e["step"] in steps]
    if all(e["fields"] != fields or steps.get(e["step"]) for e in entries):
        project.set_setting(_key(format), [*entries, {"step": step, "fields": fields}])


def kept_fields(project: Project, format: str) -> dict[str, Any]:
    """What imports of that format have kept and was not undone, later ones above earlier ones."""
    entries = _entries(project, format)
    holding = {e.id for e in project.history() if not e.undone} if entries else set()
    merged: dict[str, Any] = {}
    for entry in entries:
        if entry["step"] is not None and entry["step"] not in holding:
            continue
        for name, fields in entry["fields"].items():
            merged.setdefault(name, {}).update(fields)
    return merged


def newest_step(project: Project) -> int:
    """The id of the newest step of the history, 0 where there is none."""
    return max((e.id for e in project.history(1)), default=0)


def _entries(project: Project, format: str) -> list[dict[str, Any]]:
    kept = project.setting(_key(format)) or []
    if isinstance(kept, dict):  # of a version that did not keep the step
        kept = [{"step": None, "fields": kept}]
    return list(kept)


def _key(format: str) -> str:
    return f"interchange.{format}"


def storable(value: Any) -> Any | None:
    """The value as the project can keep it, or None where it is too deep or too large.

    Characters that no text file can hold (halves of a surrogate pair) become question marks.
    """
    if not _shallow(value):
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if len(text) > MAX_CHARACTERS:
            return None
        return json.loads(text.encode("utf-8", "replace"))
    except (TypeError, ValueError, RecursionError):
        return None


def _shallow(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return True
    return False
