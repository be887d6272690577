"""Label TIFF for Fiji and napari: out as 8, 16 or 32 bits, in also as stacks of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.errors import StudioError
from infosam_studio.interchange import label_maps, runs
from infosam_studio.interchange.class_file import ClassFile, read_class_file
from infosam_studio.interchange.importing import Found, ReadContext
from infosam_studio.interchange.label_files import label_files
from infosam_studio.interchange.matching import NoMatch
from infosam_studio.interchange.png_write import InstanceWriter

ENDINGS = (".tif", ".tiff")
MAX_PAGES = 10_000


class LabelTiffWriter(InstanceWriter):
    """One label TIFF per image; like the PNG maps, but with room for four billion objects."""

    ending = ".tif"

    def highest(self) -> int:
        return 2**31 - 1

    def type_for(self, count: int) -> Any:
        return label_maps.smallest_type(count, (np.uint8, np.uint16, np.uint32))

    def save(self, path: Path, values: NDArray[Any]) -> None:
        tifffile.imwrite(path, values, compression="zlib", photometric="minisblack", metadata=None)

    def load(self, path: Path, image: ImageRecord) -> NDArray[Any]:
        return next(_pages(path, image.width, image.height))


def _pages(path: Path, width: int, height: int) -> Iterator[NDArray[Any]]:
    """The label maps of a TIFF, [H, W] each; raises `BadLabelMap` before decoding a wrong size."""
    try:
        with tifffile.TiffFile(path) as file:
            if len(file.pages) > MAX_PAGES:
                raise label_maps.BadLabelMap(f"the TIFF has over {MAX_PAGES:,} pages")
            if not len(file.pages):
                raise label_maps.BadLabelMap("the TIFF has no page")
            for page in file.pages:
                if page.shape != (height, width) or page.dtype is None:
                    raise label_maps.BadLabelMap(
                        f"the label map has the shape {_shape(page.shape)}, "
                        f"the image {width} x {height}"
                    )
                yield _whole(page.asarray())
    except label_maps.BadLabelMap:
        raise
    # tifffile answers damaged files with nearly any exception there is.
    except Exception as error:
        raise label_maps.BadLabelMap(f"the TIFF cannot be read ({type(error).__name__})") from error


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(s) for s in reversed(shape[:4]))


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers, also where Fiji has saved them as 32-bit floats."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or not np.array_equal(values, np.rint(values)):
            raise label_maps.BadLabelMap("the label map has values that are no whole numbers")
        if values.size and np.abs(values).max() > 2**53:
            raise label_maps.BadLabelMap("the label map has absurd values")
        values = values.astype(np.int64)
    if values.dtype.kind not in "iub" or (values.dtype.kind == "i" and values.min(initial=0) < 0):
        raise label_maps.BadLabelMap("the label map has negative or odd values")
    return values


def read_label_tiff(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a folder of label TIFFs (or of one); a stack goes page by page."""
    folder = source if source.is_dir() else source.parent
    file = read_class_file(folder, context) or ClassFile("instances")
    found = 0
    for path, relative in label_files(source, ENDINGS, context):
        found += 1
        yield from _objects(path, relative, file, context)
    if not found:
        raise StudioError(f"{source} holds no label TIFF.")


def _objects(path: Path, relative: str, file: ClassFile, context: ReadContext) -> Iterator[Found]:
    image = _image(relative, file, context)
    if image is None:
        return
    ids = file.classes_of(relative)
    try:
        for number, values in enumerate(_pages(path, image.width, image.height)):
            page_image: ImageRecord | None = image
            if number:
                try:
                    page_image = context.images.find(image.path, image.page + number)
                except NoMatch:
                    context.problems.add(f"{relative}, page {number + 1}", "no such page")
                    continue
            groups = runs.split_label_map(values)
            if len(groups) > label_maps.MAX_VALUES:
                raise label_maps.BadLabelMap(f"the map has {len(groups):,} values")
            for value, mask in groups.items():
                name = file.names.get(ids[value - 1]) if value <= len(ids) else None
                if page_image is not None:
                    yield Found(page_image, name or context.options.default_class, mask)
    except label_maps.BadLabelMap as error:
        context.problems.add(relative, str(error))


def _image(relative: str, file: ClassFile, context: ReadContext) -> ImageRecord | None:
    entry = file.files.get(relative)
    if entry is not None:
        page = entry.get("page", 0)
        try:
            return context.images.find(entry.get("image"), page if type(page) is int else 0)
        except NoMatch:
            pass
    return context.find_label_file(relative)
