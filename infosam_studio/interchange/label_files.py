"""The label files of a folder: found without following links in a circle, read without surprise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from infosam_studio.errors import StudioError
from infosam_studio.interchange.importing import ReadContext
from infosam_studio.interchange.json_stream import JsonProblem, load_small
from infosam_studio.interchange.reports import stop_if


def label_files(
    source: Path, endings: Sequence[str], context: ReadContext
) -> Iterator[tuple[Path, str]]:
    """Every label file of a folder (or the one file), with its posix path relative to it.

    Links to folders are not followed, so a loop of them cannot hold the import up.
    """
    if source.is_file():
        yield source, source.name
        return
    found = [
        Path(base) / name
        for base, name in _walk(source)
        if name.lower().endswith(tuple(endings)) and not name.startswith(".")
    ]
    for number, path in enumerate(found):
        context.progress(number, len(found))
        stop_if(context.cancelled)
        relative = path.relative_to(source).as_posix()
        if path.is_file():
            yield path, relative
        else:  # a link into the void or in a circle, or a pipe, which would be read for ever
            context.problems.add(relative, "not a file that can be read")


def read_head(path: Path, limit: int) -> bytes:
    """The first bytes of a small file beside the labels, however large it really is."""
    with path.open("rb") as file:
        return file.read(limit)


def label_objects(
    source: Path, context: ReadContext, is_label_file: Callable[[Any], bool], what: str
) -> Iterator[tuple[dict[str, Any], str]]:
    """The content and relative path of every JSON file of one program; others are reported.

    Raises `StudioError` where there is none.
    """
    found = 0
    for path, relative in label_files(source, (".json",), context):
        try:
            content = load_small(path)
        except JsonProblem as error:
            found += 1
            context.problems.add(relative, str(error))
            continue
        if not is_label_file(content):
            context.problems.add(relative, f"not {what} file")
            continue
        found += 1
        yield content, relative
    if not found:
        raise StudioError(f"{source} holds no {what.partition(' ')[2]} files.")


def _walk(folder: Path) -> Iterator[tuple[str, str]]:
    for base, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in sorted(names):
            yield base, name
