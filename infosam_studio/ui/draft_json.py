"""Unfinished objects as the project keeps them, so that a crash does not lose them."""

from __future__ import annotations

from typing import Any

from infosam_studio.annotation.masks import Rle
from infosam_studio.ui import crops
from infosam_studio.ui.batch import Batch
from infosam_studio.ui.draft import Candidate, Draft, Step, next_serial


def batch_to_json(batch: Batch, height: int, width: int) -> list[dict[str, Any]]:
    """Every draft of one image of that size, the active one marked."""
    return [
        {**draft_to_json(one, height, width), "active": one is batch.active} for one in batch.drafts
    ]


def batch_from_json(image_id: int, entries: list[dict[str, Any]]) -> Batch:
    """Rebuild a batch; undo goes through its prompts again in the order they were given."""
    batch = Batch(image_id)
    stored = [(draft_from_json(image_id, entry), entry) for entry in entries]
    numbers = [
        (step_entry.get("serial", 0), draft.steps[index])
        for draft, entry in stored
        for index, step_entry in enumerate(entry.get("steps", []))
    ]
    for _, step in sorted(numbers, key=lambda one: one[0]):
        step.serial = next_serial()
    for draft, entry in stored:
        if not draft.empty:
            batch.drafts.append(draft)
            if batch.active is None or entry.get("active", True):
                batch.active = draft
    batch.retrace()
    return batch


def draft_to_json(draft: Draft, height: int, width: int) -> dict[str, Any]:
    """One draft with the mask it shows."""

    def stored(crop: crops.Crop | None) -> dict[str, Any] | None:
        return crops.to_rle(crop, height, width).to_coco() if crop is not None else None

    for step in draft.steps:
        if step.by_hand and step.stored is None:
            step.stored = stored(step.edited)
    return {
        "steps": [
            {
                "serial": step.serial,
                "points": [list(point) for point in step.points],
                "boxes": [list(box) for box in step.boxes],
                "clicks": step.clicks,
                "name": step.name,
                "by_hand": step.by_hand,
                "edited": step.stored,
            }
            for step in draft.steps
        ],
        "mask": stored(draft.crop()),
        "base": stored(draft.base),
        "object_id": draft.object_id,
        "class_id": draft.class_id,
        "seconds": draft.seconds,
        "hand_corrected": draft.hand_corrected,
    }


def draft_from_json(image_id: int, data: dict[str, Any]) -> Draft:
    """Rebuild a draft; hand-made masks and the last one are exact, others are predicted again."""
    mask, base = _crop(data.get("mask")), _crop(data.get("base"))
    draft = Draft(
        image_id,
        base=base,
        object_id=data.get("object_id"),
        seconds=float(data.get("seconds", 0.0)),
        hand_corrected=bool(data.get("hand_corrected", False)),
        class_id=int(data.get("class_id", 0)),
    )
    edited = base
    for entry in data.get("steps", []):
        edited = _crop(entry.get("edited")) or edited
        draft.steps.append(_step_from_json(entry, edited))
    if mask is None:
        return draft
    if not draft.steps:
        draft.base = mask
        return draft
    last = draft.steps[-1]
    if last.by_hand:
        last.edited = mask
    else:
        last.candidates = (Candidate(mask, float("nan")),)
    return draft


def _crop(stored: dict[str, Any] | None) -> crops.Crop | None:
    return crops.from_rle(Rle.from_coco(stored)) if stored else None


def _step_from_json(entry: dict[str, Any], edited: crops.Crop | None) -> Step:
    return Step(
        next_serial(),
        points=tuple((float(x), float(y), int(label)) for x, y, label in entry["points"]),
        boxes=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in entry["boxes"]),
        edited=edited,
        clicks=int(entry["clicks"]),
        name=str(entry["name"]),
        by_hand=bool(entry["by_hand"]),
    )
