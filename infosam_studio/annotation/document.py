"""The document: images, classes and objects, changed only by reversible edits.

Everything a person does is an ``Edit``, written together with what it changes in one transaction,
so the document and its history can never disagree. What is found out about files (images added,
moved, missing) and the split are facts, not edits: undoing past them must not forget them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from infosam_studio.annotation.document_rules import (
    begun,
    check_class,
    check_object,
    emptied,
    free_color,
    get_row,
    next_id,
    placed,
)
from infosam_studio.annotation.edits import Change, Edit
from infosam_studio.annotation.history import (
    ROW_CHANGES,
    HistoryEntry,
    Step,
    commit,
    go_to,
    is_long_redo,
    is_long_undo,
    is_long_way,
    redo,
    undo,
)
from infosam_studio.annotation.images import natural_order
from infosam_studio.annotation.model import (
    IMAGE_COLUMNS,
    IMAGE_STATES,
    ClassRecord,
    ImageRecord,
    ObjectRecord,
    class_from_row,
    class_row,
    image_from_row,
    image_row,
    object_from_row,
    object_row,
)
from infosam_studio.annotation.store import Store
from infosam_studio.annotation.store_errors import ProjectError

_EDITABLE_IMAGE_FIELDS = frozenset({"state", "fully_labelled", "excluded", "view"})
_IMAGES = f"SELECT {IMAGE_COLUMNS} FROM images"
_OBJECTS = "SELECT * FROM objects"
_IN_ORDER = " ORDER BY image_id, z, id"


@dataclass(frozen=True)
class _Bulk:
    """A step of several edits while it is being made; ``after``: the history's row before it."""

    name: str
    after: int


class Document:
    """The labels in a store. All methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._bulk: _Bulk | None = None

    # Images

    def images(self) -> list[ImageRecord]:
        """All images in natural order of their paths (2 before 10), folder by folder."""
        found = [image_from_row(row) for row in self._store.rows(_IMAGES)]
        return sorted(found, key=lambda image: (natural_order(image.path), image.page, image.id))

    def image(self, image_id: int) -> ImageRecord:
        """One image; ProjectError where there is none of that id."""
        row = self._store.row(_IMAGES + " WHERE id = ?", (image_id,))
        if row is None:
            raise ProjectError(f"There is no image {image_id} in this project; reload its list.")
        return image_from_row(row)

    def update_image(self, image_id: int, name: str | None = None, **fields: Any) -> ImageRecord:
        """Change state, fully_labelled, excluded or view; one edit."""
        return self.update_images([image_id], name, **fields)[0]

    def update_images(
        self, image_ids: Iterable[int], name: str | None = None, **fields: Any
    ) -> list[ImageRecord]:
        """The same change on several images as one edit."""
        unknown = fields.keys() - _EDITABLE_IMAGE_FIELDS
        if unknown:
            raise TypeError(f"an image's {', '.join(sorted(unknown))} cannot be edited")
        if fields.get("state", IMAGE_STATES[0]) not in IMAGE_STATES:
            raise ValueError(f"unknown image state {fields['state']!r}")
        ids = list(image_ids)
        with self._store.transaction() as db:
            changes = []
            for image_id in ids:
                before = image_from_row(get_row(db, "images", image_id, IMAGE_COLUMNS))
                changes += _update("images", image_id, image_row(before), before, fields, image_row)
            self._commit(db, Edit(name or _image_edit_name(fields), tuple(changes)))
        return [self.image(image_id) for image_id in ids]

    # Classes

    def classes(self) -> list[ClassRecord]:
        """All classes by id."""
        return [
            class_from_row(row) for row in self._store.rows("SELECT * FROM classes ORDER BY id")
        ]

    def add_class(
        self, name: str, color: str | None = None, *, supercategory: str = ""
    ) -> ClassRecord:
        """A new class; without a colour it gets the next one of a colour-blind-safe palette."""
        return self.add_classes([(name, color, supercategory)], f"Add class {name}")[0]

    def add_classes(
        self, classes: Sequence[tuple[str, str | None, str]], name: str = "Add classes"
    ) -> list[ClassRecord]:
        """New classes (name, colour or None, supercategory) as one edit."""
        with self._store.transaction() as db:
            first = next_id(db, "classes")
            added: list[ClassRecord] = []
            used = [row["color"] for row in db.execute("SELECT color FROM classes")]
            for number, (label, color, group) in enumerate(classes, first):
                record = ClassRecord(number, label.strip(), color or free_color(used), group)
                check_class(db, record, [c.name for c in added])
                used.append(record.color)
                added.append(record)
            changes = tuple(Change("classes", c.id, None, class_row(c)) for c in added)
            self._commit(db, Edit(name, changes))
        return added

    def update_class(self, class_id: int, name: str | None = None, **fields: Any) -> ClassRecord:
        """Change name, color or supercategory. (``name`` is the class's, not the edit's.)"""
        if name is not None:
            fields["name"] = name.strip()
        with self._store.transaction() as db:
            before = class_from_row(get_row(db, "classes", class_id))
            after = replace(before, **fields)
            check_class(db, after, [])
            changes = _update("classes", class_id, class_row(before), before, fields, class_row)
            label = f"Rename class to {after.name}" if name is not None else "Change class"
            self._commit(db, Edit(label, tuple(changes)))
        return after

    def rename_class(self, class_id: int, name: str) -> ClassRecord:
        """Give a class another name, which no other class may have."""
        return self.update_class(class_id, name)

    def recolour_class(self, class_id: int, color: str) -> ClassRecord:
        """Give a class another colour, "#rrggbb"."""
        return self.update_class(class_id, color=color)

    def merge_classes(self, class_ids: Iterable[int], into: int) -> None:
        """Make all objects of some classes objects of another, and delete the emptied ones."""
        with self._store.transaction() as db:
            target = class_from_row(get_row(db, "classes", into))
            changes: list[Change] = []
            for class_id in sorted(set(class_ids) - {into}):
                merged = class_from_row(get_row(db, "classes", class_id))
                rows = db.execute("SELECT id FROM objects WHERE class_id = ?", (class_id,))
                was, now = {"class_id": class_id}, {"class_id": into}
                changes += [Change("objects", row["id"], was, now) for row in rows]
                changes.append(Change("classes", class_id, class_row(merged), None))
            self._commit(db, Edit(f"Merge classes into {target.name}", tuple(changes)))

    def delete_class(self, class_id: int) -> None:
        """Delete a class with all its objects, as one step."""
        with self._store.transaction() as db:
            record = class_from_row(get_row(db, "classes", class_id))
            name = f"Delete class {record.name}"
            some = f"{_OBJECTS} WHERE class_id = ? LIMIT {ROW_CHANGES}"
            with self._step(name, db):
                while rows := db.execute(some, (class_id,)).fetchall():
                    changes = [_removal(row) for row in rows]
                    changes += emptied(db, changes)
                    self._commit(db, Edit(name, tuple(changes)))
                gone = Change("classes", class_id, class_row(record), None)
                self._commit(db, Edit(name, (gone,)))

    # Objects

    def objects(self, image_id: int | None = None) -> list[ObjectRecord]:
        """Objects of one image, or of all, the undermost first."""
        if image_id is None:
            rows = self._store.rows(_OBJECTS + _IN_ORDER)
        else:
            rows = self._store.rows(_OBJECTS + " WHERE image_id = ?" + _IN_ORDER, (image_id,))
        return [object_from_row(row) for row in rows]

    def object(self, object_id: int) -> ObjectRecord:
        """One object; ProjectError where there is none of that id."""
        row = self._store.row(_OBJECTS + " WHERE id = ?", (object_id,))
        if row is None:
            raise ProjectError(f"There is no object {object_id} in this project; reload its list.")
        return object_from_row(row)

    def object_counts(self, *, suggestions: bool = True) -> dict[int, int]:
        """Image id → number of objects, images without any left out."""
        rows = self._store.rows(
            "SELECT image_id, COUNT(*) AS n FROM objects"
            + ("" if suggestions else " WHERE source <> 'suggestion'")
            + " GROUP BY image_id"
        )
        return {row["image_id"]: row["n"] for row in rows}

    def class_counts(self) -> dict[int, int]:
        """Class id → number of objects, classes without any left out."""
        rows = self._store.rows("SELECT class_id, COUNT(*) AS n FROM objects GROUP BY class_id")
        return {row["class_id"]: row["n"] for row in rows}

    def add_objects(
        self,
        objs: Sequence[ObjectRecord],
        name: str = "Add object",
        *,
        clear_draft: bool = False,
    ) -> list[ObjectRecord]:
        """Add objects as one edit and return them with their ids and places (``z``)."""
        return self.change_objects(name, add=objs, clear_draft=clear_draft)

    def update_object(
        self,
        object_id: int,
        name: str = "Change object",
        *,
        clear_draft: bool = False,
        **fields: Any,
    ) -> ObjectRecord:
        """Change fields of one object as one edit."""
        self.change_objects(name, update={object_id: fields}, clear_draft=clear_draft)
        return self.object(object_id)

    def delete_objects(self, ids: Iterable[int], name: str = "Delete object") -> None:
        """Delete objects as one edit."""
        self.change_objects(name, delete=ids)

    def change_objects(
        self,
        name: str,
        *,
        add: Sequence[ObjectRecord] = (),
        update: Mapping[int, Mapping[str, Any]] | None = None,
        delete: Iterable[int] = (),
        clear_draft: bool = False,
    ) -> list[ObjectRecord]:
        """Add, change and delete objects as one edit (a split, a merge, an import).

        Returns the added objects. An untouched image, or one marked as empty, becomes "in
        progress" with its first object that is not a suggestion (an accepted one counts); one
        in progress becomes untouched again with its last. ``clear_draft`` removes the
        unfinished object in the same transaction, so that it is never both finished and
        unfinished.
        """
        with self._store.transaction() as db:
            changes: list[Change] = []
            accepted: list[ObjectRecord] = []
            for object_id, fields in (update or {}).items():
                before = object_from_row(get_row(db, "objects", object_id))
                after = replace(before, **fields)
                check_object(db, after)
                if before.source == "suggestion" and after.source != "suggestion":
                    accepted.append(after)
                row = object_row(before)
                changes += _update("objects", object_id, row, before, fields, object_row)
            removals = [_removal(get_row(db, "objects", object_id)) for object_id in delete]
            added = placed(db, add)
            inserts = [Change("objects", o.id, None, object_row(o)) for o in added]
            changes += removals + inserts
            labelled = [*added, *accepted]
            changes += begun(db, labelled) + emptied(db, removals, labelled)
            self._commit(db, Edit(name, tuple(changes)))
            if clear_draft:
                db.execute("DELETE FROM draft")
        return added

    # Edits and their history

    def apply(self, edit: Edit) -> None:
        """Make an edit: one committed transaction, and one step to undo.

        EditConflict, and nothing changed, where a row is not as the edit expects it.
        """
        with self._store.transaction() as db:
            self._commit(db, edit)

    @contextmanager
    def bulk(self, name: str) -> Iterator[None]:
        """Make all edits within one transaction and one step to undo, called ``name``.

        For imports: the edits may be many and together too large for memory. Other threads wait
        with their edits, and read the state before until the end. Where anything is raised
        nothing has happened. The unfinished object and settings take part.
        """
        with self._store.transaction() as db:
            if self._bulk is not None:
                raise RuntimeError("a bulk edit cannot hold another")
            with self._step(name, db):
                yield

    @contextmanager
    def _step(self, name: str, db: sqlite3.Connection) -> Iterator[None]:
        """Make what is committed within one step, part of the bulk edit where one is under way."""
        if self._bulk is not None:
            yield
            return
        self._bulk = _Bulk(name, next_id(db, "history") - 1)
        try:
            yield
        finally:
            self._bulk = None

    def _commit(self, db: sqlite3.Connection, edit: Edit) -> None:
        bulk = self._bulk
        if bulk is None:
            commit(db, edit)
        else:
            earlier = db.execute("SELECT 1 FROM history WHERE id > ? LIMIT 1", (bulk.after,))
            commit(db, Edit(bulk.name, edit.changes), continues=earlier.fetchone() is not None)

    def undo(self) -> Step | None:
        """Take back the newest step that holds; returns it, or None where there is none."""
        with self._store.transaction() as db:
            return undo(db)

    def redo(self) -> Step | None:
        """Make the oldest step taken back again; returns it, or None where there is none."""
        with self._store.transaction() as db:
            return redo(db)

    def go_to(self, entry_id: int) -> list[Step]:
        """Undo or redo until ``entry_id`` is the newest step that holds (0: none holds).

        Returns the steps taken back or made again, in that order, all in one transaction.
        """
        with self._store.transaction() as db:
            return go_to(db, entry_id)

    def is_long(self, kind: str, entry_id: int = 0) -> bool:
        """Whether "undo", "redo" or "go_to" (an entry) may take longer than a moment now."""
        if kind == "go_to":
            return is_long_way(self._store.rows, entry_id)
        return (is_long_undo if kind == "undo" else is_long_redo)(self._store.rows)

    def history(self, limit: int | None = None) -> list[HistoryEntry]:
        """All edits (or the newest ``limit``) from the oldest on, those taken back last."""
        rows = self._store.rows(
            "SELECT id, name, created, undone FROM history WHERE continues = 0 "
            "ORDER BY id DESC LIMIT ?",
            (-1 if limit is None else limit,),
        )
        return [HistoryEntry(r[0], r[1], r[2], bool(r[3])) for r in reversed(rows)]

    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._store.rows("SELECT 1 FROM history WHERE undone = 0 LIMIT 1"))

    def can_redo(self) -> bool:
        """Whether there is an edit to make again."""
        return bool(self._store.rows("SELECT 1 FROM history WHERE undone = 1 LIMIT 1"))


def _update(
    table: str,
    key: int,
    before_row: dict[str, Any],
    before: Any,
    fields: Mapping[str, Any],
    to_row: Any,
) -> list[Change]:
    """The change that sets the fields, naming only columns that differ; none where none does."""
    after_row = to_row(replace(before, **fields))
    touched = [column for column in after_row if after_row[column] != before_row[column]]
    if not touched:
        return []
    was = {column: before_row[column] for column in touched}
    return [Change(table, key, was, {column: after_row[column] for column in touched})]


def _removal(row: sqlite3.Row) -> Change:
    values = dict(row)
    return Change("objects", values.pop("id"), values, None)


def _image_edit_name(fields: Mapping[str, Any]) -> str:
    if "state" in fields:
        return f"Mark image as {str(fields['state']).replace('_', ' ')}"
    if "excluded" in fields:
        return "Leave image out" if fields["excluded"] else "Use image again"
    if "view" in fields:
        return "Change view of image"
    return "Mark image as fully labelled" if fields.get("fully_labelled") else "Change image"
