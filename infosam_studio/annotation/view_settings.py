"""How one page of a file is shown: which channels, in which colours, between which values.

The choice is kept with the image and is part of what an embedding is known by, so it decides
what the model sees as well.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any, Final

from infosam_studio.errors import StudioError

Window = tuple[float, float]

# What channels are mixed in where nobody chose: easy to tell apart on black.
MIX_COLORS: Final = (
    "#00ff00",
    "#ff00ff",
    "#00a0ff",
    "#ffa000",
    "#ffffff",
    "#ff3030",
    "#00ffd0",
    "#ffff00",
)
_COLOR: Final = re.compile("#[0-9a-fA-F]{6}")
_NUMBER: Final = r"\s*(-?[\d.]+(?:[eE][-+]?\d+)?)(%?)\s*"


@dataclass(frozen=True)
class ViewSettings:
    """How a page becomes the view, where the defaults are overridden.

    ``channels``: one index for grey, three for red, green and blue (-1: black), or with
    ``colors`` ("#rrggbb", one for each) any number that are mixed by adding their light.
    ``window``: the values shown as 0 and 255; ``windows``: one for each of the channels (None:
    automatic); ``percentiles``: where the automatic window begins and ends, in percent.
    """

    page: int = 0
    channels: tuple[int, ...] | None = None
    window: Window | None = None
    percentiles: Window | None = None
    windows: tuple[Window | None, ...] | None = None
    colors: tuple[str, ...] | None = None

    def key(self) -> str:
        """A text that is equal for equal views of a page, "" for the defaults.

        The page is not part of it: image records and embedding identities keep it beside it.
        """
        out: dict[str, Any] = {}
        if self.channels is not None:
            out["channels"] = list(self.channels)
        if self.window is not None:
            out["window"] = [float(v) for v in self.window]
        if self.percentiles is not None:
            out["percentiles"] = [float(v) for v in self.percentiles]
        if self.windows is not None and any(self.windows):
            out["windows"] = [None if w is None else [float(v) for v in w] for w in self.windows]
        if self.colors is not None:
            out["colors"] = [color.lower() for color in self.colors]
        return json.dumps(out, separators=(",", ":")) if out else ""

    @classmethod
    def from_key(cls, key: str, page: int = 0) -> ViewSettings:
        """The settings whose ``key`` is given, for a page."""
        values = json.loads(key) if key else {}
        channels, colors = values.get("channels"), values.get("colors")
        windows = values.get("windows")
        return cls(
            page,
            None if channels is None else tuple(int(c) for c in channels),
            _window(values.get("window")),
            _window(values.get("percentiles")),
            None if windows is None else tuple(_window(w) for w in windows),
            None if colors is None else tuple(str(c) for c in colors),
        )

    def on_page(self, page: int) -> ViewSettings:
        """The same choices for another page."""
        return replace(self, page=page)

    def problem(self, channels: int) -> str | None:
        """Why an image of so many channels cannot be shown like this; None where it can."""
        wanted = self.channels or ()
        if self.channels is not None and not self.colors and len(wanted) not in (1, 3):
            return "a view shows one channel or three, or several with a colour for each"
        if any(channel >= channels or channel < -1 for channel in wanted):
            return f"it has only {channels} channel{'s' if channels != 1 else ''}"
        if self.colors is not None:
            if len(self.colors) != len(wanted) or not wanted:
                return "a view with colours needs one for each of its channels"
            if not all(_COLOR.fullmatch(color) for color in self.colors):
                return "a colour is written as #rrggbb"
        if self.windows is not None and len(self.windows) != len(wanted):
            return "a view needs one window for each of its channels"
        return None


DEFAULT_VIEW: Final = ViewSettings()


def _window(values: Any) -> Window | None:
    return None if values is None else (float(values[0]), float(values[1]))


def parse_window(text: str) -> ViewSettings:
    """`100:4000` (values), `1%:99%` (percentiles) or `auto`, as the command line takes them."""
    if text == "auto":
        return DEFAULT_VIEW
    found = re.fullmatch(f"{_NUMBER}:{_NUMBER}", text)
    try:
        low, high = (float(found[1]), float(found[3])) if found else (math.nan, math.nan)
    except ValueError:
        low = high = math.nan
    if found is None or found[2] != found[4] or not low < high:
        raise StudioError(
            f"{text!r} is no window; write the values for black and white as 100:4000, "
            "percentiles as 1%:99%, or auto."
        )
    if not found[2]:
        return ViewSettings(window=(low, high))
    if low < 0 or high > 100:
        raise StudioError(f"{text!r} is no window; percentiles lie between 0% and 100%.")
    return ViewSettings(percentiles=(low, high))


def parse_channels(text: str) -> ViewSettings:
    """`2` (grey), `3,2,1` (red, green, blue; 0: black), `1=#00ff00,4=#ff00ff` (mixed), `auto`.

    Channels count from 1 here, as they do in the window.
    """
    if text == "auto":
        return DEFAULT_VIEW
    parts = [part.partition("=") for part in text.split(",")]
    colored = any(equals for _, equals, _ in parts)
    try:
        channels = tuple(int(number) - 1 for number, _, _ in parts)
    except ValueError:
        channels = (-2,)
    colors = tuple(color.strip() for _, _, color in parts) if colored else None
    settings = ViewSettings(channels=channels, colors=colors)
    problem = settings.problem(max(channels) + 1)
    if problem is not None or min(channels) < (0 if len(channels) == 1 or colored else -1):
        raise StudioError(
            f"{text!r} is no choice of channels; write 2 for a grey one, 3,2,1 for red, green and "
            "blue, or 1=#00ff00,4=#ff00ff to mix channels in colours."
        )
    return settings


def combined(window: ViewSettings, channels: ViewSettings) -> ViewSettings:
    """One choice of the window of the first and the channels of the second."""
    return replace(
        window, channels=channels.channels, colors=channels.colors, windows=channels.windows
    )
