"""Which image of the project a label file means.

Label files name images in many ways: relative, absolute, from another machine, with an upload
prefix. Nothing is ever opened by such a name; it is only compared with the project's own list,
so a path that climbs out of its folder can do no harm.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from infosam_studio.annotation.model import ImageRecord

# Label Studio puts eight hexadecimal digits in front of the names of uploaded files.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_PAGE_SUFFIX = re.compile(r"_p(\d{4,})$")
MAX_NAME = 4096


class NoMatch(Exception):
    """The name means no image of the project, or several; the text says which."""


class ImageIndex:
    """The project's images by path, name and stem."""

    def __init__(self, images: Sequence[ImageRecord]) -> None:
        self._paths: dict[tuple[str, int], list[ImageRecord]] = defaultdict(list)
        self._names: dict[tuple[str, int], list[ImageRecord]] = defaultdict(list)
        self._stems: dict[tuple[str, int], list[ImageRecord]] = defaultdict(list)
        self._claimed: dict[int, str] = {}
        self.outside = 0  # names with an absolute path or one that climbs out, matched all the same
        for image in images:
            path = _folded(image.path)
            self._paths[path, image.page].append(image)
            name = PurePosixPath(path).name
            self._names[name, image.page].append(image)
            self._stems[PurePosixPath(path).stem, image.page].append(image)

    def find(self, name: object, page: int = 0) -> ImageRecord:
        """The image that a file name in a label file means; raises `NoMatch`."""
        if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME:
            raise NoMatch("the image has no usable name")
        path = _plain_path(name)
        image = self._by_path(path, page) or self._by_name(PurePosixPath(path).name, page)
        if image is None and "%" in path:
            path = unquote(path)
            image = self._by_path(path, page) or self._by_name(PurePosixPath(path).name, page)
        if image is None:
            raise NoMatch("the image is not in the project")
        first = self._claimed.setdefault(image.id, path)
        if first != path:
            raise NoMatch(f"{image.path} already goes with {first}")
        if _leaves_folder(name):
            self.outside += 1
        return image

    def peek(self, name: str, page: int = 0) -> ImageRecord | None:
        """The image with exactly this path, `..` resolved against nothing; claims nothing."""
        if len(name) > MAX_NAME:
            return None
        found = self._paths.get((_folded(_plain_path(name)), page), [])
        return found[0] if len(found) == 1 else None

    def find_label_file(self, relative: str) -> ImageRecord:
        """The image of a label file, by `sub/a.png`, `sub/a.jpg.png` or `a_p0003.png`.

        `relative` is posix and relative to the folder of labels; a copy of the images' own
        folders in it is expected but not necessary. Raises `NoMatch`.
        """
        without = PurePosixPath(relative).with_suffix("").as_posix()
        page = 0
        if match := _PAGE_SUFFIX.search(without):
            number = int(match.group(1))
            # A plain file may well be called scan_p0003.png itself.
            if not self._stems.get((_folded(PurePosixPath(without).name), 0)):
                page, without = number, without[: match.start()]
        name = PurePosixPath(without).name
        for key, table in ((without, self._paths), (name, self._names)):
            if found := table.get((_folded(key), page)):
                return _only(found, key)
        return self._by_stem(PurePosixPath(without), page)

    def has(self, relative: str) -> bool:
        """Whether an image of this path exists, endings left out of account."""
        without = PurePosixPath(_folded(relative)).with_suffix("")
        beside = self._stems.get((without.name, 0), [])
        return any(_folder(i) == without.parent.as_posix() for i in beside)

    def _by_path(self, path: str, page: int) -> ImageRecord | None:
        parts = PurePosixPath(path).parts
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            found = self._paths.get((_folded(tail), page))
            if found:
                return _only(found, tail)
        return None

    def _by_name(self, name: str, page: int) -> ImageRecord | None:
        for candidate in (name, _UPLOAD_PREFIX.sub("", name)):
            found = self._names.get((_folded(candidate), page))
            if found:
                return _only(found, candidate)
        return None

    def _by_stem(self, path: PurePosixPath, page: int) -> ImageRecord:
        found = self._stems.get((_folded(path.name), page), [])
        folder = _folded(path.parent.as_posix())
        beside = [i for i in found if _folder(i) == folder]
        if not found:
            raise NoMatch("no image of the project has this name")
        return _only(beside or found, path.name)


def _only(found: list[ImageRecord], name: str) -> ImageRecord:
    """The one image of several that differ in upper and lower case alone, if there is one."""
    if len(found) > 1:
        exact = [i for i in found if i.path.endswith(name) or PurePosixPath(i.path).stem == name]
        if len(exact) == 1:
            return exact[0]
        several = ", ".join(i.path for i in found[:3])
        raise NoMatch(f"several images have this name: {several}")
    return found[0]


def _leaves_folder(name: str) -> bool:
    parts = name.strip().replace("\\", "/").split("/")
    return ".." in parts or parts[0] == "" or bool(re.fullmatch(r"[a-zA-Z]:", parts[0]))


def _folder(image: ImageRecord) -> str:
    return PurePosixPath(_folded(image.path)).parent.as_posix()


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _plain_path(name: str) -> str:
    """Forward slashes, no scheme, no drive, no `.` and `..`."""
    whole = name.strip().replace("\\", "/")
    text = re.sub(r"^[a-zA-Z][a-zA-Z0-9+.-]*://", "", whole)
    if "?d=" in text:  # Label Studio's local files: /data/local-files/?d=folder/a.jpg
        text = text.split("?d=", 1)[1]
    elif text != whole:  # an address: what follows the path (a signature, for one) names nothing
        text = text.partition("?")[0]
    parts = [p for p in text.split("/") if p not in ("", ".", "..")]
    if parts and re.fullmatch(r"[a-zA-Z]:", parts[0]):
        parts = parts[1:]
    return "/".join(parts)
