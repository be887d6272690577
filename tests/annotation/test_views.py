"""Channels and windows: what is shown of deep and many-channelled images, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from infosam_studio.annotation.images import ImageError, ViewSettings, read_image
from infosam_studio.annotation.project import Project
from infosam_studio.annotation.view_settings import combined, parse_channels, parse_window
from infosam_studio.errors import StudioError

HEIGHT, WIDTH = 16, 20


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """A TIFF of five channels of 16 bits; channel k is 1000 k plus a ramp of 0..319."""
    ramp = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    channels = np.stack([1000 * k + ramp for k in range(5)]).astype(np.uint16)
    folder = tmp_path / "images"
    folder.mkdir()
    tifffile.imwrite(folder / "five.tif", channels, metadata={"axes": "CYX"})
    return folder / "five.tif"


def test_percentiles_and_one_window_for_each_channel(five: Path) -> None:
    cut = read_image(five, ViewSettings(channels=(2,), percentiles=(25, 75)))[:, :, 0]
    assert 0.24 < (cut == 0).mean() < 0.26
    assert 0.24 < (cut == 255).mean() < 0.26

    windows = ((0.0, 319.0), (4000.0, 4319.0), None)
    view = read_image(five, ViewSettings(channels=(0, 4, -1), windows=windows))
    assert np.array_equal(view[:, :, 0], view[:, :, 1])
    assert not view[:, :, 2].any()
    # A window given for all is that of the channels without their own.
    both = ViewSettings(channels=(0, 4, 1), window=(0, 319), windows=(None, windows[1], None))
    view = read_image(five, both)
    assert np.array_equal(view[:, :, 0], view[:, :, 1])
    assert (view[:, :, 2] == 255).all()


def test_eight_bit_images_can_be_stretched_too(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(100, 120, dtype=np.uint8), (HEIGHT, 1))
    tifffile.imwrite(tmp_path / "a.tif", ramp)
    assert np.array_equal(read_image(tmp_path / "a.tif")[:, :, 0], ramp)
    stretched = read_image(tmp_path / "a.tif", ViewSettings(percentiles=(0, 100)))
    assert (stretched.min(), stretched.max()) == (0, 255)


def test_channels_are_mixed_as_lights(five: Path) -> None:
    settings = ViewSettings(
        channels=(0, 1, 4),
        colors=("#ff0000", "#00ff80", "#FF0000"),
        windows=((0, 638), (1000, 1319), (4000, 4638)),
    )
    view = read_image(five, settings).astype(int)
    ramp = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    half, full = ramp * 255 / 638, ramp * 255 / 319
    assert np.abs(view[:, :, 0] - np.minimum(2 * np.floor(half + 0.5), 255)).max() <= 1
    assert np.abs(view[:, :, 1] - full).max() <= 1
    assert np.abs(view[:, :, 2] - full * 128 / 255).max() <= 1


def test_choices_that_do_not_fit_say_so(five: Path) -> None:
    for settings in (
        ViewSettings(channels=(5,)),
        ViewSettings(channels=(0, 1)),
        ViewSettings(channels=(0, 1), colors=("#ffffff",)),
        ViewSettings(channels=(0,), colors=("red",)),
        ViewSettings(channels=(0, 1, 2), windows=((0, 1),)),
        ViewSettings(channels=(-2,)),
    ):
        with pytest.raises(ImageError, match=r"^five.tif cannot be shown as chosen: .*\.$"):
            read_image(five, settings)


def test_keys_hold_everything() -> None:
    settings = ViewSettings(3, (0, 4), (1, 2), (1.5, 98), (None, (0, 9.5)), ("#00ff00", "#ff00ff"))
    assert ViewSettings.from_key(settings.key(), 3) == settings
    keys = {
        ViewSettings(window=(0, 1)).key(),
        ViewSettings(percentiles=(0, 1)).key(),
        ViewSettings(channels=(0,), windows=((0, 1),)).key(),
        ViewSettings(channels=(0,)).key(),
        ViewSettings(channels=(0,), colors=("#00ff00",)).key(),
        "",
    }
    assert len(keys) == 6
    assert ViewSettings(channels=(0,), windows=(None,)).key() == ViewSettings(channels=(0,)).key()


def test_the_command_line_writes_them_shortly() -> None:
    assert parse_window("auto") == parse_channels("auto") == ViewSettings()
    assert parse_window("-1000:4e3") == ViewSettings(window=(-1000, 4000))
    assert parse_window("0.5%:99%") == ViewSettings(percentiles=(0.5, 99))
    assert parse_channels("2") == ViewSettings(channels=(1,))
    assert parse_channels("3,0,1") == ViewSettings(channels=(2, -1, 0))
    mixed = ViewSettings(channels=(0, 3), colors=("#00ff00", "#ff00ff"))
    assert parse_channels("1=#00ff00, 4=#ff00ff") == mixed
    assert combined(parse_window("1:2"), mixed).window == (1, 2)
    assert combined(parse_window("1:2"), mixed).colors == mixed.colors
    for text in ("5", "", "9:1", "1%:2", "0%:101%", "..:1", "nan:1", "a:b"):
        with pytest.raises(StudioError, match="is no window"):
            parse_window(text)
    for text in ("", "0", "1,2", "1=red", "1=#ffffff,2", "-1", "x", "0=#ffffff"):
        with pytest.raises(StudioError, match="no choice of channels"):
            parse_channels(text)


def test_views_are_kept_undone_and_given_to_new_images(five: Path) -> None:
    with Project.create(five.parent.parent / "p", five.parent) as project:
        project.scan()
        image = project.images()[0]
        plain = project.read_view(image)
        settings = ViewSettings(channels=(4,), window=(4000, 4319))
        assert project.set_view(settings) == 1
        assert project.set_view(settings) == 0
        shown = project.read_view(project.image(image.id))
        assert not np.array_equal(shown, plain)
        assert project.history()[-1].name == "Channels and window"

        second = five.with_name("six.tif")
        second.write_bytes(five.read_bytes() + b"\0")
        project.scan()
        assert {project.view_settings(i) for i in project.images()} == {settings}
        project.set_view(ViewSettings(), [image.id])
        assert len({i.view for i in project.images()}) == 2
        project.undo()
        project.undo()
        assert np.array_equal(project.read_view(project.image(image.id)), plain)
    with Project.open(five.parent.parent / "p") as project:
        assert project.redo()
        assert np.array_equal(project.read_view(project.image(image.id)), shown)
