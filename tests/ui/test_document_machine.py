"""Random edits, undo, redo and restarts: the document equals its replay on a fresh project.

The window keeps what it shows in memory; after every step that must equal what the store holds,
and what the store holds must equal the edits still in effect, done again from the beginning.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from PIL import Image

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord, Prompts
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.ui.batch import Batch
from infosam_studio.ui.document import Document
from infosam_studio.ui.draft import Draft
from infosam_studio.ui.draft_json import batch_from_json, batch_to_json

SIZE = (24, 32)
IMAGES = 3
Names = dict[str, int]
Op = Callable[[Document, Names], object]
seeds = st.integers(0, 30)
places = st.integers(0, 100)


def bitmap(seed: int) -> masks.Rle:
    return masks.encode(np.random.default_rng(seed).random(SIZE) < 0.3)


def write_images(folder: Path) -> None:
    folder.mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def picture(document: Document, names: Names) -> dict[str, Any]:
    """Everything a person could see, with names of the test's own instead of ids."""
    called = {key: name for name, key in names.items() if name.startswith("o")}
    kinds = {one.id: one.name for one in document.classes()}
    paths = {one.id: one.path for one in document.images()}
    objects = {}
    for one in document.project.objects():
        stripped = replace(one, id=0, image_id=0, class_id=0, z=0)
        objects[called[one.id]] = (paths[one.image_id], kinds[one.class_id], stripped)
    return {
        "images": [replace(one, id=0) for one in document.images()],
        "classes": [(one.name, one.color) for one in document.classes()],
        "objects": objects,
    }


def kept(document: Document) -> dict[str, Any]:
    """What the document holds in memory."""
    return {
        "images": document.images(),
        "classes": document.classes(),
        "objects": document.objects,
        "counts": {one.id: document.count(one.id) for one in document.images()},
        "selected": document.selected,
        "current": document.current_id,
    }


class DocumentMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="document-"))
        self.done: list[Op] = []
        self.undone: list[Op] = []
        self.names: Names = {}
        self.given = 0

    @initialize()
    def begin(self) -> None:
        write_images(self.place / "images")
        self.document = Document(self.fresh("live"))
        self.document.open_image(self.document.images()[0].id)

    def fresh(self, name: str) -> Project:
        project = Project.create(self.place / name, self.place / "images")
        project.scan()
        return project

    def teardown(self) -> None:
        if hasattr(self, "document"):
            self.check_replay()
            self.document.project.close()
        shutil.rmtree(self.place)

    # helpers -----------------------------------------------------------------------------

    def newest(self) -> int:
        """The id of the newest edit in effect."""
        held = [entry.id for entry in self.document.project.history() if not entry.undone]
        return held[-1] if held else 0

    def do(self, op: Op) -> None:
        before = self.newest()
        try:
            op(self.document, self.names)
        except StudioError:
            assert self.newest() == before
            return
        if self.newest() != before:
            self.done.append(op)
            self.undone.clear()

    def object_name(self, place: int) -> str:
        """One of the objects of the image on the canvas."""
        here = {key: name for name, key in self.names.items() if name.startswith("o")}
        found = sorted(here[key] for key in self.document.objects)
        return found[place % len(found)]

    def class_name(self, place: int) -> str:
        return self.document.classes()[place % len(self.document.classes())].name

    def new_names(self, count: int) -> list[str]:
        self.given += count
        return [f"o{self.given - number}" for number in range(count)]

    def has_objects(self) -> bool:
        return hasattr(self, "document") and bool(self.document.objects)

    def has_classes(self) -> bool:
        return hasattr(self, "document") and bool(self.document.classes())

    # edits -------------------------------------------------------------------------------

    @rule(place=places, count=st.integers(1, 3), seed=seeds, clear=st.booleans())
    def accept(self, place: int, count: int, seed: int, clear: bool) -> None:
        """Objects as they are accepted: several at once are one edit."""
        fresh, path = self.new_names(count), self.current_path()
        kind = self.class_name(place) if self.document.classes() else ""

        def op(document: Document, names: Names) -> None:
            open_path(document, path)
            wanted = class_id(document, kind) if kind else document.ensure_class()
            image_id = document.current_id or 0
            records = [
                ObjectRecord(0, image_id, wanted, bitmap(seed + n), Prompts(((1.0, n, 1),)))
                for n in range(count)
            ]
            added = document.change_objects("Add", add=records, clear_draft=clear)
            names |= {name: one.id for name, one in zip(fresh, added, strict=True)}

        if kind:
            self.do(op)
        else:  # the first object makes its class: an edit of its own
            self.do(lambda document, names: document.ensure_class())
            self.accept(place=0, count=count, seed=seed, clear=clear)

    @precondition(has_objects)
    @rule(place=places, seed=seeds)
    def brush(self, place: int, seed: int) -> None:
        name, path = self.object_name(place), self.current_path()
        fields = {"mask": bitmap(seed), "hand_corrected": True, "seconds": float(seed)}

        def op(document: Document, names: Names) -> None:
            open_path(document, path)
            document.change_objects("Brush", update={names[name]: fields})

        self.do(op)

    @precondition(has_objects)
    @rule(place=places, second=places, seed=seeds)
    def split_or_merge(self, place: int, second: int, seed: int) -> None:
        """One becomes two, or two become one: addition, change and deletion in one edit."""
        first, other = self.object_name(place), self.object_name(second)
        fresh, path = self.new_names(1), self.current_path()

        def op(document: Document, names: Names) -> None:
            open_path(document, path)
            record = document.objects[names[first]]
            update = {record.id: {"mask": bitmap(seed), "clicks": record.clicks + 1}}
            if first != other:
                document.change_objects("Merge", update=update, delete=[names[other]])
                return
            part = replace(record, id=0, z=0, mask=bitmap(seed + 1))
            added = document.change_objects("Split", update=update, add=[part])
            names[fresh[0]] = added[0].id

        self.do(op)

    @precondition(has_objects)
    @rule(place=places, kind=places, what=st.sampled_from(["class", "excluded", "delete"]))
    def change(self, place: int, kind: int, what: str) -> None:
        name, path, label = self.object_name(place), self.current_path(), self.class_name(kind)

        def op(document: Document, names: Names) -> None:
            open_path(document, path)
            ids = [names[name]]
            if what == "class":
                document.relabel(ids, class_id(document, label))
            elif what == "excluded":
                document.exclude_objects(ids, not document.objects[ids[0]].excluded)
            else:
                document.delete_objects(ids)

        self.do(op)

    @rule(state=st.sampled_from(["untouched", "done", "empty", "flagged", "excluded"]))
    def mark(self, state: str) -> None:
        path = self.current_path()

        def op(document: Document, names: Names) -> None:
            open_path(document, path)
            image = document.current
            assert image is not None
            if state == "excluded":
                document.update_image(image.id, excluded=not image.excluded)
            else:
                document.update_image(image.id, state=state, fully_labelled=state == "done")

        self.do(op)

    @rule(name=st.text("abcde", min_size=1, max_size=2))
    def add_class(self, name: str) -> None:
        self.do(lambda document, names: document.add_class(name))

    @precondition(has_classes)
    @rule(place=places, name=st.text("fghij", min_size=1, max_size=2))
    def rename_class(self, place: int, name: str) -> None:
        old = self.class_name(place)
        self.do(lambda document, names: document.rename_class(class_id(document, old), name))

    @precondition(has_classes)
    @rule(place=places, color=st.sampled_from(["#102030", "#a0b0c0"]))
    def recolour_class(self, place: int, color: str) -> None:
        old = self.class_name(place)
        self.do(lambda document, names: document.recolour_class(class_id(document, old), color))

    @precondition(has_classes)
    @rule(place=places, into=places)
    def merge_or_delete_class(self, place: int, into: int) -> None:
        old, other = self.class_name(place), self.class_name(into)
        if old == other:
            self.do(lambda document, names: document.delete_class(class_id(document, old)))
        else:
            self.do(
                lambda document, names: document.merge_class(
                    class_id(document, old), class_id(document, other)
                )
            )

    # what is no edit ---------------------------------------------------------------------

    @rule(place=places)
    def open_another(self, place: int) -> None:
        self.document.open_image(self.document.images()[place % IMAGES].id)

    @precondition(has_objects)
    @rule(place=places)
    def select(self, place: int) -> None:
        self.document.select([self.names[self.object_name(place)]])

    @rule(seed=seeds)
    def draft(self, seed: int) -> None:
        self.document.project.save_draft(self.document.current_id, {"seed": seed})

    @rule()
    def undo(self) -> None:
        assert (self.document.undo() is not None) == bool(self.done)
        if self.done:
            self.undone.append(self.done.pop())

    @rule()
    def redo(self) -> None:
        assert (self.document.redo() is not None) == bool(self.undone)
        if self.undone:
            self.done.append(self.undone.pop())

    @rule(place=places)
    def go_to(self, place: int) -> None:
        history = self.document.project.history()
        ops = [*self.done, *reversed(self.undone)]
        target = place % (len(ops) + 1)
        self.document.go_to(history[target - 1].id if target else 0)
        self.done, self.undone = ops[:target], list(reversed(ops[target:]))

    @rule()
    def restart(self) -> None:
        current = self.document.current_id
        folder = self.document.project.folder
        self.document.project.close()
        self.document = Document(Project.open(folder))
        self.document.open_image(current)

    # what must hold ----------------------------------------------------------------------

    @invariant()
    def memory_equals_store(self) -> None:
        if not hasattr(self, "document"):
            return
        again = Document(self.document.project)
        again.open_image(self.document.current_id)
        again.select(self.document.selected)
        assert kept(self.document) == kept(again)
        history = self.document.project.history()
        flags = [False] * len(self.done) + [True] * len(self.undone)
        assert [entry.undone for entry in history] == flags

    @rule()
    def check_replay(self) -> None:
        """Slower, so not after every step: the edits in effect give the same from nothing."""
        shutil.rmtree(self.place / "replay", ignore_errors=True)
        with self.fresh("replay") as project:
            replay, names = Document(project), Names()
            for op in self.done:
                op(replay, names)
            assert picture(replay, names) == picture(self.document, self.names)

    def current_path(self) -> str:
        image = self.document.current
        assert image is not None
        return image.path


def open_path(document: Document, path: str) -> None:
    document.open_image(next(one.id for one in document.images() if one.path == path))


def class_id(document: Document, name: str) -> int:
    return next(one.id for one in document.classes() if one.name == name)


TestDocument = DocumentMachine.TestCase
TestDocument.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class BatchMachine(RuleBasedStateMachine):
    """Several unfinished objects: undo and redo walk through what was seen, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.batch = Batch(1)
        self.seen: list[Any] = [self.look()]
        self.at = 0

    def look(self) -> Any:
        """The drafts in their order with the steps of each."""
        return [tuple(step.serial for step in one.steps) for one in self.batch.drafts]

    def did(self) -> None:
        del self.seen[self.at + 1 :]
        self.seen.append(self.look())
        self.at += 1

    @rule(new=st.booleans())
    def box(self, new: bool) -> None:
        if new:
            self.batch.park(1)
        self.batch.own().add_box(1, 1, 9, 9)
        self.batch.stepped(self.batch.own())
        self.did()

    @rule()
    def point(self) -> None:
        self.batch.own().add_point(3, 4, 1)
        self.batch.stepped(self.batch.own())
        self.did()

    @precondition(lambda self: self.batch.drafts)
    @rule(place=places)
    def dismiss(self, place: int) -> None:
        self.batch.dismiss(self.batch.drafts[place % len(self.batch.drafts)])
        self.did()

    @precondition(lambda self: self.batch.drafts)
    @rule(place=places)
    def activate(self, place: int) -> None:
        self.batch.activate(self.batch.drafts[place % len(self.batch.drafts)])

    @rule()
    def undo(self) -> None:
        assert self.batch.undo() == (self.at > 0)
        self.at = max(0, self.at - 1)

    @rule()
    def redo(self) -> None:
        assert (self.batch.redo() is not None) == (self.at + 1 < len(self.seen))
        self.at = min(self.at + 1, len(self.seen) - 1)

    @invariant()
    def as_it_was(self) -> None:
        assert self.look() == self.seen[self.at]
        assert self.batch.active is None or self.batch.active in self.batch.drafts

    @invariant()
    def survives_a_restart(self) -> None:
        again = batch_from_json(1, batch_to_json(self.batch, *SIZE))

        def content(drafts: list[Draft]) -> Any:
            return [[(step.points, step.boxes, step.clicks) for step in d.steps] for d in drafts]

        assert content(again.drafts) == content(self.batch.drafts)


TestBatch = BatchMachine.TestCase
TestBatch.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
