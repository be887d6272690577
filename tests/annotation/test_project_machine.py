"""Random edits, undo, redo and restarts: the project equals a plain model of it."""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from annotation_helpers import make_object, write_images
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from infosam_studio.annotation.model import ClassRecord, ImageRecord, ObjectRecord
from infosam_studio.annotation.project import Project

IMAGES = 3
seeds = st.integers(0, 50)
chosen_objects = st.lists(st.tuples(st.integers(1, IMAGES), seeds), min_size=1, max_size=3)
places = st.integers(0, 1000)  # which one, counted modulo how many there are


@dataclass
class Model:
    """The document as plain dictionaries."""

    images: dict[int, ImageRecord] = field(default_factory=dict)
    classes: dict[int, ClassRecord] = field(default_factory=dict)
    objects: dict[int, ObjectRecord] = field(default_factory=dict)

    def begin(self, image_id: int) -> None:
        if self.images[image_id].state in ("untouched", "empty"):
            self.images[image_id] = replace(self.images[image_id], state="in_progress")

    def empty(self, image_ids: set[int]) -> None:
        for image_id in image_ids:
            left = any(o.image_id == image_id for o in self.objects.values())
            if not left and self.images[image_id].state == "in_progress":
                self.images[image_id] = replace(self.images[image_id], state="untouched")


class ProjectMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="machine-"))
        self.done: list[Model] = []
        self.undone: list[Model] = []
        self.model = Model()
        self.given = {"objects": 0, "classes": 0}

    @initialize()
    def begin(self) -> None:
        write_images(self.place / "images", IMAGES)
        self.project = Project.for_path(self.place / "images")
        self.project.scan()
        self.model.images = {image.id: image for image in self.project.images()}

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.close()
        shutil.rmtree(self.place)

    def step(self) -> Model:
        """A new state of the model, entered in its history."""
        self.done.append(copy.deepcopy(self.model))
        self.undone.clear()
        return self.model

    def one(self, table: dict[int, object], place: int) -> int:
        return sorted(table)[place % len(table)]

    @rule(name=st.text("abcdefgh", min_size=1, max_size=2))
    def add_class(self, name: str) -> None:
        if name in [c.name for c in self.model.classes.values()]:
            return
        added = self.project.add_class(name)
        self.given["classes"] += 1
        assert added.id == self.given["classes"]
        self.step().classes[added.id] = added

    @precondition(lambda self: self.model.classes)
    @rule(place=places, name=st.text("ijklm", min_size=1, max_size=3))
    def rename_class(self, place: int, name: str) -> None:
        class_id = self.one(self.model.classes, place)
        if name in [c.name for c in self.model.classes.values()]:
            return
        self.project.rename_class(class_id, name)
        self.step().classes[class_id] = replace(self.model.classes[class_id], name=name)

    @precondition(lambda self: len(self.model.classes) > 1)
    @rule(place=places)
    def merge_classes(self, place: int) -> None:
        merged, into = self.one(self.model.classes, place), self.one(self.model.classes, place + 1)
        self.project.merge_classes([merged], into=into)
        model = self.step()
        del model.classes[merged]
        for object_id, obj in model.objects.items():
            if obj.class_id == merged:
                model.objects[object_id] = replace(obj, class_id=into)

    @precondition(lambda self: self.model.classes)
    @rule(place=places)
    def delete_class(self, place: int) -> None:
        class_id = self.one(self.model.classes, place)
        self.project.delete_class(class_id)
        model = self.step()
        del model.classes[class_id]
        self.remove(model, {k for k, o in model.objects.items() if o.class_id == class_id})

    @precondition(lambda self: self.model.classes)
    @rule(
        place=places,
        chosen=st.lists(st.tuples(st.integers(1, IMAGES), seeds), min_size=1, max_size=3),
    )
    def add_objects(self, place: int, chosen: list[tuple[int, int]]) -> None:
        class_id = self.one(self.model.classes, place)
        added = self.project.add_objects([make_object(i, class_id, s) for i, s in chosen])
        model = self.step()
        for obj, (image_id, seed) in zip(added, chosen, strict=True):
            self.given["objects"] += 1
            others = [o.z for o in model.objects.values() if o.image_id == image_id]
            expected = make_object(
                image_id, class_id, seed, id=self.given["objects"], z=max(others, default=0) + 1
            )
            assert obj == expected
            model.objects[obj.id] = expected
            model.begin(image_id)

    @precondition(lambda self: self.model.objects)
    @rule(place=places, seed=seeds, seconds=st.floats(0, 1e6), adapter=st.none() | st.text("ab"))
    def correct(self, place: int, seed: int, seconds: float, adapter: str | None) -> None:
        object_id = self.one(self.model.objects, place)
        fields = {
            "mask": make_object(1, 1, seed).mask,
            "seconds": seconds,
            "adapter": adapter,
            "hand_corrected": True,
        }
        after = replace(self.model.objects[object_id], **fields)
        if after != self.model.objects[object_id]:
            self.project.update_object(object_id, "Brush", **fields)
            self.step().objects[object_id] = after

    @precondition(lambda self: self.model.objects)
    @rule(place=places, count=st.integers(1, 3))
    def delete_objects(self, place: int, count: int) -> None:
        ids = {self.one(self.model.objects, place + k) for k in range(count)}
        self.project.delete_objects(sorted(ids))
        self.remove(self.step(), ids)

    @precondition(lambda self: self.model.objects)
    @rule(place=places, first=seeds, second=seeds)
    def split(self, place: int, first: int, second: int) -> None:
        object_id = self.one(self.model.objects, place)
        old = self.model.objects[object_id]
        parts = [make_object(old.image_id, old.class_id, seed) for seed in (first, second)]
        added = self.project.change_objects("Split", add=parts, delete=[object_id])
        model = self.step()
        del model.objects[object_id]
        model.objects |= {obj.id: obj for obj in added}
        model.begin(old.image_id)
        self.given["objects"] += 2

    @rule(image_id=st.integers(1, IMAGES), state=st.sampled_from(["done", "empty", "flagged"]))
    def mark(self, image_id: int, state: str) -> None:
        if self.model.images[image_id].state != state:
            self.project.update_image(image_id, state=state)
            image = self.step().images[image_id]
            self.model.images[image_id] = replace(image, state=state)

    @rule()
    def undo(self) -> None:
        edit = self.project.undo()
        assert (edit is None) == (not self.done)
        if self.done:
            self.undone.append(self.model)
            self.model = self.done.pop()

    @rule()
    def redo(self) -> None:
        edit = self.project.redo()
        assert (edit is None) == (not self.undone)
        if self.undone:
            self.done.append(self.model)
            self.model = self.undone.pop()

    @rule(place=places)
    def go_to(self, place: int) -> None:
        history = self.project.history()
        states = [*self.done, self.model, *reversed(self.undone)]
        target = place % len(states)
        self.project.go_to(history[target - 1].id if target else 0)
        self.done, self.model = states[:target], states[target]
        self.undone = list(reversed(states[target + 1 :]))

    @rule()
    def restart(self) -> None:
        self.project.close()
        self.project = Project.open(self.project.folder)

    def remove(self, model: Model, ids: set[int]) -> None:
        touched = {model.objects[object_id].image_id for object_id in ids}
        for object_id in ids:
            del model.objects[object_id]
        model.empty(touched)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "project"):
            return
        assert {i.id: i for i in self.project.images()} == self.model.images
        assert {c.id: c for c in self.project.classes()} == self.model.classes
        assert {o.id: o for o in self.project.objects()} == self.model.objects
        history = self.project.history()
        assert [e.undone for e in history] == [False] * len(self.done) + [True] * len(self.undone)


TestProject = ProjectMachine.TestCase
TestProject.settings = settings(max_examples=30, stateful_step_count=30)
