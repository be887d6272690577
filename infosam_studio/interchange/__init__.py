"""Files in and out: COCO, PNG, YOLO, VOC, LabelMe, ISAT, GeoJSON, label TIFF.

`registry.EXPORTERS` and `registry.IMPORTERS` hold every format as a function.
"""
