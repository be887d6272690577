"""What the window and the inference thread say to each other. Frozen, passed by reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infosam_studio.annotation.images import ViewSettings
from infosam_studio.annotation.tiled_view import TiledView
from infosam_studio.ui.crops import Crop
from infosam_studio.ui.draft import Candidate

Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class ImageJob:
    """An image to encode. ``pixels`` uint8 [H,W,3] where they are at hand already.

    Huge images always bring theirs, as tiles; without them they are not encoded.
    """

    image_id: int
    path: Path
    sha256: str
    width: int
    height: int
    view: ViewSettings = field(default_factory=ViewSettings)
    pixels: NDArray[np.uint8] | TiledView | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class LoadModel:
    """Load the checkpoint ``name`` and, on it, the adapter in ``adapter`` (None: base)."""

    name: str
    adapter: Path | None = None


@dataclass(frozen=True)
class UseAdapter:
    """Swap to the adapter in ``folder``; None rolls back to the base weights."""

    folder: Path | None


@dataclass(frozen=True)
class SetCurrent:
    """The image on the canvas (None: nothing is open) and those to encode afterwards."""

    job: ImageJob | None
    prefetch: tuple[ImageJob, ...] = ()


@dataclass(frozen=True)
class Ask:
    """One prompt of the unfinished object; never dropped while its image is shown.

    ``points`` (x, y, label) and ``box`` in image pixels. ``after`` is the step whose mask is
    fed back, ``after_candidate`` the one of its candidates the user looks at (None: the best).
    ``mask`` is fed back instead where there was one before the clicks: they change it where
    they are. With ``keep`` it is shown unchanged rather than another mask in its place. With
    ``more`` the answer holds the single mask and then three candidates.
    """

    serial: int
    image_id: int
    points: tuple[tuple[float, float, int], ...]
    box: tuple[float, float, float, float] | None
    multimask: bool
    after: int | None = None
    after_candidate: int | None = None
    mask: Crop | None = None
    region: Region | None = None
    more: bool = False
    keep: bool = False


@dataclass(frozen=True)
class Hover:
    """What a click here would give; only the newest one is answered."""

    image_id: int
    x: float
    y: float
    region: Region | None = None


@dataclass(frozen=True)
class SetRegion:
    """The part of the current image that is looked at: encoded once nothing else waits."""

    image_id: int
    region: Region | None


@dataclass(frozen=True)
class Compare:
    """What the version in ``folder`` (None: the base) answers to the same prompts.

    ``asks`` in the order they were made; only the newest wish is answered. The version is in
    place for that moment only.
    """

    serial: int
    image_id: int
    asks: tuple[Ask, ...]
    folder: Path | None


@dataclass(frozen=True)
class Background:
    """Work for whenever nothing else waits: ``job.step(predictor, make_room)`` gives `Progress`.

    A step is short; ``make_room`` answers clicks and says whether to raise Cancelled, after which
    the step is made again. ``job.cancelled`` ends it.
    """

    job: Any


Command = LoadModel | UseAdapter | SetCurrent | Ask | Hover | SetRegion | Compare | Background


@dataclass(frozen=True)
class Answer:
    """Masks for one `Ask`; ``best`` is the candidate to show first, of best predicted IoU.

    ``region`` is what was looked at.
    """

    serial: int
    image_id: int
    candidates: tuple[Candidate, ...]
    best: int
    milliseconds: float
    adapter: str | None
    region: Region | None = None


@dataclass(frozen=True)
class Compared:
    """The mask of another version; None with a ``problem`` where it could not be asked."""

    serial: int
    image_id: int
    crop: Crop | None
    score: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Progress:
    """How far work in the background is; ``result`` is what this step gave, if anything."""

    job: Any
    done: int = 0
    of: int = 0
    finished: bool = False
    problem: str = ""
    result: Any = None


@dataclass(frozen=True)
class HoverAnswer:
    """The mask under the pointer."""

    image_id: int
    x: float
    y: float
    crop: Crop
    score: float


@dataclass(frozen=True)
class EncodeState:
    """How far an image is: ``phase`` is waiting, encoding, ready, failed or cancelled."""

    image_id: int
    phase: str
    seconds: float = 0.0
    fraction: float = 0.0
    problem: str = ""
    current: bool = True
    region: Region | None = None


@dataclass(frozen=True)
class ModelState:
    """The model in use: ``phase`` is loading, ready or failed.

    Ready with a ``problem``: what was asked for could not be loaded, and this is in use instead.
    ``folder`` is that of the adapter in use.
    """

    phase: str
    name: str
    adapter: str | None = None
    device: str = "cpu"
    problem: str = ""
    seconds: float = 0.0
    input_size: int = 0
    folder: Path | None = None
