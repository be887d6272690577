"""What the commands share on a terminal: a progress bar on stderr and the printing of results."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

SHOW_AFTER_S = 2.0
REDRAW_S = 0.1
WIDTH = 30
WIDEST = 100
HASH = re.compile("[0-9a-f]{64}")


class ProgressBar:
    """A bar drawn once the work has taken 2 s, and only where `stream` is a terminal.

    Call it as `bar(done, total)`; a total of 0 means that the end is not known.
    """

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self._label = label
        self._stream = stream if stream is not None else sys.stderr
        self._started = time.monotonic()
        self._drawn = 0.0
        self._visible = self._stream is not None and self._stream.isatty()
        self._dirty = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._visible or now - self._started < SHOW_AFTER_S:
            return
        if now - self._drawn < REDRAW_S and done < total:
            return
        self._drawn = now
        self._stream.write("\r" + self._line(done, total, now - self._started) + "\x1b[K")
        self._stream.flush()
        self._dirty = True

    def _line(self, done: int, total: int, seconds: float) -> str:
        if total <= 0:
            return f"{self._label}: {done} ({seconds:.0f} s)"
        share = min(1.0, done / total)
        filled = round(share * WIDTH)
        left = f", {seconds / share - seconds:.0f} s left" if 0 < share < 1 else ""
        return f"{self._label} [{'#' * filled}{'.' * (WIDTH - filled)}] {done}/{total}{left}"

    def close(self) -> None:
        """Wipe the bar so that the next line starts clean."""
        if self._dirty:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._dirty = False


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressBar]:
    """A bar for a `with` block; always wiped at its end, also after an error."""
    bar = ProgressBar(label)
    try:
        yield bar
    finally:
        bar.close()


def json_text(result: Mapping[str, Any]) -> str:
    """One line of strict JSON: NaN and infinities become null, paths become text."""
    return json.dumps(_plain(result), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else str(value)


def human_lines(result: Mapping[str, Any]) -> list[str]:
    """The same result for people: its `summary` first, then one line per value."""
    lines: list[str] = []
    if isinstance(result.get("summary"), str):
        lines.append(result["summary"])
    lines.extend(_lines({k: v for k, v in result.items() if k != "summary"}, ""))
    return lines


def _lines(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in values.items():
        label = f"{indent}{str(key).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield f"{label}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list | tuple) and value and all(map(_is_row, value)):
            yield f"{label}:"
            yield from _table(value, indent + "  ")
        elif isinstance(value, list | tuple):
            yield f"{label}: {', '.join(_scalar(v) for v in value) or '-'}"
        else:
            yield f"{label}: {_scalar(value)}"


def _is_row(value: Any) -> bool:
    return isinstance(value, Mapping)


def _table(rows: Sequence[Mapping[str, Any]], indent: str) -> Iterator[str]:
    """One line per row; what does not fit on it follows below, with its name."""
    names = [key for key in rows[0] if any(row.get(key) not in (None, "") for row in rows)]
    cells = [[_short(row.get(key)) for key in names] for row in rows]
    head = [str(key).replace("_", " ") for key in names]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    beside = sum(end <= WIDEST for end in itertools.accumulate(width + 2 for width in widths))
    if beside > 1:  # one column speaks for itself
        yield (indent + _line(head[:beside], widths)).rstrip()
    for row in cells:
        if beside:
            yield (indent + _line(row[:beside], widths)).rstrip()
        for name, cell in zip(head[beside:], row[beside:], strict=True):
            if cell != "-":
                yield f"{indent}  {name}: {cell}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))


def _short(value: Any) -> str:
    """A cell; hashes are told apart by their beginning."""
    text = _scalar(value) if value != "" else "-"
    return f"{text[:12]}…" if HASH.fullmatch(text) else text


def _scalar(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
