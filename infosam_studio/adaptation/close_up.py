"""Small objects are learned and tested as the app shows them: in a region around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from infosam_studio.adaptation.samples import LabelledImage, Sample, TrainingSet, in_turn
from infosam_studio.annotation import masks
from infosam_studio.annotation.regions import Region, region_holding


def with_regions(data: TrainingSet, input_size: int) -> TrainingSet:
    """The same objects, small ones in the region that the window takes when zoomed in on them.

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


def with_fewer_regions(data: TrainingSet, most: int) -> TrainingSet:
    """Train on the objects of at most ``most`` regions, taken from all images in turn.

    Each region is an encode, and a training of seconds visits few of the objects anyway.
    """
    kept: set[int] = set()
    regions: set[int] = set()
    for sample in in_turn(data.train):
        if sample.region_id is not None:
            if len(regions) >= most and sample.region_id not in regions:
                continue
            regions.add(sample.region_id)
        kept.add(sample.object_id)
    left_out = len(data.train) - len(kept)
    if not left_out:
        return data
    note = f"{left_out} small objects take no part in this training: looking at each takes time."
    return replace(
        data,
        train=tuple(sample for sample in data.train if sample.object_id in kept),
        skipped=(*data.skipped, note),
    )


def count_images(samples: Iterable[Sample]) -> int:
    """How many images these samples are on, however many regions."""
    return len({sample.image_id for sample in samples})


def _each(samples: Iterable[Sample], seen: Callable[[Sample], Sample]) -> tuple[Sample, ...]:
    return tuple(seen(sample) for sample in samples)


def _region(sample: Sample, image: LabelledImage, input_size: int) -> Region | None:
    x, y, width, height = masks.bbox(sample.mask)
    box = (x, y, x + width, y + height)
    return region_holding(box, image.width, image.height, input_size)


def _frame(image: LabelledImage, region: Region, frame_id: int) -> LabelledImage:
    x0, y0, x1, y1 = region
    return replace(image, id=frame_id, region=region, width=x1 - x0, height=y1 - y0)
