"""A folder of real images with true masks as a project that a simulated person labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ImageRecord, ObjectRecord, Prompts
from infosam_studio.annotation.project import Project
from infosam_studio.annotation.regions import Region, region_around
from infosam_studio.segmentation.clicks import Replay, replay_many
from infosam_studio.segmentation.predictor import Embedding, Predictor
from infosam_studio.segmentation.prompts import ImageIdentity

SMALLEST = 20
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Item:
    """One image of a domain: its record in the project and its true index map."""

    record: ImageRecord
    index_map: Path

    def truth(self) -> list[Mask]:
        """The true objects of at least 20 pixels, bool [H, W] each, in the order of their ids."""
        index = np.asarray(Image.open(self.index_map))
        found = [index == value for value in np.unique(index[index > 0])]
        return [mask for mask in found if int(mask.sum()) >= SMALLEST]


class DomainProject:
    """A project in ``folder`` on the images of one part of a domain; close it with `close`."""

    def __init__(self, data: Path, domain: str, folder: Path, part: str = "train") -> None:
        root = data / domain
        meta = json.loads((root / "META.json").read_text("utf-8"))
        wanted = [one for one in meta["items"] if part in ("all", one["split"])]
        self.project = Project.create(folder, root / "images")
        records = self.project.add_images([root / one["image"] for one in wanted])
        self.items = [
            Item(record, root / one["mask"]) for record, one in zip(records, wanted, strict=True)
        ]
        self.split = {
            record.id: str(one["split"]) for record, one in zip(records, wanted, strict=True)
        }
        self.class_id = self.project.add_class("object").id

    def embedding(
        self, predictor: Predictor, record: ImageRecord, region: Region | None = None
    ) -> Embedding:
        """The image's embedding with the version in place, from the cache where it is there."""
        identity = ImageIdentity(record.sha256, record.page, record.view)
        found = predictor.cached(identity, region, (record.height, record.width))
        if found is not None:
            return found
        return predictor.encode(self.project.read_view(record), identity, region=region)

    def click_through(
        self,
        predictor: Predictor,
        record: ImageRecord,
        truth: Sequence[Mask],
        *,
        clicks: int,
        good: float,
        single_mask: bool = False,
    ) -> list[Replay]:
        """The protocol's clicks on each object until it is good, at most ``clicks``.

        Small objects are looked at closely, as by somebody who zooms in on them.
        """
        found: dict[int, Replay] = {}
        regions: dict[Region | None, list[int]] = {}
        for place, mask in enumerate(truth):
            regions.setdefault(near(predictor, record, mask), []).append(place)
        for region, places in regions.items():
            replays = replay_many(
                predictor,
                self.embedding(predictor, record, region),
                [truth[place] for place in places],
                clicks=clicks,
                multimask_first=not single_mask,
                box=False,
                stop_at=good,
            )
            found |= dict(zip(places, replays, strict=True))
        return [found[place] for place in range(len(truth))]

    def label_truth(self, item: Item, most: int | None = None, seed: int = 0) -> int:
        """Label an image with its true masks (a person who corrected them all); how many."""
        truth = chosen(item.truth(), most, seed + item.record.id)
        records = [self._record(item, mask, hand=True) for mask in truth]
        self.project.change_objects("Label", add=records)
        if most is None:
            self.project.update_image(item.record.id, state="done", fully_labelled=True)
        return len(records)

    def label_replayed(
        self, item: Item, truth: Sequence[Mask], replays: Sequence[Replay], good: float
    ) -> None:
        """Accept what clicking gave where it is good, else the true mask drawn by hand."""
        records = []
        for mask, replay in zip(truth, replays, strict=True):
            reached = replay.ious[-1] >= good
            shown = replay.mask if reached else mask
            clicks = tuple((float(x), float(y), int(label)) for x, y, label in replay.clicks)
            records.append(self._record(item, shown, hand=not reached, clicks=clicks))
        self.project.change_objects("Label", add=records)

    def _record(
        self, item: Item, mask: Mask, *, hand: bool, clicks: tuple[Any, ...] = ()
    ) -> ObjectRecord:
        return ObjectRecord(
            id=0,
            image_id=item.record.id,
            class_id=self.class_id,
            mask=masks.encode(mask),
            prompts=Prompts(points=clicks),
            clicks=len(clicks),
            hand_corrected=hand,
        )

    def close(self) -> None:
        """Let go of the project."""
        self.project.close()


def near(predictor: Predictor, record: ImageRecord, mask: Mask) -> Region | None:
    """What somebody sees who zooms in on an object; None: the whole image."""
    size = int(predictor.sam.image_encoder.img_size)
    x, y, width, height = masks.bbox(masks.encode(mask))
    return region_around((x, y, x + width, y + height), record.width, record.height, size)


def chosen(truth: Sequence[Mask], most: int | None, seed: int) -> list[Mask]:
    """At most ``most`` of an image's objects, drawn by the seed, in their order."""
    if most is None or len(truth) <= most:
        return list(truth)
    places = np.random.default_rng(seed).permutation(len(truth))[:most]
    return [truth[place] for place in sorted(places)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The cells done so far, one JSON object per line; a torn last line is left out."""
    lines = []
    if path.is_file():
        for text in path.read_text("utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
    return lines


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Keep one finished cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
