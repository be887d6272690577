"""COCO in, in two passes over the file: images and classes first, then the objects.

So it does not matter in which order the file has them, and no more than one annotation is in
memory at a time. Read as CVAT, Label Studio, X-AnyLabeling, labelme2coco, ISAT and SA-1B write
them; what the project has no place for is kept for the next COCO export.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.errors import StudioError
from infosam_studio.interchange.coco_geometry import BadSegmentation, parse_segmentation
from infosam_studio.interchange.importing import Found, ReadContext, clean_name
from infosam_studio.interchange.json_stream import BadElement, JsonProblem, read_elements
from infosam_studio.interchange.keeping import storable
from infosam_studio.interchange.label_files import label_files
from infosam_studio.interchange.reports import counted

Known = TypeVar("Known")
ARRAYS = frozenset({"images", "annotations", "categories"})
ANNOTATION_KEYS = frozenset({"id", "image_id", "category_id", "segmentation", "area", "bbox"})
IMAGE_KEYS = frozenset({"id", "image_id", "file_name", "width", "height", "page"})
CATEGORY_KEYS = frozenset({"id", "name", "supercategory"})


def read_coco(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a COCO file; raises `StudioError` where it lists no image."""
    if source.is_dir():
        found = [path for path, _ in label_files(source, (".json",), context)]
        if len(found) != 1:
            raise StudioError(
                f"{source} is a folder with {counted(len(found), 'JSON file')}; name the COCO file "
                "itself."
            )
        source = found[0]
    listing = _Listing(context, source)
    listing.read()
    for index, element in enumerate(listing.annotations()):
        yield from _object(element, index, listing, context)


class _Listing:
    """The images and classes of a COCO file."""

    def __init__(self, context: ReadContext, source: Path) -> None:
        self._context = context
        self._source = source
        self._cut_off = False
        # None: the image is not in the project, or its labels do not fit; reported already.
        self.images: dict[Any, ImageRecord | None] = {}
        self.classes: dict[Any, str | None] = {}
        self._file_names: dict[Any, Any] = {}
        self._seen: set[Any] = set()

    def read(self) -> None:
        """The first pass."""
        kept: dict[str, Any] = {"top": {}, "images": {}, "categories": {}}
        self._context.kept = kept
        annotated = False
        try:
            for key, element in read_elements(self._source, ARRAYS, self._progress(0)):
                annotated = annotated or key == "annotations"
                if key == "images":
                    self._image(element, kept["images"])
                elif key == "image" and isinstance(element, dict):  # SA-1B
                    self._image({"id": element.get("image_id"), **element}, kept["images"])
                elif key == "categories":
                    self._category(element, kept["categories"])
                elif key not in ARRAYS:
                    kept["top"].update(storable({key: element}) or {})
        except JsonProblem as error:
            self._cut_off = True
            self._context.problems.add(self._source.name, str(error))
        if not self.images:
            reason = self._context.problems.items[-1].reason if self._cut_off else ""
            raise StudioError(
                f"{self._source.name} lists no images, so it is not a COCO file. {reason}".strip()
            )
        if not annotated:
            self._context.problems.add(self._source.name, "the file has no annotations")

    def annotations(self) -> Iterator[Any]:
        """The second pass: the elements of `annotations`."""
        try:
            for key, element in read_elements(self._source, ARRAYS, self._progress(1)):
                if key == "annotations":
                    yield element
        except JsonProblem:
            if not self._cut_off:  # reported in the first pass
                raise

    def _progress(self, turn: int) -> Any:
        def step(done: int, total: int) -> None:
            self._context.progress(done + turn * total, 2 * total)

        return step

    def _image(self, element: Any, kept: dict[str, Any]) -> None:
        key, name = _key(element, "id"), None
        if isinstance(element, dict):
            name = element.get("file_name")
        if isinstance(element, BadElement) or key is None:
            reason = element.reason if isinstance(element, BadElement) else "an image without an id"
            self._context.problems.add(_item("image", element), reason)
            return
        if key in self.images:
            if self._file_names[key] != name:
                self._context.problems.add(str(name), f"image id {key} is used twice in the file")
                self.images[key] = None
            return
        self._file_names[key] = name
        page = element.get("page", 0)
        image = self._context.find(str(name), name, page if type(page) is int else 0)
        size = element.get("width"), element.get("height")
        if image is not None and all(size) and not self._context.fits(str(name), image, *size):
            image = None
        self.images[key] = image
        more = storable({k: v for k, v in element.items() if k not in IMAGE_KEYS})
        if image is not None and more:
            kept[str(image.id)] = more

    def _category(self, element: Any, kept: dict[str, Any]) -> None:
        key = _key(element, "id")
        if key is None:
            reason = element.reason if isinstance(element, BadElement) else "a class without an id"
            self._context.problems.add(_item("category", element), reason)
            return
        name = clean_name(element.get("name"), f"class {key}")
        if self.classes.get(key, name) != name:
            self._context.problems.add(name, f"class id {key} is used twice in the file")
            self.classes[key] = None
            return
        self.classes[key] = name
        parent = element.get("supercategory")
        self._context.declare(name, supercategory=clean_name(parent, "") if parent else "")
        if more := storable({k: v for k, v in element.items() if k not in CATEGORY_KEYS}):
            kept[name] = more

    def image_of(self, element: dict[str, Any]) -> ImageRecord | None:
        """The image of an annotation; raises KeyError where the file does not list it."""
        return _look_up(self.images, _key(element, "image_id"))

    def class_of(self, element: dict[str, Any], default: str) -> str | None:
        """The class of an annotation; None where its id is ambiguous, KeyError if unlisted."""
        key = _key(element, "category_id")
        if key is None:
            return default
        if not self.classes:
            return clean_name(f"class {key}", default)
        return _look_up(self.classes, key)

    def is_repeated(self, element: dict[str, Any]) -> bool:
        key = _key(element, "id")
        if key is None:
            return False
        repeated = key in self._seen
        self._seen.add(key)
        return repeated


def _object(element: Any, index: int, listing: _Listing, context: ReadContext) -> Iterator[Found]:
    item = _item("annotation", element, index)
    if not isinstance(element, dict):
        reason = element.reason if isinstance(element, BadElement) else "not an object"
        context.problems.add(item, reason)
        return
    try:
        image = listing.image_of(element)
        name = listing.class_of(element, context.options.default_class)
    except KeyError:
        context.problems.add(item, "its image or its class is not listed in the file")
        return
    if image is None:
        return
    if name is None:
        context.problems.add(item, "its class id means two classes")
        return
    if listing.is_repeated(element):
        context.problems.add(item, "its id is used twice; both were read")
    try:
        mask, reasons = parse_segmentation(element.get("segmentation"), image.height, image.width)
    except BadSegmentation as error:
        boxed = str(error) == "there is no mask" and element.get("bbox")
        context.problems.add(item, "it has a box but no mask" if boxed else str(error))
        return
    for reason in reasons:
        context.problems.add(item, reason)
    yield Found(image, name, mask, _extra(element, item, context))


def _extra(element: dict[str, Any], item: str, context: ReadContext) -> dict[str, Any]:
    more = {k: v for k, v in element.items() if k not in ANNOTATION_KEYS}
    if not more.get("iscrowd"):
        more.pop("iscrowd", None)
    if not more:
        return {}
    kept = storable(more)
    if kept is None:
        context.problems.add(item, "its further fields are too deep or too large to keep")
        return {}
    return {"coco": kept}


def _look_up(table: dict[Any, Known], key: Any) -> Known:
    """What an id means, also where one place has it as a text and the other as a number."""
    if key not in table and f"{key}".isdecimal() and len(f"{key}") < 19:
        key = int(key) if isinstance(key, str) else str(key)
    return table[key]


def _key(element: Any, name: str) -> Any:
    value = element.get(name) if isinstance(element, dict) else None
    if isinstance(value, float) and value.is_integer():  # tables of numbers make 1.0 of 1
        value = int(value)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _item(kind: str, element: Any, index: int = 0) -> str:
    if isinstance(element, dict) and _key(element, "id") is not None:
        return f"{kind} {element['id']}"
    return f"{kind} number {(element.index if isinstance(element, BadElement) else index) + 1}"
