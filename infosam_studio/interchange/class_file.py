"""`classes.json`: what the values of exported label maps mean.

    {"format": "infosam-studio", "kind": "instances",
     "classes": [{"id": 1, "name": "cell", "color": "#e69f00", "supercategory": ""}],
     "files": {"a.png": {"image": "a.jpg", "page": 0, "classes": [1, 1]}}}

`kind` is "instances" (value k is the object whose class stands at place k - 1), "classes" (the
values are class ids) or "binary" (the one class of the file's one mask).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infosam_studio.annotation.model import ClassRecord
from infosam_studio.interchange.importing import ReadContext, clean_name
from infosam_studio.interchange.json_stream import JsonProblem, load_small
from infosam_studio.interchange.label_files import read_head

NAME = "classes.json"
KINDS = ("instances", "classes", "binary")


@dataclass(frozen=True)
class ClassFile:
    """A class file as read: names by id, and what is known of single files."""

    kind: str
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, str] = field(default_factory=dict)  # names by packed colour
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def classes_of(self, relative: str) -> list[int]:
        """The class ids of a file's objects, in order."""
        ids = self.files.get(relative, {}).get("classes")
        return [i if isinstance(i, int) else 0 for i in ids] if isinstance(ids, list) else []


def write_class_file(
    folder: Path, kind: str, classes: list[ClassRecord], files: Mapping[str, Any]
) -> None:
    """Write `classes.json` into the folder."""
    content = {
        "format": "infosam-studio",
        "kind": kind,
        "classes": [
            {"id": c.id, "name": c.name, "color": c.color, "supercategory": c.supercategory}
            for c in classes
        ],
        "files": files,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def read_class_file(folder: Path, context: ReadContext) -> ClassFile | None:
    """The folder's class file, or None where it has none of ours; damage is reported."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = load_small(path)
    except JsonProblem as error:
        context.problems.add(NAME, str(error))
        return None
    if not isinstance(content, dict) or content.get("kind") not in KINDS:
        context.problems.add(NAME, "not a class file of this program; ignored")
        return None
    found = ClassFile(content["kind"])
    entries = content.get("classes")
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or type(entry.get("id")) is not int:
            continue
        name = clean_name(entry.get("name"), f"class {entry['id']}")
        color = entry.get("color")
        found.names[entry["id"]] = name
        known = isinstance(color, str) and re.fullmatch("#[0-9a-fA-F]{6}", color)
        if known:
            found.colors[int(str(color)[1:], 16)] = name
        context.declare(
            name,
            color=str(color).lower() if known else None,
            supercategory=clean_name(entry.get("supercategory"), ""),
        )
    files = content.get("files")
    for key, value in files.items() if isinstance(files, dict) else ():
        if isinstance(value, dict):
            found.files[key] = value
    return found


def read_label_colors(folder: Path, context: ReadContext) -> dict[int, str]:
    """The names by colour of CVAT's `labelmap.txt` (`name:r,g,b:parts:actions`), here or above."""
    for place in (folder / "labelmap.txt", folder.parent / "labelmap.txt"):
        if place.is_file():
            break
    else:
        return {}
    colors: dict[int, str] = {}
    for line in read_head(place, 1 << 20).decode("utf-8", "replace").splitlines():
        match = re.match(r"^\s*([^#:][^:]*):(\d{1,3}),(\d{1,3}),(\d{1,3})\b", line)
        if not match:
            continue
        red, green, blue = (min(255, int(v)) for v in match.groups()[1:])
        name = clean_name(match.group(1), "object")
        colors[red << 16 | green << 8 | blue] = name
        if name.lower() != "background":
            context.declare(name, color=f"#{red:02x}{green:02x}{blue:02x}")
    return colors
