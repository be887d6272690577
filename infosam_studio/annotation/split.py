"""The sticky split: which labelled images train and which only measure.

An image that was ever trained on says nothing about new images any more, and one that measures
must never be trained on; so each gets its part once, when it is first labelled, for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Labelled:
    """A labelled image as the split sees it."""

    id: int
    sha256: str
    page: int
    split: str | None


def assign_split(labelled: Iterable[Labelled]) -> dict[int, str]:
    """Parts ("train" or "val") for the images that have none.

    One in four labelled images is validation, the first one from four on. Images that come
    together are taken in an order given by their content, so that neither the order of names nor
    that of labelling decides; the same image under two names goes to one part.
    """
    known = list(labelled)
    counts = {"train": 0, "val": 0}
    parts: dict[tuple[str, int], str] = {}
    for image in known:
        if image.split is not None:
            counts[image.split] += 1
            # Where two copies were given different parts before they were known to be copies,
            # validation must not grow out of training.
            if parts.get((image.sha256, image.page)) != "train":
                parts[image.sha256, image.page] = image.split
    assigned: dict[int, str] = {}
    for image in sorted((i for i in known if i.split is None), key=_order):
        content = (image.sha256, image.page)
        part = parts.get(content)
        if part is None or not image.sha256:
            total = counts["train"] + counts["val"] + 1
            part = "val" if counts["val"] < total // 4 else "train"
        parts[content] = part
        counts[part] += 1
        assigned[image.id] = part
    return assigned


def _order(image: Labelled) -> tuple[str, int]:
    text = f"{image.sha256}:{image.page}" if image.sha256 else f"id {image.id}"
    return hashlib.sha256(text.encode()).hexdigest(), image.id
