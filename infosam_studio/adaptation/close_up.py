"""Objects of large images are learned and tested as the app shows them: in a region around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from infosam_studio.adaptation.samples import LabelledImage, Sample, TrainingSet
from infosam_studio.annotation import masks
from infosam_studio.annotation.regions import Region, covers, region_around


def with_regions(data: TrainingSet, input_size: int) -> TrainingSet:
    """The same objects, small ones of large images in the region that window and `predict` take.

    ``input_size`` is the side of the encoder's input in pixels. A region counts as an image of
    its own for encoding (`Sample.frame_id`), never for the split or the gate (`Sample.image_id`).
    """
    frames: dict[tuple[int, Region], LabelledImage] = {}

    def seen(sample: Sample) -> Sample:
        image = data.images[sample.image_id]
        region = _region(sample, image, input_size)
        if region is None:
            return sample
        frame = frames.get((image.id, region))
        if frame is None:
            # Ids of images are positive: none is taken.
            frame = frames[image.id, region] = _frame(image, region, -1 - len(frames))
        part = masks.encode(masks.decode_window(sample.mask, *region))
        return replace(sample, mask=part, region_id=frame.id)

    train, validation = _each(data.train, seen), _each(data.validation, seen)
    images = {**data.images, **{frame.id: frame for frame in frames.values()}}
    return replace(data, images=images, train=train, validation=validation)


def count_images(samples: Iterable[Sample]) -> int:
    """How many images these samples are on, however many regions."""
    return len({sample.image_id for sample in samples})


def _each(samples: Iterable[Sample], seen: Callable[[Sample], Sample]) -> tuple[Sample, ...]:
    return tuple(seen(sample) for sample in samples)


def _region(sample: Sample, image: LabelledImage, input_size: int) -> Region | None:
    x, y, width, height = masks.bbox(sample.mask)
    box = (x, y, x + width, y + height)
    region = region_around(box, image.width, image.height, input_size)
    return region if region is not None and covers(region, box) else None


def _frame(image: LabelledImage, region: Region, frame_id: int) -> LabelledImage:
    x0, y0, x1, y1 = region
    return replace(image, id=frame_id, region=region, width=x1 - x0, height=y1 - y0)
