"""Keeps the unfinished objects of all images in the project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infosam_studio.ui.batch import Batch
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft_json import batch_from_json, batch_to_json


def keep_batches(document: Document, batches: Mapping[int, Batch], seconds: float) -> None:
    """Write what is unfinished; ``seconds`` were spent on the active object since its last step.

    Raises `StudioError` where the project cannot be written.
    """
    project = document.project
    if project.read_only:
        return
    kept = {}
    for image_id, batch in batches.items():
        image = document.image(image_id)
        if image is not None and batch.drafts:
            kept[image_id] = batch_to_json(batch, image.height, image.width)
    current = document.current_id
    first = current if current in kept else next(iter(kept), None)
    if first is None:
        project.save_draft(None, None)
    else:
        images = {str(image_id): drafts for image_id, drafts in kept.items()}
        project.save_draft(first, {"images": images, "seconds": seconds})


def kept_batches(document: Document) -> dict[int, Batch]:
    """What an earlier session left unfinished, the image that was open first."""
    stored = document.project.draft()
    if stored is None:
        return {}
    first, data = stored
    images: dict[str, Any] = data.get("images", {str(first): [data]})  # before there were several
    batches = {}
    for image_id in sorted((int(key) for key in images), key=lambda key: key != first):
        if document.image(image_id) is not None:
            batches[image_id] = batch_from_json(image_id, images[str(image_id)])
    active = batches[first].active if first in batches else None
    if active is not None and "images" in data:
        active.seconds += float(data["seconds"])
    return batches
