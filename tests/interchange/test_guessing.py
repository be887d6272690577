"""The format of labels is guessed from what lies there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_projects import MakeProject, add

from infosam_studio.interchange.exporting import ExportOptions
from infosam_studio.interchange.guessing import guess_format
from infosam_studio.interchange.registry import EXPORTERS

READ_AS = {"png-semantic": "png", "png-binary": "png"}


@pytest.mark.parametrize("name", list(EXPORTERS))
def test_our_own_exports_are_known(make_project: MakeProject, tmp_path: Path, name: str) -> None:
    project = make_project({"a.png": (20, 10), "sub/b.png": (20, 10)})
    bitmap = np.zeros((10, 20), bool)
    bitmap[2:8, 3:9] = True
    for path in ("a.png", "sub/b.png"):
        add(project, path, bitmap)
    out = tmp_path / ("labels.json" if name == "coco" else "labels")
    EXPORTERS[name](project, out, options=ExportOptions(check=False))
    assert guess_format(out) == READ_AS.get(name, name)
    if name == "coco":
        (tmp_path / "folder").mkdir()
        out.rename(tmp_path / "folder" / "any.json")
        assert guess_format(tmp_path / "folder") == "coco"


def test_what_tells_nothing_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"something": 1}')
    (tmp_path / "a.doc").write_text("x")
    isat = '{"info": {"description": "ISAT", "name": "a.png"}, "objects": [{"category": "x"}]}'
    (tmp_path / "isat.json").write_text(isat)
    assert guess_format(tmp_path / "a.json") is None
    assert guess_format(tmp_path / "a.doc") is None
    assert guess_format(tmp_path / "gone") is None
    assert guess_format(tmp_path / "isat.json") == "isat"
