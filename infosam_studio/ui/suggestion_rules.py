"""What a suggestion is among the objects of a project, and what accepting it changes."""

from __future__ import annotations

from typing import Any

from infosam_studio.annotation.effort import SUGGESTED
from infosam_studio.annotation.model import ObjectRecord

SOURCE = "suggestion"
SCORE = "score"


def is_suggestion(record: ObjectRecord) -> bool:
    """Whether nobody has accepted this object yet."""
    return record.source == SOURCE


def confidence(record: ObjectRecord) -> float:
    """The confidence of a suggestion, 0..1."""
    value = record.extra.get(SCORE, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def accepted_fields(record: ObjectRecord) -> dict[str, Any]:
    """What changes when a suggestion becomes a label; how sure it was stays with it."""
    extra = {key: value for key, value in record.extra.items() if key != SCORE}
    return {"source": "user", "extra": {**extra, SUGGESTED: confidence(record)}}
