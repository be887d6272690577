"""The formats by name, without loading any of them."""

from __future__ import annotations

from typing import Final

# Name on the command line -> what the window calls it.
EXPORT_FORMATS: Final = {
    "coco": "COCO (JSON)",
    "png": "PNG instance maps",
    "png-semantic": "PNG class maps",
    "png-binary": "PNG masks, one file per object or class",
    "yolo": "YOLO segmentation",
    "voc": "Pascal VOC",
    "labelme": "LabelMe (JSON)",
    "geojson": "GeoJSON for QuPath",
    "tiff": "Label TIFF for Fiji and napari",
}
IMPORT_FORMATS: Final = {
    "coco": "COCO (JSON)",
    "png": "PNG label maps",
    "yolo": "YOLO segmentation",
    "voc": "Pascal VOC",
    "labelme": "LabelMe (JSON), X-AnyLabeling",
    "isat": "ISAT (JSON)",
    "geojson": "GeoJSON from QuPath",
    "tiff": "Label TIFF",
}
# Formats that are one file; the others are a folder.
FILE_FORMATS: Final = frozenset({"coco"})
