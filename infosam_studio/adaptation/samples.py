"""Which objects train and which validate, from a consistent view of the project.

Labels are sparse: a sample is one object, everything else on its image is simply not asked
about. The split by image is the project's own and sticky; below four labelled images, where it
has no validation images yet, objects are held out and the result counts as unproven.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation import masks
from infosam_studio.annotation.images import (
    ImageError,
    ViewSettings,
    content_hash,
    read_image,
)
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ImageRecord, ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.segmentation.prompts import ImageIdentity, Region

# Objects under this many pixels are not evaluated (design.md §6); they still train.
SMALLEST_EVALUATED: Final = 20
HELD_OUT_SHARE: Final = 0.25


@dataclass(frozen=True)
class LabelledImage:
    """One image of the project, or a region of it, with what identifies its pixels.

    A region has an id and a size of its own; ``region`` is (x0, y0, x1, y1) in the image.
    """

    id: int
    path: Path
    name: str
    sha256: str
    settings: ViewSettings
    height: int
    width: int
    region: Region | None = None

    @property
    def identity(self) -> ImageIdentity:
        """The key under which its embeddings are cached, the same as in the app.

        A region is encoded like an image of its own: its pixels are read and nothing else.
        """
        view = self.settings.key()
        if self.region is not None:
            view += "|{},{},{},{}".format(*self.region)
        return ImageIdentity(self.sha256, self.settings.page, view)

    def read(self) -> NDArray[np.uint8]:
        """uint8 [H, W, 3]; StudioError where the file is gone, unreadable or another one."""
        try:
            if content_hash(self.path) != self.sha256:
                raise StudioError(
                    f"{self.name} has changed since it was labelled: add it again or exclude it."
                )
            pixels: NDArray[np.uint8] = read_image(self.path, self.settings)
        except OSError as error:
            raise StudioError(
                f"{self.name} cannot be read ({error.strerror or error}): put the file back or "
                "exclude the image."
            ) from error
        if self.region is not None:
            x0, y0, x1, y1 = self.region
            pixels = np.ascontiguousarray(pixels[y0:y1, x0:x1])
        if pixels.shape[:2] != (self.height, self.width):
            raise StudioError(
                f"{self.name} is {pixels.shape[1]}x{pixels.shape[0]} pixels, but its labels were "
                f"drawn on {self.width}x{self.height}: add the image again."
            )
        return pixels


@dataclass(frozen=True)
class Sample:
    """One object to learn from or to be tested on.

    ``trusted`` says that its mask does not come unchanged from a model: it was corrected by
    hand or imported. ``mask`` is that of the image, or of the region where there is one.
    """

    object_id: int
    image_id: int
    class_id: int
    mask: Rle
    trusted: bool
    area: int
    region_id: int | None = None

    @property
    def frame_id(self) -> int:
        """The id of what is encoded for it: its image, or the region it is looked at in."""
        return self.image_id if self.region_id is None else self.region_id


@dataclass(frozen=True)
class TrainingSet:
    """Everything one run learns from and is judged by.

    ``unproven`` is None, or why the validation objects prove little; ``skipped`` says in
    sentences what was left out.
    """

    images: Mapping[int, LabelledImage]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    unproven: str | None
    skipped: tuple[str, ...]

    def images_of(self, samples: Iterable[Sample]) -> list[LabelledImage]:
        """The images or regions of these samples, each once, in order of first use."""
        return [self.images[key] for key in dict.fromkeys(s.frame_id for s in samples)]

    def by_frame(self) -> dict[int, list[Sample]]:
        """All samples by what is encoded for them."""
        found: dict[int, list[Sample]] = {}
        for sample in (*self.train, *self.validation):
            found.setdefault(sample.frame_id, []).append(sample)
        return found

    def digest(self) -> str:
        """SHA-256 over the training objects: their images' content and their masks."""
        lines = sorted(
            json.dumps([self.images[s.frame_id].sha256, s.class_id, s.mask.to_coco()])
            for s in self.train
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def without(self, image_ids: set[int], why: Sequence[str]) -> TrainingSet:
        """The same set without some images, for reasons to be told."""
        return TrainingSet(
            {key: value for key, value in self.images.items() if key not in image_ids},
            tuple(s for s in self.train if s.image_id not in image_ids),
            tuple(s for s in self.validation if s.image_id not in image_ids),
            self.unproven,
            (*self.skipped, *why),
        )


def collect(
    project: Any, *, seed: int = 0, train_images: int | None = None, split: str | None = None
) -> TrainingSet:
    """The training set of a project (a snapshot or a read-only project will do).

    Left out: excluded images and objects, images that cannot be read, empty masks and
    suggestions nobody has accepted. ``train_images`` keeps that many training images, chosen by
    ``seed``. With ``split`` ("all", "train" or "val") that part alone is taken, all of it as
    ``validation``. Raises StudioError where no object is left.
    """
    records = {record.id: record for record in project.images() if _usable_image(record)}
    found = [obj for obj in project.objects() if obj.image_id in records and _usable(obj)]
    samples = [_sample(obj) for obj in found]
    empty = sum(sample.area == 0 for sample in samples)
    samples = [sample for sample in samples if sample.area > 0]
    if not samples:
        raise StudioError(
            "There is no labelled object in this project yet: label at least one first."
        )
    skipped = [f"{empty} empty masks were left out."] if empty else []
    images = {key: _image(project, records[key]) for key in {s.image_id for s in samples}}
    if split is not None:
        part = [s for s in samples if split == "all" or _part(records[s.image_id]) == split]
        return TrainingSet(images, (), tuple(part), None, tuple(skipped))
    train, validation, unproven = _divide(samples, records)
    train = _limited(train, train_images, seed)
    return TrainingSet(images, tuple(train), tuple(validation), unproven, tuple(skipped))


def _usable_image(record: ImageRecord) -> bool:
    return not record.excluded and record.problem is None and record.width > 0


def _usable(obj: ObjectRecord) -> bool:
    return not obj.excluded and obj.source != "suggestion"


def _sample(obj: ObjectRecord) -> Sample:
    trusted = obj.hand_corrected or obj.source == "import"
    return Sample(obj.id, obj.image_id, obj.class_id, obj.mask, trusted, masks.area(obj.mask))


def _image(project: Any, record: ImageRecord) -> LabelledImage:
    return LabelledImage(
        record.id,
        Path(project.image_path(record)),
        record.path,
        record.sha256,
        ViewSettings.from_key(record.view, record.page),
        record.height,
        record.width,
    )


def _part(record: ImageRecord) -> str:
    """Images without a part train: only the split makes an image validation."""
    return record.split or "train"


def _divide(
    samples: list[Sample], records: Mapping[int, ImageRecord]
) -> tuple[list[Sample], list[Sample], str | None]:
    train = [s for s in samples if _part(records[s.image_id]) == "train"]
    validation = [s for s in samples if _part(records[s.image_id]) == "val"]
    if validation and train:
        return train, validation, None
    if len(samples) < 2:
        return samples, [], "There is only one labelled object, so nothing is left to test on."
    kept, held = hold_out(samples)
    why = "There are no validation images yet, so objects of the same images were held out."
    return kept, held, why


def hold_out(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """About a quarter of the objects, at least one, chosen by their ids alone (sticky)."""
    order = sorted(samples, key=lambda s: _shuffle_key(0, s.object_id))
    count = max(1, round(HELD_OUT_SHARE * len(order)))
    held = {s.object_id for s in order[:count]}
    return (
        [s for s in samples if s.object_id not in held],
        [s for s in samples if s.object_id in held],
    )


def _limited(train: list[Sample], images: int | None, seed: int) -> list[Sample]:
    ids = sorted({s.image_id for s in train}, key=lambda key: _shuffle_key(seed, key))
    if images is None or images >= len(ids):
        return train
    kept = set(ids[:images])
    return [s for s in train if s.image_id in kept]


def _shuffle_key(seed: int, number: int) -> str:
    return hashlib.sha256(f"{seed}|{number}".encode()).hexdigest()


def check_files(data: TrainingSet, check: Callable[[], None] = lambda: None) -> TrainingSet:
    """Leave out images whose file is missing, unreadable or changed; StudioError if none stays.

    Reads every file once, which also warms the system's cache for encoding. ``check`` is called
    before each and may raise to stop.
    """
    bad: dict[int, str] = {}
    for image in data.images_of((*data.train, *data.validation)):
        check()
        try:
            image.read()
        except (StudioError, ImageError) as error:
            bad[image.id] = str(error)
    if not bad:
        return data
    left = data.without(set(bad), list(bad.values()))
    # `evaluate` brings no objects to train on, `adapt` cannot do without.
    if not left.train and (data.train or not left.validation):
        raise StudioError(f"No image to learn from can be read; the first problem: {_first(bad)}")
    return left


def _first(problems: Mapping[int, str]) -> str:
    return next(iter(problems.values()))


def evaluation_objects(
    samples: Sequence[Sample], limit: int | None, *, trusted_first: int | None = None
) -> tuple[list[Sample], int, bool]:
    """The objects to replay clicks on: (objects, how many were too small, untouched ones used).

    With ``trusted_first`` objects whose masks were taken over untouched count only where fewer
    than that many others exist. A limit takes objects from all images in turn.
    """
    large = [s for s in samples if s.area >= SMALLEST_EVALUATED]
    too_small = len(samples) - len(large)
    chosen, untouched = large, any(not s.trusted for s in large)
    if trusted_first is not None:
        trusted = [s for s in large if s.trusted]
        if len(trusted) >= trusted_first:
            chosen, untouched = trusted, False
        else:
            chosen = trusted + [s for s in large if not s.trusted]
    if limit is not None and len(chosen) > limit:
        chosen = in_turn(chosen)[:limit]
    return chosen, too_small, untouched


def in_turn(samples: Sequence[Sample]) -> list[Sample]:
    """First objects of every image, then the second ones; trusted ones before the others."""
    by_image: dict[int, int] = {}
    ranked = []
    for position, sample in enumerate(samples):
        rank = by_image.get(sample.image_id, 0)
        by_image[sample.image_id] = rank + 1
        ranked.append((not sample.trusted, rank, position, sample))
    return [sample for *_, sample in sorted(ranked, key=lambda item: item[:3])]
