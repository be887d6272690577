"""Reading JSON files of any length element by element, and what to do with broken ones.

A COCO file of 10,000 images is hundreds of megabytes; the elements of its arrays are wanted one
at a time. The decoder is Python's own, fed from a sliding window of text. What is broken costs
its own element where the end of it can be found, and the rest of the file where it cannot.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infosam_studio.errors import StudioError

BLOCK = 1 << 20
MAX_ELEMENT = 128 << 20  # characters of one array element, or of one value outside arrays
# The decoder names the place of an error; nearer than this to the end of the window the
# element may just be cut off by the window.
MARGIN = 32

_SPACE = re.compile(r"[ \t\n\r]*")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]|"', re.DOTALL)
_SURROGATES = re.compile("[\udc80-\udcff]")

Progress = Callable[[int, int], None]


class JsonProblem(StudioError):
    """The file cannot be read any further; what was read before stays good."""


@dataclass(frozen=True)
class BadElement:
    """An array element that is not valid JSON, and why."""

    index: int
    reason: str


def read_elements(
    path: Path, arrays: frozenset[str] | None, progress: Progress | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield `(key, element)` for the file's top-level object, `("", element)` for a list.

    The elements of the arrays named in `arrays` (None: of every array) come one by one, broken
    ones as `BadElement`; other values come whole. Raises `JsonProblem` where the file cannot be
    read on; what was yielded before stays good.
    """
    with _Window(path, progress) as window:
        first = window.peek()
        if first == "[":
            yield from ((("", value)) for value in window.array())
        elif first == "{":
            yield from _object(window, arrays)
        else:
            raise JsonProblem(f"{path.name} is not a JSON file; it starts with {first!r}.")
        if window.peek():
            raise JsonProblem(f"{path.name} goes on after its end.")


def _object(window: _Window, arrays: frozenset[str] | None) -> Iterator[tuple[str, Any]]:
    window.take("{")
    if window.peek() == "}":
        window.take("}")
        return
    while True:
        key = window.value()
        if not isinstance(key, str):
            raise JsonProblem(f"{window.name} is damaged: a name is missing {window.where()}.")
        window.take(":")
        if window.peek() == "[" and (arrays is None or key in arrays):
            yield from ((key, value) for value in window.array())
        else:
            yield key, window.value()
        if window.take(",", "}") == "}":
            return


class _Window:
    """A sliding window of decoded text over a file."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self.name = path.name
        self._path = path
        self._progress = progress
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._ended = False
        self._decoder = json.JSONDecoder(parse_constant=_no_number)

    def __enter__(self) -> _Window:
        try:
            self._size = self._path.stat().st_size
            self._file = self._path.open("rb")
        except OSError as error:
            raise JsonProblem(f"{self.name} cannot be read: {error.strerror}.") from error
        start = self._file.read(4)
        self._file.seek(0)
        encoding = json.detect_encoding(start)
        self._decode = codecs.getincrementaldecoder(encoding)(errors="surrogateescape").decode
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def where(self) -> str:
        return f"near character {self._dropped + self._at:,}"

    def fill(self, wanted: int = BLOCK) -> bool:
        """Read on; False at the end of the file."""
        if self._ended:
            return False
        try:
            block = self._file.read(wanted)
            more = self._decode(block, final=not block)
        except (OSError, UnicodeError) as error:
            raise JsonProblem(f"{self.name} cannot be read {self.where()}: {error}.") from error
        self._ended = not block
        if self._progress is not None:
            self._progress(self._file.tell(), self._size)
        self._dropped += self._at
        self._text = self._text[self._at :] + _SURROGATES.sub(_western, more)
        self._at = 0
        return bool(block)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self.fill():
                return ""

    def take(self, *expected: str) -> str:
        """Step over one of the characters `expected`."""
        found = self.peek()
        if found not in expected or not found:
            wanted = " or ".join(expected)
            if not found:
                raise JsonProblem(f"{self.name} is cut off: {wanted} is missing at its end.")
            raise JsonProblem(
                f"{self.name} is damaged: {found!r} instead of {wanted} {self.where()}."
            )
        self._at += 1
        return found

    def value(self) -> Any:
        """Parse the next value; raises `JsonProblem` where it is broken."""
        try:
            return self._parse()
        except _Broken as error:
            raise JsonProblem(f"{self.name} is damaged {self.where()}: {error}.") from error

    def array(self) -> Iterator[Any]:
        """Yield the elements of the array that starts here."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        index = 0
        while True:
            self.peek()
            try:
                element: Any = self._parse()
            except _Broken as error:
                element = BadElement(index, str(error))
                self._skip_broken()
            yield element
            index += 1
            if self.take(",", "]") == "]":
                return

    def _parse(self) -> Any:
        if not self.peek():
            raise JsonProblem(f"{self.name} is cut off {self.where()}.")
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Whether the file is cut off here shows in _skip_broken, by its brackets.
                if not self._cut_off(error) or not self._grow():
                    raise _Broken(error.msg) from error
                continue
            except RecursionError as error:
                raise _Broken("nested too deeply") from error
            except ValueError as error:
                raise _Broken(str(error).split(";")[0]) from error
            # A number at the very edge of the window may go on behind it.
            if end == len(self._text) and not isinstance(value, dict | list | str) and self._grow():
                continue
            self._at = end
            return value

    def _cut_off(self, error: json.JSONDecodeError) -> bool:
        return error.pos >= len(self._text) - MARGIN or "Unterminated" in error.msg

    def _grow(self) -> bool:
        pending = len(self._text) - self._at
        if pending > MAX_ELEMENT:
            raise JsonProblem(f"{self.name} has one entry of over {MAX_ELEMENT >> 20} MB.")
        return self.fill(max(BLOCK, pending))

    def _skip_broken(self) -> None:
        """Step behind the broken element by counting its brackets."""
        depth = 0
        position = self._at
        if self.peek() not in ("{", "["):
            raise JsonProblem(f"{self.name} is damaged {self.where()}.")
        while True:
            for match in _STRUCTURE.finditer(self._text, position):
                token = match.group()
                if token == '"':  # a string that the window cuts off
                    position = match.start()
                    break
                position = match.end()
                depth += (token in "[{") - (token in "]}") if len(token) == 1 else 0
                if depth == 0:
                    self._at = position
                    return
            else:
                position = max(position, len(self._text) - 1)
            before = position - self._at
            if not self._grow():
                raise JsonProblem(f"{self.name} is cut off {self.where()}.")
            position = before


class _Broken(Exception):
    pass


def _no_number(_name: str) -> None:
    """NaN and the infinities are not JSON; they become null, which no reader takes for a number."""


def _western(match: re.Match[str]) -> str:
    """A byte that is not UTF-8 is taken for Windows-1252, the usual wrong encoding."""
    return bytes([ord(match.group()) - 0xDC00]).decode("cp1252", "replace")


def load_small(path: Path, limit: int = 256 << 20) -> Any:
    """Read one JSON file whole (a label file of one image); raises `JsonProblem`."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise JsonProblem(f"{path.name} has {size >> 20} MB; too large for one image.")
        raw = path.read_bytes()
    except OSError as error:
        raise JsonProblem(f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        text = raw.decode(json.detect_encoding(raw), "surrogateescape")
        return json.loads(_SURROGATES.sub(_western, text), parse_constant=_no_number)
    except RecursionError as error:
        raise JsonProblem(f"{path.name} is nested too deeply.") from error
    except ValueError as error:  # broken JSON, a number of thousands of digits, UTF-16 cut off
        raise JsonProblem(f"{path.name} is not valid JSON: {str(error).split(';')[0]}.") from error
