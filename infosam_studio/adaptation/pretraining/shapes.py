"""Outlines: lists of contours, each [n,2] float32 (x, y) in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Contour = NDArray[np.float32]
Point = tuple[float, float]


def blob(
    rng: np.random.Generator,
    centre: Point,
    radius: float,
    aspect: float = 1.0,
    wobble: float = 0.1,
    angle: float | None = None,
) -> Contour:
    """A closed smooth outline; wobble 0 is an ellipse, 0.5 is ragged."""
    count = int(np.clip(radius * 3, 20, 160))
    theta = np.linspace(0, 2 * np.pi, count, endpoint=False)
    r = np.ones(count)
    for k in range(2, 9):
        r += rng.normal(0, wobble / k**0.8) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    r = np.maximum(r, 0.15)
    x, y = r * np.cos(theta) * np.sqrt(aspect), r * np.sin(theta) / np.sqrt(aspect)
    turn = rng.uniform(0, 2 * np.pi) if angle is None else angle
    return _place(x * radius, y * radius, turn, centre)


def polygon(rng: np.random.Generator, centre: Point, radius: float, corners: int) -> Contour:
    """A convex-ish polygon or, with alternating radii, a star."""
    theta = np.sort(rng.uniform(0, 2 * np.pi, corners))
    r = rng.uniform(0.5, 1.2, corners)
    if rng.random() < 0.3:
        theta = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        r = np.where(np.arange(corners) % 2, rng.uniform(0.3, 0.6), 1.0)
    return _place(
        r * np.cos(theta) * radius, r * np.sin(theta) * radius, rng.uniform(0, 2 * np.pi), centre
    )


def rectangle(
    rng: np.random.Generator, centre: Point, width: float, height: float, angle: float
) -> Contour:
    """A rectangle with slightly moved corners."""
    x = np.array([-1, 1, 1, -1]) * width / 2 * rng.uniform(0.85, 1.1, 4)
    y = np.array([-1, -1, 1, 1]) * height / 2 * rng.uniform(0.85, 1.1, 4)
    return _place(x, y, angle, centre)


def leaf(
    rng: np.random.Generator, base: Point, length: float, width: float, angle: float
) -> Contour:
    """A pointed leaf growing from ``base``, its edge wavy."""
    t = np.linspace(0, 1, 40)
    half = width / 2 * np.sin(np.pi * t ** rng.uniform(0.6, 1.3)) ** rng.uniform(0.6, 1.2)
    half = half * (1 + rng.uniform(0, 0.12) * np.sin(t * rng.uniform(8, 50)))
    bend = rng.normal(0, 0.12) * length * t**2
    x = np.concatenate([t, t[::-1]]) * length
    y = np.concatenate([half + bend, (-half + bend)[::-1]])
    return _place(x, y, angle, base)


def stroke(
    rng: np.random.Generator,
    start: Point,
    length: float,
    width: float,
    curl: float,
    heading: float | None = None,
) -> Contour:
    """A curved band of slowly changing width; thin ones are hairs, cracks and wires.

    ``heading`` is where it sets off to, in radians from x; otherwise anywhere.
    """
    count = int(np.clip(length / 4, 8, 120))
    first = rng.uniform(0, 2 * np.pi) if heading is None else heading
    turn = np.cumsum(rng.normal(0, curl / np.sqrt(count), count)) + first
    steps = length / count * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    middle = np.array(start) + np.cumsum(steps, axis=0)
    normal = np.stack([-np.sin(turn), np.cos(turn)], axis=1)
    taper = 1 + 0.3 * np.cumsum(rng.normal(0, 0.2, count)).clip(-2, 2)
    half = np.maximum(width / 2 * taper, 0.35)[:, None]
    return np.concatenate([middle + normal * half, (middle - normal * half)[::-1]]).astype(
        np.float32
    )


def _place(x: NDArray[np.float64], y: NDArray[np.float64], turn: float, centre: Point) -> Contour:
    c, s = np.cos(turn), np.sin(turn)
    points = np.stack([c * x - s * y + centre[0], s * x + c * y + centre[1]], axis=1)
    return points.astype(np.float32)
