"""The effort panel and its report on real widgets: figures, marks, page and picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtGui import QImage

from infosam_studio.annotation import masks
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.errors import StudioError
from infosam_studio.ui import report
from infosam_studio.ui.workbench import Workbench
from tests.ui.conftest import SIZE


def work(bench: Workbench) -> None:
    """Twelve objects: five clicks each before a version came into use, two after."""
    square = np.zeros((SIZE, SIZE), dtype=bool)
    square[10:40, 10:40] = True
    class_id, image = bench.document.ensure_class(), bench.document.current
    assert image is not None
    found = [
        ObjectRecord(
            id=0,
            image_id=image.id,
            class_id=class_id,
            mask=masks.encode(square),
            clicks=5 if number < 6 else 2,
            seconds=10.0 if number < 6 else 3.0,
            adapter=None if number < 6 else "v1",
            extra={"first_iou": 0.4 if number < 6 else 0.9},
        )
        for number in range(12)
    ]
    bench.document.change_objects("Label", add=found)


def test_the_panel_shows_figures_and_where_the_version_changed(bench: Workbench) -> None:
    work(bench)
    bench.labour.show_objects(bench.document.project.objects())
    assert bench.labour._clicks_text.text() == "3.2"
    assert bench.labour._first_text.text() == "0.70"
    assert bench.labour._clicks._marks == [6]
    picture = bench.labour._clicks.grab().toImage()
    assert not picture.isNull()


def test_the_page_tells_the_figures_and_escapes_names(bench: Workbench, tmp_path: Path) -> None:
    work(bench)
    told: list[str] = []
    bench.labour.told.connect(lambda text, kind: told.append(text))
    bench.labour.write_report(tmp_path / "made by me" / "progress.html")
    page = (tmp_path / "made by me" / "progress.html").read_text("utf-8")
    assert "0 of 3" in page
    assert "4.4" not in page.split("</table>")[0]
    assert "5.0 → 2.0" not in page.split("</table>")[0]  # ten first and ten last overlap here
    assert "3.8 → 3.2" in page
    assert page.count("<svg") == 1
    assert page.count("v1") == 3
    assert "progress.html is in" in told[0]
    odd = report.progress_of("<b>&", 1, 0, bench.document.project.objects())
    assert "&lt;b&gt;&amp;" in report.as_html(odd)


def test_the_picture_has_curves_on_it(bench: Workbench, tmp_path: Path) -> None:
    work(bench)
    path = report.write(bench.labour.progress(), tmp_path / "progress.png")
    image = QImage(str(path))
    assert image.width() == 1280
    blue = sum(
        1
        for x in range(0, image.width(), 2)
        for y in range(300, image.height(), 4)
        if image.pixelColor(x, y).blue() > image.pixelColor(x, y).red() + 100
    )
    assert blue > 50


def test_a_report_that_cannot_be_written_is_one_sentence(bench: Workbench, tmp_path: Path) -> None:
    work(bench)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudioError, match="choose another place"):
        report.write(bench.labour.progress(), tmp_path / "file" / "progress.html")


def test_without_objects_there_is_nothing_to_export(qtbot: Any, bench: Workbench) -> None:
    bench.labour.show_objects([])
    assert not bench.labour.report.isEnabled()
    assert bench.labour._figures.isHidden()
    assert not bench.labour._empty.isHidden()
    assert "Objects" in report.as_html(bench.labour.progress())
