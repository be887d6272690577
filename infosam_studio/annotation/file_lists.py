"""Images named one by one: a text file with their paths, or files and folders dropped together."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from infosam_studio.annotation.images import ImageError, list_images

LIST_SUFFIXES: Final = frozenset({".txt", ".lst", ".list"})
MAX_BYTES: Final = 200_000_000
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def is_file_list(path: Path) -> bool:
    """Whether the path is a text file that may list images."""
    return path.suffix.lower() in LIST_SUFFIXES and os.path.isfile(path)


def read_file_list(path: Path) -> list[Path]:
    """The paths of a list, in its order, each once; ImageError where it holds none.

    One path on each line, absolute or relative to the list's folder; folders stand for all
    images in them; empty lines and those that begin with # say nothing. Files that are not
    there are named all the same, so that the project can tell that they are missing.
    """
    found: list[Path] = []
    for line in _text(path).splitlines():
        name = line.strip().strip("\"'").strip()
        if not name or name.startswith("#"):
            continue
        if name.lower().startswith("file://"):
            name = unquote(urlsplit(name).path)
        found.append(Path(os.path.normpath(path.parent / name)))
    if not found:
        raise ImageError(f"{path.name} lists no images; write one path on each line.")
    return expand(found)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path.name} is too large for a list of images; name another file.")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path.name} cannot be read: {error.strerror}.") from error
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), None)
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    if "\0" in text:
        raise ImageError(f"{path.name} is no text file; name a list with one path on each line.")
    return text


def expand(paths: Iterable[Path]) -> list[Path]:
    """Files, and all images of folders, in their order, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        for one in list_images(path) if os.path.isdir(path) else (path,):
            found.setdefault(Path(os.path.abspath(one)))
    return list(found)


def common_folder(paths: Sequence[Path]) -> Path:
    """The innermost folder above all files; the first one's where they share none."""
    folders = [str(Path(os.path.abspath(path)).parent) for path in paths]
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # other drives on Windows
        return Path(folders[0])


def selection_name(paths: Sequence[Path]) -> str:
    """A name for these files together, the same for the same files in any order."""
    joined = "\0".join(sorted(str(path) for path in paths))
    number = hashlib.sha256(joined.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{common_folder(paths).name or 'images'} {len(paths)} images {number}"
