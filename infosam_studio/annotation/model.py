"""The words of the document as values: images, classes, objects and their prompts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from infosam_studio.annotation.masks import Rle

IMAGE_STATES: Final = ("untouched", "in_progress", "done", "empty", "flagged")
OBJECT_SOURCES: Final = ("user", "import", "suggestion")
SPLITS: Final = ("train", "val")

# Okabe and Ito's palette (distinguishable with the common kinds of colour blindness) without its
# black, followed by Paul Tol's "muted" ones for projects with many classes.
CLASS_COLORS: Final = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
    "#882255",
    "#44aa99",
    "#999933",
    "#aa4499",
    "#332288",
    "#88ccee",
    "#117733",
    "#ddcc77",
    "#cc6677",
)

Row = Mapping[str, Any] | sqlite3.Row
Point = tuple[float, float, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Prompts:
    """What the person gave for one object, in pixels of the upright image view.

    ``points`` are (x, y, 1 for inside or 0 for outside), ``boxes`` (x0, y0, x1, y1); pixel
    centres lie at whole numbers. ``mask`` is the mask the prompting started from, if any.
    """

    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    mask: Rle | None = None

    @property
    def clicks(self) -> int:
        """Mouse actions spent: every point and every box is one."""
        return len(self.points) + len(self.boxes)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; empty parts are left out."""
        out: dict[str, Any] = {}
        if self.points:
            out["points"] = [list(point) for point in self.points]
        if self.boxes:
            out["boxes"] = [list(box) for box in self.boxes]
        if self.mask is not None:
            out["mask"] = self.mask.to_coco()
        return out

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> Prompts:
        """The prompts whose ``to_json`` gave ``obj``."""
        mask = obj.get("mask")
        return cls(
            points=tuple(_point(p) for p in obj.get("points", ())),
            boxes=tuple(_box(b) for b in obj.get("boxes", ())),
            mask=None if mask is None else Rle.from_coco(mask),
        )


def _point(values: Sequence[float]) -> Point:
    x, y, label = values
    return float(x), float(y), int(label)


def _box(values: Sequence[float]) -> Box:
    x0, y0, x1, y1 = values
    return float(x0), float(y0), float(x1), float(y1)


@dataclass(frozen=True)
class ImageRecord:
    """One image of the project; every page of a multi-page file is one.

    ``path`` is posix and relative to the project's images root (absolute where the file lies on
    another drive); ``width`` and ``height`` are those of the upright view, 0 where ``problem``
    says why the file cannot be read. ``view`` is the JSON of its ViewSettings, "" for defaults.
    """

    id: int
    path: str
    sha256: str
    width: int
    height: int
    page: int = 0
    state: str = "untouched"
    fully_labelled: bool = False
    excluded: bool = False
    split: str | None = None
    problem: str | None = None
    view: str = ""


@dataclass(frozen=True)
class ClassRecord:
    """A class; ids count from 1 and are never given twice. ``color`` is "#rrggbb"."""

    id: int
    name: str
    color: str
    supercategory: str = ""


@dataclass(frozen=True)
class ObjectRecord:
    """One object (instance) on one image; ``mask`` is the truth about its shape.

    ``clicks`` and ``seconds`` are what it cost, ``adapter`` the version in use when it was made
    (None: the base checkpoint), ``hand_corrected`` whether the mask was changed by hand after
    the model's answer, ``excluded`` whether training leaves it out. A higher ``z`` lies on top;
    0 on adding means "on top of what is there". ``extra`` is a JSON object for fields of other
    programs, kept as they came.
    """

    id: int
    image_id: int
    class_id: int
    mask: Rle
    prompts: Prompts = Prompts()
    clicks: int = 0
    seconds: float = 0.0
    adapter: str | None = None
    hand_corrected: bool = False
    excluded: bool = False
    source: str = "user"
    z: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


def image_row(record: ImageRecord) -> dict[str, Any]:
    """The database row of an image, without its id."""
    return {
        "path": record.path,
        "sha256": record.sha256,
        "width": record.width,
        "height": record.height,
        "page": record.page,
        "state": record.state,
        "fully_labelled": int(record.fully_labelled),
        "excluded": int(record.excluded),
        "split": record.split,
        "problem": record.problem,
        "view": record.view,
    }


# In the order of the fields of ImageRecord: projects have tens of thousands of images, and taking
# the values by name would take twice as long.
IMAGE_COLUMNS: Final = (
    "id, path, sha256, width, height, page, state, fully_labelled, excluded, split, problem, view"
)


def image_from_row(row: Sequence[Any] | sqlite3.Row) -> ImageRecord:
    """The image of a database row of ``IMAGE_COLUMNS``."""
    (key, path, sha256, width, height, page, state, labelled, excluded, split, problem, view) = row
    return ImageRecord(
        key,
        path,
        sha256,
        width,
        height,
        page,
        state,
        bool(labelled),
        bool(excluded),
        split,
        problem,
        view,
    )


def class_row(record: ClassRecord) -> dict[str, Any]:
    """The database row of a class, without its id."""
    return {"name": record.name, "color": record.color, "supercategory": record.supercategory}


def class_from_row(row: Row) -> ClassRecord:
    """The class of a database row."""
    return ClassRecord(row["id"], row["name"], row["color"], row["supercategory"])


def object_row(record: ObjectRecord) -> dict[str, Any]:
    """The database row of an object, without its id."""
    return {
        "image_id": record.image_id,
        "class_id": record.class_id,
        "height": record.mask.height,
        "width": record.mask.width,
        "counts": record.mask.counts,
        "prompts": _dump(record.prompts.to_json()),
        "clicks": record.clicks,
        "seconds": float(record.seconds),
        "adapter": record.adapter,
        "hand_corrected": int(record.hand_corrected),
        "excluded": int(record.excluded),
        "source": record.source,
        "z": record.z,
        "extra": _dump(record.extra),
    }


def object_from_row(row: Row) -> ObjectRecord:
    """The object of a database row."""
    return ObjectRecord(
        id=row["id"],
        image_id=row["image_id"],
        class_id=row["class_id"],
        mask=Rle(row["height"], row["width"], row["counts"]),
        prompts=_NO_PROMPTS if row["prompts"] == "{}" else _prompts(row["prompts"]),
        clicks=row["clicks"],
        seconds=row["seconds"],
        adapter=row["adapter"],
        hand_corrected=bool(row["hand_corrected"]),
        excluded=bool(row["excluded"]),
        source=row["source"],
        z=row["z"],
        extra={} if row["extra"] == "{}" else json.loads(row["extra"]),
    )


_NO_PROMPTS: Final = Prompts()


def _prompts(text: str) -> Prompts:
    return Prompts.from_json(json.loads(text))


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
