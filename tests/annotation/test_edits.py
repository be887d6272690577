"""Edits as values: reversible, and JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infosam_studio.annotation.edits import Change, Edit
from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import Prompts

scalars = (
    st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=4)
)
tables = st.sampled_from(["images", "classes", "objects"])


@st.composite
def changes(draw: st.DrawFn) -> Change:
    names = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1))

    def side() -> dict[str, Any]:
        return {name: draw(scalars) for name in names}

    before, after = draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    key = draw(st.integers(1, 2**40))
    return Change(draw(tables), key, side() if before else None, side() if after else None)


edits = st.builds(Edit, st.text(max_size=10), st.lists(changes(), max_size=3).map(tuple))


@settings(max_examples=40)
@given(edits)
def test_an_edit_survives_json(edit: Edit) -> None:
    assert Edit.from_json(edit.name, edit.to_json()) == edit


@settings(max_examples=40)
@given(edits)
def test_the_inverse_of_the_inverse_is_the_edit(edit: Edit) -> None:
    assert edit.inverse().inverse() == edit
    assert edit.inverse().name == edit.name
    for change, taken_back in zip(edit.changes, reversed(edit.inverse().changes), strict=True):
        assert (change.before, change.after) == (taken_back.after, taken_back.before)


def test_an_edit_tells_what_it_touches() -> None:
    edit = Edit(
        "x",
        (
            Change("objects", 4, None, {"a": 1}),
            Change("objects", 2, {"a": 1}, None),
            Change("images", 9, {"a": 1}, {"a": 2}),
        ),
    )

    assert edit.keys("objects") == {2, 4}
    assert edit.keys("images") == {9}
    assert edit.keys("classes") == set()


def test_changes_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="before or an after"):
        Change("images", 1, None, None)
    with pytest.raises(ValueError, match="same fields"):
        Change("images", 1, {"a": 1}, {"b": 1})


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 1)), max_size=4),
    st.lists(st.tuples(*[st.floats(0, 1e4)] * 4), max_size=3),
    st.none() | st.just(Rle(2, 2, "4")),
)
def test_prompts_survive_json(points: list[Any], boxes: list[Any], mask: Rle | None) -> None:
    prompts = Prompts(tuple(points), tuple(boxes), mask)

    assert Prompts.from_json(prompts.to_json()) == prompts
    assert prompts.clicks == len(points) + len(boxes)
