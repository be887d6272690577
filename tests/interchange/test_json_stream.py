"""Reading JSON element by element: the same values as the standard reader, and damage survived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infosam_studio.interchange import json_stream
from infosam_studio.interchange.json_stream import BadElement, JsonProblem, read_elements

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


def read(path: Path, content: str | bytes) -> list[tuple[str, Any]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_elements(path, None))


def collect(elements: Iterator[tuple[str, Any]], into: list[tuple[str, Any]]) -> None:
    for element in elements:
        into.append(element)


@given(st.lists(VALUES), VALUES, st.integers(1, 64))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_elements_are_those_of_the_file(
    tmp_path: Path, elements: list[Any], other: Any, block: int
) -> None:
    text = json.dumps({"a": elements, "b": {"c": other}}, indent=block % 3 or None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        found = read(tmp_path / "f.json", text)
    assert found == [("a", e) for e in elements] + [("b", {"c": other})]


def test_a_list_at_the_top_yields_its_elements(tmp_path: Path) -> None:
    assert read(tmp_path / "f.json", "[1, [2], {}]") == [("", 1), ("", [2]), ("", {})]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_file_cut_off_keeps_what_came_before(tmp_path: Path, cut: int) -> None:
    whole = '{"a":[{"id":1,"s":"x"},{"id":2,"s":"y,]}"},{"id":33}],"b":1}'
    found: list[tuple[str, Any]] = []
    path = tmp_path / "f.json"
    path.write_text(whole[:cut])
    elements = read_elements(path, None)
    with pytest.raises(JsonProblem):
        collect(elements, found)
    assert found == read(tmp_path / "g.json", whole)[: len(found)]


def test_a_broken_element_costs_itself_only(tmp_path: Path) -> None:
    text = '{"a":[{"id":1},{"id":nul, "s":"]"},{"id":3},{"x" 1},{"id":5}]}'
    found = [v for _, v in read(tmp_path / "f.json", text)]
    assert [v["id"] for v in found if isinstance(v, dict)] == [1, 3, 5]
    assert [v.index for v in found if isinstance(v, BadElement)] == [1, 3]


def test_deep_nesting_is_one_broken_element(tmp_path: Path) -> None:
    deep = "[" * 200_000 + "]" * 200_000
    found = [v for _, v in read(tmp_path / "f.json", f'{{"a":[{deep},{{"id":2}}]}}')]
    assert found[0] == BadElement(0, "nested too deeply")
    assert found[1] == {"id": 2}


def test_numbers_of_thousands_of_digits_are_one_broken_element(tmp_path: Path) -> None:
    found = [v for _, v in read(tmp_path / "f.json", f'{{"a":[{{"x":{"9" * 5000}}},2]}}')]
    assert isinstance(found[0], BadElement)
    assert found[1] == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_wrong_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    content = '{"a":[{"file_name":"Fläche.jpg"}]}'.encode(encoding)
    assert read(tmp_path / "f.json", content) == [("a", {"file_name": "Fläche.jpg"})]


@pytest.mark.parametrize("content", [b"", b"   ", b"<html>", b"\x89PNG\r\n\x1a\n", b"\0" * 999])
def test_what_is_no_json_says_so(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(JsonProblem, match=r"f\.json"):
        read(tmp_path / "f.json", content)


def test_an_entry_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_ELEMENT", 1 << 16)
    monkeypatch.setattr(json_stream, "BLOCK", 1 << 12)
    with pytest.raises(JsonProblem, match="one entry"):
        read(tmp_path / "f.json", '{"a":["' + "x" * 300_000)
