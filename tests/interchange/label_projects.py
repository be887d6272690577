"""Small projects of real image files, and the comparison of two projects' labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.project import Project

Bitmap = NDArray[np.bool_]
MakeProject = Callable[..., Project]


def write_images(folder: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Grey pictures, each of other content, of the given (width, height)."""
    for number, (name, (width, height)) in enumerate(sizes.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((height, width), 40 + number % 200, np.uint8)
        pixels[0, 0] = number // 200
        Image.fromarray(pixels).save(path)


def image_id(project: Project, path: str, page: int = 0) -> int:
    return next(i.id for i in project.images() if (i.path, i.page) == (path, page))


def add(project: Project, path: str, *bitmaps: Bitmap, name: str = "cell", page: int = 0) -> None:
    """Put objects with these bitmaps on an image, the class made where it is missing."""
    found = next((c for c in project.classes() if c.name == name), None)
    class_id = (found or project.add_class(name)).id
    image = image_id(project, path, page)
    records = [ObjectRecord(0, image, class_id, masks.encode(b)) for b in bitmaps]
    project.add_objects(records)


def disc(width: int, height: int, x: float, y: float, radius: float) -> Bitmap:
    rows, columns = np.mgrid[:height, :width]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def labels(project: Project) -> dict[tuple[str, int], list[tuple[str, str]]]:
    """Class name and mask text of every object by image, bottom to top."""
    names = {c.id: c.name for c in project.classes()}
    return {
        (i.path, i.page): [(names[o.class_id], o.mask.counts) for o in project.objects(i.id)]
        for i in project.images()
    }


def bitmaps(project: Project, path: str) -> list[Bitmap]:
    objects: Sequence[ObjectRecord] = project.objects(image_id(project, path))
    return [masks.decode(o.mask) for o in objects]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its posix path there."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
