"""Corrections by hand: of the unfinished object, else of the selected ones."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.ui import crops, mask_ops
from infosam_studio.ui.canvas.layers import DRAFT_KEY, CanvasLayers
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.document import Document
from infosam_studio.ui.drafting import Drafting


class Editing(QObject):
    """What brush, polygon, knife and the mask operations change, and how it is committed."""

    told = Signal(str)

    def __init__(
        self, document: Document, drafting: Drafting, layers: CanvasLayers, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document, self._drafting, self._layers = document, drafting, layers

    # what is edited ----------------------------------------------------------------------

    @property
    def target_key(self) -> int:
        """The object being edited by hand; `DRAFT_KEY` for the unfinished or a new one."""
        selected = self._document.selected
        if self._drafting.draft is None and len(selected) == 1:
            return selected[0]
        return DRAFT_KEY

    def target(self) -> Crop:
        """Its mask; empty where a new object begins."""
        if self.target_key != DRAFT_KEY:
            return self._layers.crop_of(self.target_key) or crops.EMPTY
        draft = self._drafting.draft
        crop = draft.crop() if draft is not None else None
        return crop or crops.EMPTY

    def apply(self, crop: Crop, name: str) -> None:
        """Commit the target's new mask as one step."""
        image = self._document.current
        if image is None:
            return
        crop = mask_ops.clip(crop, image.width, image.height)
        key = self.target_key
        if key == DRAFT_KEY:
            if not (crop.empty and self._drafting.draft is None):
                self._drafting.set_mask(crop, name)
        elif crop.empty:
            self._document.guarded(self._document.delete_objects, (key,))
        else:
            self._update({key: crop}, name)

    def _update(self, masks: dict[int, Crop], name: str) -> None:
        image = self._document.current
        if image is None:
            return
        update = {}
        for key, crop in masks.items():
            before = self._document.objects[key]
            update[key] = {
                "mask": crops.to_rle(crop, image.height, image.width),
                "hand_corrected": True,
                "clicks": before.clicks + 1,
                "seconds": before.seconds + self._drafting.clock.take(),
            }
        self._document.guarded(self._document.change_objects, name, update=update)

    # operations --------------------------------------------------------------------------

    def run(self, operation: str) -> None:
        """One of `mask_ops.OPERATIONS` on the unfinished object, else on all selected ones."""
        name, function = mask_ops.OPERATIONS[operation]
        if self._drafting.draft is not None:
            crop = self.target()
            if not crop.empty:
                self._drafting.set_mask(self._clip(function(crop)), name)
            return
        changed = {}
        for key in self._document.selected:
            before = self._layers.crop_of(key)
            after = self._clip(function(before)) if before is not None else crops.EMPTY
            if before is not None and not after.empty and not _same(before, after):
                changed[key] = after
        if changed:
            self._update(changed, name)
        elif self._document.selected:
            self.told.emit(f"{name}: nothing to change.")
        else:
            self.told.emit("Select an object first (Ctrl+click).")

    def _clip(self, crop: Crop) -> Crop:
        image = self._document.current
        return mask_ops.clip(crop, image.width, image.height) if image else crops.EMPTY

    def merge(self) -> None:
        """Make one object of the selected ones; the first keeps its class."""
        selected, image = self._document.selected, self._document.current
        if len(selected) < 2 or image is None:
            self.told.emit("Select two or more objects to merge (Ctrl+Shift+click).")
            return
        merged = crops.EMPTY
        for key in selected:
            merged = crops.combine(merged, self._layers.crop_of(key) or crops.EMPTY, "union")
        first = self._document.objects[selected[0]]
        others = [self._document.objects[key] for key in selected[1:]]
        fields = {
            "mask": crops.to_rle(merged, image.height, image.width),
            "clicks": first.clicks + sum(one.clicks for one in others) + 1,
            "seconds": first.seconds + sum(one.seconds for one in others),
            "hand_corrected": True,
        }
        self._document.guarded(
            self._document.change_objects,
            f"Merge {len(selected)} objects",
            update={first.id: fields},
            delete=[one.id for one in others],
        )

    def subtract_others(self) -> None:
        """Take away from the object what belongs to its neighbours."""
        crop, own = self.target(), self.target_key
        if crop.empty:
            self.told.emit("Select one object first (Ctrl+click).")
            return
        draft = self._drafting.draft
        refined = draft.object_id if draft is not None else None
        left = crop
        for key in self._document.objects:
            other = self._layers.crop_of(key)
            if key in (own, refined) or other is None:
                continue
            if crops.intersect(left.rect, other.rect) is not None:
                left = crops.combine(left, other, "subtract")
        if _same(left, crop):
            self.told.emit("No neighbour overlaps this object.")
        else:
            self.apply(left, "Subtract neighbours")

    def cut(self, line: list[tuple[float, float]]) -> None:
        """Split the target (or whatever single object the line divides) along a line."""
        image = self._document.current
        if image is None:
            return
        if self._drafting.draft is not None:
            parts = mask_ops.cut(self.target(), line)
            if len(parts) > 1:
                self._drafting.set_mask(parts[0], "Cut")
            return
        keys = self._document.selected or tuple(self._document.objects)
        for key in keys:
            crop = self._layers.crop_of(key)
            parts = mask_ops.cut(crop, line) if crop is not None else []
            if len(parts) > 1:
                self._split(self._document.objects[key], parts)
                return
        self.told.emit("Draw the cut right across an object.")

    def _split(self, record: ObjectRecord, parts: list[Crop]) -> None:
        image = self._document.current
        assert image is not None
        rles = [crops.to_rle(part, image.height, image.width) for part in parts]
        fresh = [
            ObjectRecord(
                id=0,
                image_id=image.id,
                class_id=record.class_id,
                mask=rle,
                adapter=record.adapter,
                hand_corrected=True,
            )
            for rle in rles[1:]
        ]
        first = {"mask": rles[0], "hand_corrected": True, "clicks": record.clicks + 1}
        self._document.guarded(
            self._document.change_objects,
            f"Split into {len(parts)}",
            add=fresh,
            update={record.id: first},
        )


def _same(first: Crop, second: Crop) -> bool:
    return first.rect == second.rect and bool((first.pixels == second.pixels).all())
