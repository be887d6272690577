"""What the sample scenes are drawn with: noise, rounded shapes, light, shadows.

A scene is drawn at twice its size and averaged down, so edges come out smooth.
Colours are float32 RGB from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from infosam_studio.annotation._cv2 import cv2

Array = np.ndarray[Any, np.dtype[np.float32]]
WIDTH, HEIGHT, SCALE = 960, 640, 2
LIGHT = np.array([-0.5, -0.62, 0.6], np.float32)
LIGHT /= np.linalg.norm(LIGHT)


@dataclass
class Scene:
    """An image being drawn and the instance index of every pixel (0: background)."""

    rng: np.random.Generator
    image: Array = field(init=False)
    index: np.ndarray[Any, np.dtype[np.uint8]] = field(init=False)
    objects: int = 0

    def __post_init__(self) -> None:
        self.image = np.zeros((HEIGHT * SCALE, WIDTH * SCALE, 3), np.float32)
        self.index = np.zeros((HEIGHT * SCALE, WIDTH * SCALE), np.uint8)

    @property
    def shape(self) -> tuple[int, int]:
        return self.index.shape[0], self.index.shape[1]

    def new_object(self) -> int:
        self.objects += 1
        return self.objects

    def finish(self, *, blur: float = 0.6, grain: float = 0.012) -> tuple[Any, Any]:
        """Return the finished image (uint8 [H,W,3] RGB) and its index map (uint8 [H,W])."""
        size = (WIDTH, HEIGHT)
        image = cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)
        if blur:
            image = cv2.GaussianBlur(image, (0, 0), blur)
        image = image + self.rng.normal(0, grain, image.shape).astype(np.float32)
        index = cv2.resize(self.index, size, interpolation=cv2.INTER_NEAREST)
        return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8), without_crumbs(index)


def without_crumbs(index: Any, smallest: int = 60) -> Any:
    """Drop objects that others cover almost wholly, and number the rest from 1."""
    counts = np.bincount(index.ravel(), minlength=256)
    keep = [i for i in range(1, 256) if counts[i] >= smallest]
    table = np.zeros(256, np.uint8)
    table[keep] = np.arange(1, len(keep) + 1)
    return table[index]


def colour(text: str) -> Array:
    """`#rrggbb` as float32 RGB."""
    return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)


def mix(a: Any, b: Any, share: Any) -> Any:
    """Between `a` (share 0) and `b` (share 1); a share per pixel gets its colour axis here."""
    share = np.asarray(share, np.float32)
    if share.ndim == 2:
        share = share[..., None]
    return a + (b - a) * share


def noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: float,
    *,
    octaves: int = 4,
    stretch: float = 1.0,
) -> Array:
    """Smooth noise from 0 to 1 with features of about `cell` pixels, `stretch` times as wide."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        size = max(1.0, cell / 2**octave)
        grid = rng.random(
            (int(shape[0] / size) + 3, max(2, int(shape[1] / (size * stretch)) + 3))
        ).astype(np.float32)
        total += cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


@dataclass(frozen=True)
class Blob:
    """A rounded shape in its own window: `rho` is 0 in its middle, 1 on its outline."""

    window: tuple[slice, slice]
    rho: Array
    normal: Array  # of the dome that stands on the shape, [h,w,3]
    angle: Array  # around the middle, radians

    @property
    def inside(self) -> Any:
        return self.rho < 1

    def edge(self, softness: float) -> Array:
        """1 inside and 0 outside, with a soft border `softness` wide (in units of rho)."""
        return np.clip((1 - self.rho) / softness + 0.5, 0, 1)


def blob(
    scene: Scene,
    x: float,
    y: float,
    radii: tuple[float, float],
    *,
    turn: float = 0.0,
    wobble: float = 0.0,
    lobes: int = 6,
) -> Blob:
    """A shape around (x, y): an ellipse whose radius wobbles by that share."""
    reach = max(radii) * (1 + 2 * wobble) + 3
    height, width = scene.shape
    x0, x1 = max(0, int(x - reach)), min(width, int(x + reach) + 1)
    y0, y1 = max(0, int(y - reach)), min(height, int(y + reach) + 1)
    v, u = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    u, v = u - x, v - y
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    a, b = (u * cos + v * sin) / radii[0], (v * cos - u * sin) / radii[1]
    angle = np.arctan2(b, a)
    outline = np.ones_like(angle)
    for k in range(2, lobes + 1):
        amount, phase = scene.rng.normal(0, wobble / k), scene.rng.uniform(0, 2 * np.pi)
        outline += np.float32(amount) * np.cos(k * angle + np.float32(phase))
    rho = np.hypot(a, b) / np.maximum(outline, 0.3)
    inner = np.minimum(rho, 0.999)
    lift = np.sqrt(1 - inner**2)
    length = np.maximum(np.hypot(u, v), 1e-3)
    normal = np.stack([u / length * inner, v / length * inner, lift], -1)
    return Blob((slice(y0, y1), slice(x0, x1)), rho, normal, angle)


def lambert(normal: Array, *, ambient: float = 0.35) -> Array:
    """How bright the one lamp makes a surface, 0 to 1."""
    return ambient + (1 - ambient) * np.clip(normal @ LIGHT, 0, 1)


def shine(normal: Array, *, sharpness: float = 30.0) -> Array:
    """The lamp's reflection towards the viewer, 0 to 1."""
    half = LIGHT + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    return np.clip(normal @ half, 0, 1) ** np.float32(sharpness)


def paint(scene: Scene, shape: Blob, colours: Any, *, softness: float = 0.02) -> None:
    """Lay the colours into the image where the shape is."""
    target = scene.image[shape.window]
    target[:] = mix(target, np.asarray(colours, np.float32), shape.edge(softness))


def mark(scene: Scene, shape: Blob) -> None:
    """Record the shape as a new object."""
    scene.index[shape.window][shape.inside] = scene.new_object()


def shadow(scene: Scene, where: Any, *, offset: tuple[int, int], blur: float, depth: float) -> None:
    """Darken the image beside `where` (bool or float [H,W]) as the lamp would."""
    soft = cv2.GaussianBlur(np.asarray(where, np.float32), (0, 0), blur)
    scene.image *= (1 - depth * shifted(soft, *offset))[..., None]


def shifted(values: Any, right: int, down: int) -> Any:
    """The array moved by whole pixels; zeros come in at the sides."""
    moved = np.float32([[1, 0, right], [0, 1, down]])
    return cv2.warpAffine(values, moved, values.shape[::-1], flags=cv2.INTER_NEAREST)
