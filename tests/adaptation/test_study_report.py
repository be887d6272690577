"""The study's report puts its tables where the guide's headings are."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks.adaptation_study import REPORT, read_lines
from tests.benchmarks.study_report import svg, with_tables

PAGE = """# Title

**Gain** over before:

| a | b |
|---|---|
| 1 | 2 |

Text that stays.

**Against the same**, everything equal:

* one
* two

**Empty**

**Last.** Words.
"""
GUIDE = Path(__file__).parents[2] / "resources/guide/adaptation_study.md"


def test_tables_take_the_place_of_those_below_their_headings() -> None:
    tables = {"Gain": "| c |\n|---|\n| 3 |\n", "Against": "* three\n"}
    once = with_tables(PAGE, tables)
    assert "| 1 | 2 |" not in once
    assert "* one" not in once
    assert once.split("\n\n")[1:5] == [
        "**Gain** over before:",
        "| c |\n|---|\n| 3 |",
        "Text that stays.",
        "**Against the same**, everything equal:",
    ]
    assert once.endswith("* three\n\n**Empty**\n\n**Last.** Words.\n")
    assert with_tables(once, tables) == once


def test_a_page_without_the_heading_is_refused() -> None:
    with pytest.raises(KeyError, match="Nowhere"):
        with_tables(PAGE, {"Nowhere": "| x |"})


def test_the_guide_has_every_table_below_its_own_heading() -> None:
    page = GUIDE.read_text("utf-8")
    gain = page.index("**Gain over the model before")
    against = page.index("**InfoSAM against the same")
    every = page.index("**Every domain")
    assert "| model | domains |" in page[gain:against]
    assert "\n* infosam" in page[against:every]
    assert "| domain | model |" in page[every:]
    assert page.count("| model | domains |") == page.count("| domain | model |") == 1


@pytest.mark.parametrize(("speed", "methods"), [("instant", 2), ("full", 3)])
def test_a_plot_has_a_curve_of_every_method_in_every_panel(speed: str, methods: int) -> None:
    lines = read_lines(Path(__file__).parents[1] / "benchmarks/adaptation_study.jsonl")
    drawn = ElementTree.fromstring(svg(lines, REPORT, speed))
    height = float(drawn.attrib["height"])
    curves = drawn.findall(".//{*}polyline")
    assert len(curves) == methods * (len(REPORT) + 1)
    for curve in curves:
        points = [tuple(map(float, p.split(","))) for p in curve.attrib["points"].split()]
        assert len(points) == 4  # before, and one, five and ten images
        assert all(0 <= y <= height for _, y in points)
