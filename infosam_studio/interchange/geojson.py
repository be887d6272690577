"""GeoJSON for QuPath, one file per image: polygons with their holes and parts, exactly."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ImageRecord, ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.interchange import label_maps, runs
from infosam_studio.interchange.exporting import Job, label_names, make_parent
from infosam_studio.interchange.importing import Found, ReadContext, clean_name
from infosam_studio.interchange.json_stream import BadElement, JsonProblem, read_elements
from infosam_studio.interchange.keeping import storable
from infosam_studio.interchange.label_files import label_files
from infosam_studio.interchange.rings import BadPolygon, Points, pairs, parse_pairs, rings_of

ENDINGS = (".geojson", ".json")
OWN_PROPERTIES = frozenset({"objectType", "classification", "isLocked"})


class GeojsonWriter:
    """A FeatureCollection per image, as QuPath imports it by drag and drop."""

    folder = True

    def write(self, job: Job) -> None:
        job.names = label_names(job.images)
        for image, objects in job.labelled():
            path = make_parent(self._path(job, image))
            content = {
                "type": "FeatureCollection",
                "features": [_feature(job, item) for item in objects],
            }
            text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
            path.write_text(text + "\n", encoding="utf-8")
            job.report.objects += len(objects)
            job.report.files += 1

    def _path(self, job: Job, image: ImageRecord) -> Path:
        return job.place / f"{job.names[image.id]}.geojson"

    def check(self, job: Job) -> None:
        """Read every file back and compare each object's pixels and class."""
        for image, objects in job.labelled():
            path = self._path(job, image)
            found = [e for key, e in read_elements(path, None) if key == "features"]
            wrong = abs(len(found) - len(objects))
            for feature, item in zip(found, objects, strict=False):
                edges = _toggles(feature, image)
                same = np.array_equal(edges, runs.toggles(item.mask))
                name = feature["properties"]["classification"]["name"]
                wrong += not (same and name == job.class_of(item).name)
            job.report.checked += len(objects)
            job.report.different = (job.report.different or 0) + wrong


def _feature(job: Job, item: ObjectRecord) -> dict[str, Any]:
    rings = [[pairs(r, close=True) for r in rings_of(p)] for p in masks.rle_polygons(item.mask)]
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": rings}
    if len(rings) == 1:
        geometry = {"type": "Polygon", "coordinates": rings[0]}
    found = job.class_of(item)
    kept = item.extra.get("geojson")
    kept = kept if isinstance(kept, dict) else {}
    identity = kept.get("id") or str(uuid.uuid5(uuid.NAMESPACE_OID, f"{item.image_id}/{item.id}"))
    return {
        "type": "Feature",
        "id": identity,
        "geometry": geometry,
        "properties": {
            **kept.get("properties", {}),
            "objectType": "annotation",
            "classification": {
                "name": found.name,
                "color": list(label_maps.rgb_of(found.color)),
            },
        },
    }


def read_geojson(source: Path, context: ReadContext) -> Iterator[Found]:
    """Yield the objects of a folder of GeoJSON files (or of one), each named after its image."""
    found = 0
    for path, relative in label_files(source, ENDINGS, context):
        found += 1
        name = relative.rpartition(".")[0]
        # QuPath may call it a.tif.geojson or a.geojson.json; an image may be called x.json.png.
        while name.lower().endswith(ENDINGS) and not context.images.has(f"{name}.geojson"):
            name = name.rpartition(".")[0]
        image = context.find_label_file(f"{name}.geojson")
        if image is None:
            continue
        if not image.width:
            context.problems.add(relative, "the image cannot be read")
            continue
        try:
            yield from _objects(path, relative, image, context)
        except JsonProblem as error:
            context.problems.add(relative, str(error))
    if not found:
        raise StudioError(f"{source} holds no GeoJSON files.")


def _objects(
    path: Path, relative: str, image: ImageRecord, context: ReadContext
) -> Iterator[Found]:
    single: dict[str, Any] = {}
    number = 0
    for key, element in read_elements(path, frozenset({"features"})):
        if key in ("features", ""):
            number += 1
            yield from _object(element, f"{relative}, feature {number}", image, context)
        else:
            single[key] = element
    if single.get("type") == "Feature":
        yield from _object(single, f"{relative}, feature 1", image, context)
    elif single.get("type") != "FeatureCollection" and number == 0:
        context.problems.add(relative, "not a GeoJSON file of features")


def _object(feature: Any, item: str, image: ImageRecord, context: ReadContext) -> Iterator[Found]:
    if isinstance(feature, BadElement):
        context.problems.add(item, feature.reason)
        return
    try:
        edges = _toggles(feature, image)
    except (BadPolygon, ValueError) as error:
        context.problems.add(item, str(error))
        return
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    name = _class_name(properties.get("classification"), context)
    mask = runs.from_toggles(edges, image.height, image.width)
    yield Found(image, name, mask, _extra(feature, properties))


def _extra(feature: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if isinstance(feature.get("id"), str):
        more["id"] = feature["id"]
    if further := {k: v for k, v in properties.items() if k not in OWN_PROPERTIES}:
        more["properties"] = further
    kept = storable(more) if more else None
    return {"geojson": kept} if kept else {}


def _class_name(classification: Any, context: ReadContext) -> str:
    """QuPath's class: a name, or a list of names, with a colour as list or as one number."""
    default = context.options.default_class
    if isinstance(classification, str):
        return clean_name(classification, default)
    if not isinstance(classification, dict):
        return default
    names = classification.get("names")
    joined = ": ".join(str(n) for n in names[:10]) if isinstance(names, list) else None
    name = clean_name(classification.get("name") or joined, default)
    color = classification.get("color")
    if isinstance(color, list) and len(color) == 3 and all(type(c) is int for c in color):
        red, green, blue = (min(255, max(0, c)) for c in color)
        context.declare(name, color=f"#{red:02x}{green:02x}{blue:02x}")
    elif type(number := classification.get("colorRGB")) is int:
        context.declare(name, color=f"#{number & 0xFFFFFF:06x}")
    return name


def _toggles(feature: Any, image: ImageRecord) -> runs.Toggles:
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    if not isinstance(geometry, dict):
        raise BadPolygon("a feature without a geometry")
    height, width = image.height, image.width
    parts = []
    for polygon in _polygons(geometry):
        # Even-odd over all rings of one polygon: what lies in a hole is outside.
        edges = [runs.toggles(runs.polygons_rle([r], height, width)) for r in polygon]
        whole = edges[0]
        for hole in edges[1:]:
            whole = runs.subtract(whole, hole)
        parts.append(whole)
    return runs.union(parts)


def _polygons(geometry: dict[str, Any]) -> list[list[Points]]:
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        coordinates = [coordinates]
    elif kind != "MultiPolygon":
        raise BadPolygon(f"a geometry of the kind {str(kind)[:30]!r} is not a mask")
    if not isinstance(coordinates, list) or not coordinates:
        raise BadPolygon("a geometry without coordinates")
    polygons = []
    for rings in coordinates:
        if not isinstance(rings, list) or not rings:
            raise BadPolygon("a polygon without rings")
        polygons.append([parse_pairs(ring) for ring in rings])
    return polygons
