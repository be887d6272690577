"""Fields of other programs: kept in the project where that is safe."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 32
MAX_CHARACTERS = 1_000_000


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
