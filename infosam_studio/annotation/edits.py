"""Reversible edits: every change of the document is one, so every change can be undone.

An ``Edit`` lists what happened to single rows of the document, with the values before and after.
It is plain JSON, so the project keeps it in its history for as long as the project lives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infosam_studio.errors import StudioError

Row = Mapping[str, Any]


class EditConflict(StudioError):
    """The document is not in the state an edit starts from, so the edit was not applied."""


@dataclass(frozen=True)
class Change:
    """What happened to one row.

    ``before`` None is an insert and ``after`` None a delete; both then hold the whole row. An
    update holds only the fields it touches, the same ones on both sides, so that undoing it
    leaves alone what was changed elsewhere meanwhile. Values are JSON scalars.
    """

    table: str
    key: int
    before: Row | None
    after: Row | None

    def __post_init__(self) -> None:
        if self.before is None and self.after is None:
            raise ValueError("a change needs a before or an after")
        if (
            self.before is not None
            and self.after is not None
            and self.before.keys() != self.after.keys()
        ):
            raise ValueError("an update must name the same fields before and after")

    def inverse(self) -> Change:
        """The change that takes this one back."""
        return Change(self.table, self.key, self.after, self.before)


@dataclass(frozen=True)
class Edit:
    """One step of the history: a name for the user and its changes, in order."""

    name: str
    changes: tuple[Change, ...]

    def inverse(self) -> Edit:
        """The edit that takes this one back, under the same name."""
        return Edit(self.name, tuple(change.inverse() for change in reversed(self.changes)))

    def keys(self, table: str) -> set[int]:
        """The rows of ``table`` this edit touches."""
        return {change.key for change in self.changes if change.table == table}

    def to_json(self) -> str:
        """The changes as one JSON text (the name is kept beside it)."""
        return json.dumps(
            [[c.table, c.key, c.before, c.after] for c in self.changes],
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, name: str, text: str) -> Edit:
        """The edit whose ``to_json`` gave ``text``."""
        return cls(name, tuple(Change(*fields) for fields in json.loads(text)))
