"""From unfinished objects to accepted ones: one edit of the project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infosam_studio.annotation.effort import FIRST_IOU, first_iou
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui import crops
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.suggestion_rules import accepted_fields, is_suggestion


def commit(document: Document, drafts: list[Draft], adapter: str | None) -> list[int]:
    """Store unfinished objects of the current image as one edit; returns their ids."""
    image = document.current
    assert image is not None
    added: list[ObjectRecord] = []
    updated: dict[int, dict[str, Any]] = {}
    for draft in drafts:
        crop = draft.crop()
        assert crop is not None
        fields: dict[str, Any] = {
            "mask": crops.to_rle(crop, image.height, image.width),
            "prompts": draft.prompts(image.height, image.width),
            "adapter": adapter,
            "hand_corrected": draft.hand_corrected,
            "class_id": document.known_class(draft.class_id),
            "clicks": draft.clicks,
            "seconds": draft.seconds,
        }
        first = draft.first_crop()
        if first is not None:
            # How good the model was by itself: what the effort report shows over time.
            rle = crops.to_rle(first, image.height, image.width)
            fields["extra"] = {FIRST_IOU: first_iou(rle, fields["mask"])}
        before = document.objects.get(draft.object_id) if draft.object_id else None
        if before is None:
            added.append(ObjectRecord(id=0, image_id=image.id, **fields))
        else:
            fields["clicks"] += before.clicks
            fields["seconds"] += before.seconds
            fields["extra"] = {**before.extra, **fields.get("extra", {})}
            if is_suggestion(before):
                fields |= accepted_fields(replace(before, extra=fields["extra"]))
            updated[before.id] = fields
    name = _edit_name(document, added, len(updated))
    made = document.change_objects(name, add=added, update=updated, clear_draft=True)
    return [*updated, *(one.id for one in made)]


def _edit_name(document: Document, added: list[ObjectRecord], refined: int) -> str:
    if not added:
        return "Refine object" if refined == 1 else f"Refine {refined} objects"
    names = {document.class_of(one.class_id).name for one in added}
    if len(added) == 1 and not refined:
        return f"Add {names.pop()}"
    if refined or len(names) > 1:
        return f"Add {len(added) + refined} objects"
    return f"Add {len(added)} × {names.pop()}"
