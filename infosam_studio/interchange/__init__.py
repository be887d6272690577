"""Files in and out: COCO, PNG, YOLO, VOC, LabelMe."""
