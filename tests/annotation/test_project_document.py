"""Images, classes and objects of a project: what each command does, and takes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from annotation_helpers import HEIGHT, WIDTH, make_object

from infosam_studio.annotation import masks
from infosam_studio.annotation.edits import Change, Edit, EditConflict
from infosam_studio.annotation.model import CLASS_COLORS, ClassRecord, Prompts
from infosam_studio.annotation.project import Project, ProjectError


def document(project: Project) -> tuple[Any, ...]:
    return project.images(), project.classes(), project.objects()


COMMANDS: dict[str, Callable[[Project], object]] = {
    "Add class nucleus": lambda p: p.add_class("nucleus"),
    "Rename class to blob": lambda p: p.rename_class(1, "blob"),
    "Change class": lambda p: p.recolour_class(1, "#123456"),
    "Merge classes into leaf": lambda p: p.merge_classes([1], into=2),
    "Delete class cell": lambda p: p.delete_class(1),
    "Add object": lambda p: p.add_objects([make_object(1, 1, 9), make_object(3, 2, 8)]),
    "Change object": lambda p: p.update_object(1, class_id=2, clicks=7, seconds=1.25),
    "Brush": lambda p: p.update_object(1, "Brush", mask=masks.empty(HEIGHT, WIDTH)),
    "Delete object": lambda p: p.delete_objects([1, 2]),
    "Split": lambda p: p.change_objects("Split", add=[make_object(1, 1, 5)], delete=[1]),
    "Mark image as done": lambda p: p.update_image(1, state="done", fully_labelled=True),
    "Leave image out": lambda p: p.update_images([1, 2], excluded=True),
    "Change view of image": lambda p: p.update_image(2, view='{"channels":[0]}'),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_one_named_step_back_and_forth(project: Project, name: str) -> None:
    project.add_class("leaf")
    project.add_objects([make_object(1, 1, 1), make_object(1, 1, 2), make_object(2, 2, 3)])
    before, steps = document(project), len(project.history())
    COMMANDS[name](project)
    after = document(project)

    assert after != before
    assert len(project.history()) == steps + 1
    assert project.history()[-1].name == name
    undone = project.undo()
    assert undone is not None
    assert undone.name == name
    assert document(project) == before
    assert project.history()[-1].undone
    assert project.redo() == undone
    assert document(project) == after
    assert project.check(full=True) == []


def test_objects_come_back_as_they_were_given(project: Project) -> None:
    given = make_object(
        2,
        1,
        seconds=3.75,
        adapter="studio-3",
        hand_corrected=True,
        excluded=True,
        source="import",
        z=40,
        extra={"iscrowd": 0, "naïve": [1, {"x": None}]},
        prompts=Prompts(((1.5, 2.25, 0),), ((0.0, 1.0, 5.5, 6.0),), masks.empty(HEIGHT, WIDTH)),
    )
    (added,) = project.add_objects([given])

    assert added.id == 1
    assert project.object(1) == added
    assert {**added.__dict__, "id": 0} == given.__dict__
    assert project.objects(2) == [added]
    assert project.objects(1) == []


def test_new_objects_lie_on_top(project: Project) -> None:
    first = project.add_objects([make_object(1, 1, k) for k in range(3)])
    project.add_objects([make_object(1, 1, 3, z=-5)])
    last = project.add_objects([make_object(1, 1, 4)])

    assert [o.z for o in first] == [1, 2, 3]
    assert [o.id for o in project.objects(1)] == [4, 1, 2, 3, 5]
    assert last[0].z == 4


def test_ids_never_come_to_mean_something_else(project: Project) -> None:
    project.add_objects([make_object(1, 1)])
    project.undo()
    (other,) = project.add_objects([make_object(1, 1, 3)])
    project.delete_class(1)

    assert other.id == 2
    assert project.add_class("cell").id == 2


def test_counts(project: Project) -> None:
    project.add_class("leaf")
    project.add_objects([make_object(1, 1), make_object(1, 2), make_object(3, 2)])
    project.add_objects([make_object(3, 2, source="suggestion")])

    assert project.object_counts() == {1: 2, 3: 2}
    assert project.object_counts(suggestions=False) == {1: 2, 3: 1}
    assert project.class_counts() == {1: 1, 2: 3}


def test_an_image_is_in_progress_while_it_has_objects(project: Project) -> None:
    def state() -> str:
        return project.image(1).state

    project.add_objects([make_object(1, 1, source="suggestion")], "Suggest")
    assert state() == "untouched"
    project.add_objects([make_object(1, 1, 1)])
    assert state() == "in_progress"
    project.delete_objects([1])
    assert state() == "in_progress"
    project.delete_objects([2])
    assert state() == "untouched"
    project.undo()
    assert state() == "in_progress"
    project.update_image(1, state="done")
    project.add_objects([make_object(1, 1, 2)])
    assert state() == "done"
    project.delete_class(1)
    assert state() == "done"
    project.update_image(2, state="empty")
    project.change_objects("Paste", add=[make_object(2, project.add_class("new").id)])
    assert project.image(2).state == "in_progress"
    project.change_objects("Split", delete=[4], add=[make_object(2, 2, 7)])
    assert project.image(2).state == "in_progress"


def test_commands_that_change_nothing_leave_no_step(project: Project) -> None:
    project.add_objects([make_object(1, 1)])
    steps = len(project.history())
    project.update_image(1, state="in_progress")
    project.update_object(1, clicks=1)
    project.rename_class(1, "cell")
    project.delete_objects([])
    project.merge_classes([1], into=1)

    assert len(project.history()) == steps


def test_a_new_edit_drops_what_was_undone(project: Project) -> None:
    for seed in range(3):
        project.add_objects([make_object(1, 1, seed)])
    project.undo()
    project.undo()
    assert project.can_redo()
    project.add_objects([make_object(2, 1, 9)])

    assert not project.can_redo()
    assert project.redo() is None
    assert [o.image_id for o in project.objects()] == [1, 2]
    while project.undo():
        pass
    assert not project.can_undo()
    assert document(project)[1:] == ([], [])


def test_any_step_of_the_history_can_be_gone_to(project: Project) -> None:
    states = {0: (project.images(), [], [])}
    for seed in range(5):
        states[project.history()[-1].id] = document(project)
        project.add_objects([make_object(1 + seed % 4, 1, seed)])
    newest = project.history()[-1].id
    states[newest] = document(project)

    assert project.history(2) == project.history()[-2:]
    for entry in (3, newest, 0, 1, 4, 4, newest):
        project.go_to(entry)
        assert document(project) == states[entry]
    assert [edit.name for edit in project.go_to(newest - 2)] == ["Add object"] * 2
    assert [entry.undone for entry in project.history()] == [False] * (newest - 2) + [True] * 2


def test_an_edit_that_does_not_fit_changes_nothing(project: Project) -> None:
    project.add_objects([make_object(1, 1)])
    before = document(project), project.history()
    fits = Change("images", 2, {"state": "untouched"}, {"state": "flagged"})
    for wrong in (
        Change("images", 1, {"state": "flagged"}, {"state": "done"}),
        Change("images", 77, {"state": "untouched"}, {"state": "done"}),
        Change("objects", 1, {"clicks": 99}, None),
        Change("classes", 1, None, {"name": "x", "color": "#000000", "supercategory": ""}),
        Change("objects", 5, None, {"image_id": 1}),
        Change("history", 1, {"name": "x"}, {"name": "y"}),
        Change("images", 1, {"id": 1}, {"id": 8}),
        Change("images", 1, {"state = state; --": 1}, {"state = state; --": 1}),
    ):
        with pytest.raises(EditConflict):
            project.apply(Edit("Wrong", (fits, wrong)))
        assert (document(project), project.history()) == before
    # Rows named by others are looked at when the whole edit is done.
    orphan = Change("classes", 1, {"name": "cell", "color": "#e69f00", "supercategory": ""}, None)
    with pytest.raises(ProjectError, match="nothing was changed"):
        project.apply(Edit("Orphan", (orphan,)))
    assert (document(project), project.history()) == before


def test_what_cannot_be_is_refused_with_a_sentence(project: Project) -> None:
    with pytest.raises(ProjectError, match="already a class called cell"):
        project.add_class(" cell ")
    with pytest.raises(ProjectError, match="needs a name"):
        project.add_class("  ")
    with pytest.raises(ProjectError, match="#rrggbb"):
        project.add_class("leaf", "red")
    with pytest.raises(ProjectError, match="does not fit"):
        project.add_objects([make_object(1, 1, mask=masks.empty(3, 4))])
    with pytest.raises(ProjectError, match="no row 7 in classes"):
        project.add_objects([make_object(1, 7)])
    for missing in (lambda: project.image(99), lambda: project.object(99)):
        with pytest.raises(ProjectError, match="99"):
            missing()
    with pytest.raises(TypeError, match="split"):
        project.update_image(1, split="val")
    with pytest.raises(ValueError, match="state"):
        project.update_image(1, state="lost")
    with pytest.raises(ValueError, match="source"):
        project.add_objects([make_object(1, 1, source="dream")])
    assert len(project.history()) == 1


def test_colours_are_given_in_turn(project: Project) -> None:
    added = [project.add_class(str(k)) for k in range(len(CLASS_COLORS))]

    assert project.classes()[0] == ClassRecord(1, "cell", CLASS_COLORS[0])
    assert [c.color for c in added] == [*CLASS_COLORS[1:], CLASS_COLORS[0]]
    three = project.add_classes([("a", None, ""), ("b", "#010203", "group"), ("c", None, "")])
    assert three[1] == ClassRecord(three[0].id + 1, "b", "#010203", "group")
    with pytest.raises(ProjectError, match="already"):
        project.add_classes([("twice", None, ""), ("twice", None, "")])


def test_the_unfinished_object_is_kept_and_leaves_with_its_commit(project: Project) -> None:
    draft = {"points": [[1.5, 2.5, 1]], "class": 1, "candidate": None}
    assert project.draft() is None
    project.save_draft(2, draft)
    project.save_draft(3, draft | {"class": 2})
    assert project.draft() == (3, draft | {"class": 2})

    with pytest.raises(ProjectError):
        project.add_objects([make_object(1, 99)], clear_draft=True)
    assert project.draft() is not None
    project.add_objects([make_object(1, 1)], clear_draft=True)
    assert project.draft() is None
    project.save_draft(2, draft)
    project.save_draft(None, None)
    assert project.draft() is None


def test_settings(project: Project) -> None:
    assert project.setting("model", "starter") == "starter"
    project.set_setting("model", {"name": "vit_b", "k": [1, None]})
    assert project.setting("model") == {"name": "vit_b", "k": [1, None]}
    assert len(project.history()) == 1


def test_a_suggestion_is_no_label_until_it_is_accepted(project: Project) -> None:
    ghosts = [make_object(1, 1, n, source="suggestion") for n in (1, 2)]
    first, second = project.change_objects("Suggest", add=ghosts)
    assert project.image(1).state == "untouched"
    assert not project.object_counts(suggestions=False).get(1)

    project.change_objects("Accept", update={first.id: {"source": "user"}})
    assert project.image(1).state == "in_progress"
    assert project.object_counts(suggestions=False)[1] == 1
    project.undo()
    assert project.image(1).state == "untouched"
    assert {o.source for o in project.objects(1)} == {"suggestion"}
    project.redo()

    project.delete_objects([second.id])
    assert project.image(1).state == "in_progress"
    project.delete_objects([first.id])
    assert project.image(1).state == "untouched"


def test_the_last_label_leaves_an_image_untouched_whatever_is_suggested(project: Project) -> None:
    label, _ = project.change_objects(
        "Both", add=[make_object(1, 1, 1), make_object(1, 1, 2, source="suggestion")]
    )
    project.delete_objects([label.id])
    assert project.image(1).state == "untouched"
