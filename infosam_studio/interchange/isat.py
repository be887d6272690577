"""ISAT JSON in: polygons in groups and layers, `__background__` polygons carving holes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infosam_studio.annotation.model import ImageRecord
from infosam_studio.interchange import runs
from infosam_studio.interchange.importing import Found, ReadContext, clean_name
from infosam_studio.interchange.keeping import storable
from infosam_studio.interchange.label_files import label_objects
from infosam_studio.interchange.labelme import image_beside
from infosam_studio.interchange.rings import BadPolygon, parse_pairs

BACKGROUND = "__background__"
KEYS = frozenset({"category", "group", "segmentation", "area", "layer", "bbox", "shape_type"})


@dataclass
class _Group:
    """The polygons of one object: in ISAT one category, group and crowd flag."""

    name: str
    layer: float
    extra: dict[str, Any]
    parts: list[tuple[float, runs.Toggles]] = field(default_factory=list)


def read_isat(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a folder of ISAT files (or of one)."""
    for content, relative in label_objects(source, context, _is_isat, "an ISAT"):
        info = content["info"]
        image = image_beside(info.get("name"), relative, context)
        size = info.get("width"), info.get("height")
        if image is None or (all(size) and not context.fits(relative, image, *size)):
            continue
        yield from _objects(content["objects"], relative, image, context)


def _is_isat(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("info"), dict)
        and isinstance(content.get("objects"), list)
    )


def _objects(
    entries: list[Any], relative: str, image: ImageRecord, context: ReadContext
) -> Iterator[Found]:
    groups: dict[Any, _Group] = {}
    holes: list[tuple[float, runs.Toggles]] = []
    for number, entry in enumerate(entries, start=1):
        item = f"{relative}, object {number}"
        try:
            layer, edges = _part(entry, image)
        except (BadPolygon, ValueError) as error:
            context.problems.add(item, str(error))
            continue
        name = clean_name(entry.get("category"), context.options.default_class)
        if name == BACKGROUND:
            holes.append((layer, edges))
            continue
        group = entry.get("group")
        key = (name, str(group), bool(entry.get("iscrowd"))) if group else number
        extra = {k: v for k, v in entry.items() if k not in KEYS and v not in (None, "", False, 0)}
        groups.setdefault(key, _Group(name, layer, extra)).parts.append((layer, edges))
    for found in sorted(groups.values(), key=lambda g: g.layer):
        # A hole is cut out of what lies below it.
        parts = [_carved(layer, edges, holes) for layer, edges in found.parts]
        mask = runs.from_toggles(runs.union(parts), image.height, image.width)
        kept = storable(found.extra) if found.extra else None
        yield Found(image, found.name, mask, {"isat": kept} if kept else {})


def _carved(
    layer: float, edges: runs.Toggles, holes: list[tuple[float, runs.Toggles]]
) -> runs.Toggles:
    for hole_layer, hole in holes:
        if hole_layer > layer:
            edges = runs.subtract(edges, hole)
    return edges


def _part(entry: Any, image: ImageRecord) -> tuple[float, runs.Toggles]:
    if not isinstance(entry, dict):
        raise BadPolygon("not an object")
    kind = entry.get("shape_type", "polygon")
    if kind not in ("polygon", "", None):
        raise BadPolygon(f"a shape of the kind {str(kind)[:30]!r} is not a mask")
    points = parse_pairs(entry.get("segmentation"))
    layer = entry.get("layer", 1)
    number = float(layer) if isinstance(layer, int | float) and abs(layer) < 1e9 else 1.0
    mask = runs.polygons_rle([points], image.height, image.width)
    return number, runs.toggles(mask)
