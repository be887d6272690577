"""The project as the window sees it: every change goes through here and is told to the panels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QObject, Signal

from infosam_studio.annotation.history import Step
from infosam_studio.annotation.images import ViewSettings
from infosam_studio.annotation.model import CLASS_COLORS, ClassRecord, ImageRecord, ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.ui.inference_messages import ImageJob

FIRST_CLASS = "object"
FEW = 20


def _moves(update: Mapping[int, Mapping[str, Any]] | None) -> bool:
    """Whether a change puts objects in another order or on another image."""
    return any("z" in fields or "image_id" in fields for fields in (update or {}).values())


@dataclass(frozen=True)
class Snapshot:
    """What the window shows of a project, read at one moment."""

    images: dict[int, ImageRecord]
    classes: dict[int, ClassRecord]
    counts: dict[int, int]
    current_id: int | None
    objects: dict[int, ObjectRecord]


def read_snapshot(project: Project, current_id: int | None) -> Snapshot:
    """Read everything, with the objects of one image; on any thread."""
    images = {record.id: record for record in project.images()}
    if current_id not in images:
        current_id = None
    objects = project.objects(current_id) if current_id is not None else []
    return Snapshot(
        images,
        {record.id: record for record in project.classes()},
        dict(project.object_counts(suggestions=False)),
        current_id,
        {one.id: one for one in objects},
    )


class Document(QObject):
    """One open project. Lives on the main thread; each edit is one short transaction.

    While ``busy`` a long step is being carried out elsewhere, and edits would have to wait for
    its end: the window allows none.
    """

    images_changed = Signal()
    image_changed = Signal(int)
    objects_changed = Signal(int)
    classes_changed = Signal()
    history_changed = Signal()
    current_changed = Signal()
    selection_changed = Signal()
    class_chosen = Signal(int)
    failed = Signal(str)

    def __init__(self, project: Project, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.project = project
        self._images: dict[int, ImageRecord] = {}
        self._classes: dict[int, ClassRecord] = {}
        self._counts: dict[int, int] = {}
        self.objects: dict[int, ObjectRecord] = {}
        self.current_id: int | None = None
        self.selected: tuple[int, ...] = ()
        self.class_id = 0
        self.busy = False
        self.reload()

    # reading -----------------------------------------------------------------------------

    def reload(self) -> None:
        """Read everything again, as after an import or an undo."""
        self.show(read_snapshot(self.project, self.current_id))

    def show(self, snapshot: Snapshot) -> None:
        """Take over what was read, and put its image on the canvas."""
        moved = snapshot.current_id != self.current_id
        self._images, self._counts = snapshot.images, snapshot.counts
        self.current_id = snapshot.current_id
        self._take_classes(snapshot.classes)
        self.images_changed.emit()
        self._take_objects(snapshot.objects)
        self.history_changed.emit()
        if moved:
            self.current_changed.emit()

    def _reload_classes(self) -> None:
        self._take_classes({record.id: record for record in self.project.classes()})

    def _take_classes(self, classes: dict[int, ClassRecord]) -> None:
        self._classes = classes
        if self.class_id not in self._classes:
            self.class_id = next(iter(self._classes), 0)
        self.classes_changed.emit()

    def _reload_objects(self) -> None:
        if self.current_id is not None and self.current_id in self._images:
            self._take_objects({one.id: one for one in self.project.objects(self.current_id)})
        else:
            self.current_id = None
            self._take_objects({})

    def _take_objects(self, objects: dict[int, ObjectRecord]) -> None:
        self.objects = objects
        self.selected = tuple(key for key in self.selected if key in self.objects)
        self.objects_changed.emit(self.current_id or 0)
        self.selection_changed.emit()

    def images(self) -> list[ImageRecord]:
        """All images in the project's order."""
        return list(self._images.values())

    def image(self, image_id: int) -> ImageRecord | None:
        """One image, None where there is no such id."""
        return self._images.get(image_id)

    @property
    def current(self) -> ImageRecord | None:
        """The image on the canvas."""
        return self._images.get(self.current_id) if self.current_id is not None else None

    def classes(self) -> list[ClassRecord]:
        """All classes by id."""
        return list(self._classes.values())

    def class_of(self, class_id: int) -> ClassRecord:
        """The class with this id; a grey one where it is unknown."""
        known = self._classes.get(class_id)
        if known is None and not class_id:
            known = ClassRecord(0, FIRST_CLASS, CLASS_COLORS[0])  # about to be made
        return known or ClassRecord(class_id, f"class {class_id}", "#888888")

    def count(self, image_id: int) -> int:
        """How many objects an image has; suggestions are none before they are accepted."""
        return self._counts.get(image_id, 0)

    def job(self, record: ImageRecord) -> ImageJob:
        """The image as reader and inference thread need it."""
        return ImageJob(
            record.id,
            self.project.image_path(record),
            record.sha256,
            record.width,
            record.height,
            ViewSettings.from_key(record.view, record.page),
        )

    # moving ------------------------------------------------------------------------------

    def open_image(self, image_id: int | None) -> None:
        """Put an image on the canvas."""
        if image_id == self.current_id:
            return
        self.current_id, self.selected = image_id, ()
        self._reload_objects()
        self.current_changed.emit()

    def select(self, object_ids: Sequence[int]) -> None:
        """Select objects of the current image."""
        chosen = tuple(key for key in object_ids if key in self.objects)
        if chosen != self.selected:
            self.selected = chosen
            self.selection_changed.emit()

    def choose_class(self, class_id: int) -> None:
        """The class of the next object; selected objects are re-labelled."""
        if class_id not in self._classes:
            return
        self.class_id = class_id
        self.class_chosen.emit(class_id)
        wrong = [key for key in self.selected if self.objects[key].class_id != class_id]
        if wrong:
            self.relabel(wrong, class_id)

    # edits -------------------------------------------------------------------------------

    def ensure_class(self) -> int:
        """The chosen class; made where the project has none yet."""
        if not self._classes:
            record = self.project.add_class(FIRST_CLASS)
            self.class_id = record.id
            self._reload_classes()
            self.class_chosen.emit(record.id)
        return self.class_id

    def known_class(self, class_id: int) -> int:
        """``class_id`` where there is such a class, else the chosen one."""
        return class_id if class_id in self._classes else self.ensure_class()

    def relabel(self, object_ids: Sequence[int], class_id: int) -> None:
        """Give objects another class, as one edit."""
        name = f"Label as {self.class_of(class_id).name}"
        self._update_many(object_ids, name, class_id=class_id)

    def exclude_objects(self, object_ids: Sequence[int], excluded: bool) -> None:
        """Leave objects out of training, or take them in again."""
        name = "Leave out of training" if excluded else "Use for training"
        self._update_many(object_ids, name, excluded=excluded)

    def _update_many(self, object_ids: Sequence[int], name: str, **fields: Any) -> None:
        if object_ids:
            self.change_objects(name, update=dict.fromkeys(object_ids, fields))

    def change_objects(
        self,
        name: str,
        *,
        add: Sequence[ObjectRecord] = (),
        update: Mapping[int, Mapping[str, Any]] | None = None,
        delete: Sequence[int] = (),
        clear_draft: bool = False,
    ) -> list[ObjectRecord]:
        """Commit additions, changes and deletions on the current image as one edit."""
        added = self.project.change_objects(
            name, add=add, update=update, delete=delete, clear_draft=clear_draft
        )
        changed = tuple(update or ())
        images = {self.current_id or 0} | {one.image_id for one in add}
        if len(changed) + len(delete) + len(added) <= FEW and not _moves(update):
            self._patch_objects(added, changed, delete)
            self._after_objects(images, reread=False)
        else:
            self._after_objects(images)
        return added

    def _patch_objects(
        self, added: Sequence[ObjectRecord], changed: Sequence[int], deleted: Sequence[int]
    ) -> None:
        """Bring the objects of the current image in step without reading the others again."""
        objects = dict(self.objects)
        for key in deleted:
            objects.pop(key, None)
        for key in changed:
            if key in objects:
                objects[key] = self.project.object(key)
        objects.update((one.id, one) for one in added if one.image_id == self.current_id)
        self._take_objects(objects)

    def delete_objects(self, object_ids: Sequence[int]) -> None:
        """Delete objects; undo brings them back."""
        if object_ids:
            count = len(object_ids)
            name = "Delete object" if count == 1 else f"Delete {count} objects"
            self.change_objects(name, delete=object_ids)

    def _after_objects(self, image_ids: set[int], *, reread: bool = True) -> None:
        self._counts = dict(self.project.object_counts(suggestions=False))
        if reread and self.current_id in image_ids:
            self._reload_objects()
        for image_id in image_ids:
            record = self._images.get(image_id)
            if record is not None:
                # The store itself moves an image between "untouched" and "in progress".
                self._images[image_id] = self.project.image(image_id)
            self.image_changed.emit(image_id)
        self.history_changed.emit()

    def update_image(self, image_id: int, **fields: Any) -> None:
        """Commit a change of an image's state, split or view."""
        self.project.update_image(image_id, **fields)
        self._images[image_id] = self.project.image(image_id)
        self.image_changed.emit(image_id)
        self.history_changed.emit()

    # classes -----------------------------------------------------------------------------

    def add_class(self, name: str) -> ClassRecord:
        """Commit a new class and choose it."""
        record = self.project.add_class(name)
        self._reload_classes()
        self.class_id = record.id
        self.class_chosen.emit(record.id)
        self.history_changed.emit()
        return record

    def rename_class(self, class_id: int, name: str) -> None:
        """Commit another name."""
        self.project.rename_class(class_id, name)
        self._reload_classes()
        self.history_changed.emit()

    def recolour_class(self, class_id: int, color: str) -> None:
        """Commit another colour, "#rrggbb"."""
        self.project.recolour_class(class_id, color)
        self._reload_classes()
        self.history_changed.emit()

    def merge_class(self, class_id: int, into: int) -> None:
        """Give all objects of a class another one and delete it, as one edit."""
        self.project.merge_classes([class_id], into)
        self.reload()

    def delete_class(self, class_id: int) -> None:
        """Delete a class with its objects; undo brings both back."""
        self.project.delete_class(class_id)
        self.reload()

    # undo --------------------------------------------------------------------------------

    def undo(self) -> str | None:
        """Take back the newest edit; returns its name, None where there is none."""
        return self._after_edit(self.project.undo())

    def redo(self) -> str | None:
        """Do again what was taken back last."""
        return self._after_edit(self.project.redo())

    def go_to(self, entry_id: int) -> None:
        """Undo or redo until history entry ``entry_id`` is the newest that holds."""
        self.project.go_to(entry_id)
        self.reload()

    def _after_edit(self, edit: Step | None) -> str | None:
        if edit is None:
            return None
        image_id = edit.image_id
        self.reload()
        # The user should see what changed, also where it was on another image.
        if image_id is not None and image_id in self._images:
            self.open_image(image_id)
        return edit.name

    def guarded(self, action: Any, *args: Any, **kwargs: Any) -> Any:
        """Run an edit; a refusal of the store becomes a message, never a crash."""
        try:
            return action(*args, **kwargs)
        except StudioError as problem:
            self.failed.emit(str(problem))
            return None
