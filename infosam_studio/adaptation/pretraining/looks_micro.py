"""Scenes that look like microscopy, ultrasound and skin photographs."""

from __future__ import annotations

import cv2
import numpy as np

from infosam_studio.adaptation.pretraining.canvas import Canvas, Float
from infosam_studio.adaptation.pretraining.shapes import Contour, blob, polygon, stroke
from infosam_studio.adaptation.pretraining.textures import (
    RealPatches,
    coloured,
    fractal,
    near_colour,
    random_colour,
    surface,
)


def scatter(
    rng: np.random.Generator, shape: tuple[int, int], count: int, clump: float, spacing: float
) -> list[tuple[float, float]]:
    """Positions (x, y); a share of them lies close to an earlier one."""
    points: list[tuple[float, float]] = []
    for _ in range(count):
        x, y = rng.uniform(-5, shape[1] + 5), rng.uniform(-5, shape[0] + 5)
        if points and rng.random() < clump:
            near = points[int(rng.integers(len(points)))]
            turn, away = rng.uniform(0, 2 * np.pi), spacing * rng.uniform(0.8, 1.4)
            x, y = near[0] + away * np.cos(turn), near[1] + away * np.sin(turn)
        points.append((float(x), float(y)))
    return points


def fluorescence(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Bright nuclei on black (or the reverse), from a few to very many, touching, unevenly lit."""
    radius = float(np.exp(rng.uniform(np.log(4), np.log(45))))
    count = int(np.clip(rng.uniform(0.05, 0.5) * shape[0] * shape[1] / (4 * radius**2), 2, 160))
    floor = rng.uniform(0.0, 0.15)
    light = fractal(rng, shape, 300, 2) * rng.uniform(0, 0.03) + floor
    tint = random_colour(rng, 0.9) if rng.random() < 0.3 else np.ones(3, np.float32)
    canvas = Canvas((light[..., None] * tint).clip(0, 1).astype(np.float32))
    grain = fractal(rng, shape, radius, 3, 0.8)
    level, aspect = rng.uniform(0.12, 0.8), rng.uniform(1.0, 1.9)
    soft = rng.uniform(0, 0.12) * radius
    for centre in scatter(rng, shape, count, rng.uniform(0, 0.7), 1.9 * radius):
        own = float(np.clip(level * np.exp(rng.normal(0, 0.35)) + floor, 0.05, 1))
        size = radius * np.exp(rng.normal(0, 0.2))
        look = (own * (1 + grain * rng.uniform(0, 0.25)))[..., None] * tint
        outline = blob(rng, centre, size, rng.uniform(1, aspect), rng.uniform(0.01, 0.12))
        canvas.paint([outline], look.astype(np.float32), soft=soft, opacity=rng.uniform(0.85, 1))
        if rng.random() < 0.06:
            inner = blob(rng, centre, size * rng.uniform(0.2, 0.5))
            canvas.paint([inner], (look * 1.3).astype(np.float32), parent=len(canvas.parents) - 1)
    if rng.random() < 0.25:
        canvas.image = 1 - canvas.image
    return canvas


def stained_cells(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Pale discs and large cells with a dark lobed nucleus on a light ground."""
    ground = near_colour(rng, np.array([0.93, 0.87, 0.8], np.float32), 0.05)
    canvas = Canvas(coloured(rng, fractal(rng, shape, 200, 4), ground, 0.015))
    radius = float(rng.uniform(22, 75))
    disc = near_colour(rng, np.array([0.8, 0.55, 0.6], np.float32), 0.08)
    for centre in scatter(rng, shape, int(rng.integers(0, 22)), 0.5, 2.0 * radius):
        cell = blob(rng, centre, radius, rng.uniform(1, 1.25), 0.03)
        own = near_colour(rng, disc, 0.02)
        atom = canvas.paint([cell], own, soft=rng.uniform(0, 1.5), opacity=0.9)
        if rng.random() < 0.6:
            pale = blob(rng, centre, radius * rng.uniform(0.3, 0.55))
            canvas.paint(
                [pale], (own * 0.5 + ground * 0.5).astype(np.float32), atom=atom, soft=radius * 0.12
            )
    for _ in range(int(rng.integers(1, 4))):
        _white_cell(rng, canvas, radius * rng.uniform(1.0, 2.0))
    return canvas


def _white_cell(rng: np.random.Generator, canvas: Canvas, radius: float) -> None:
    """Pale textured cytoplasm with a nucleus of one to four lobes inside."""
    h, w = canvas.shape
    centre = (float(rng.uniform(0.1, 0.9) * w), float(rng.uniform(0.1, 0.9) * h))
    body = near_colour(rng, np.array([0.72, 0.66, 0.82], np.float32), 0.1)
    dark = near_colour(rng, np.array([0.35, 0.18, 0.5], np.float32), 0.08)
    grain = fractal(rng, canvas.shape, rng.uniform(3, 25), 3, 0.8)
    outline = blob(rng, centre, radius, rng.uniform(1, 1.3), rng.uniform(0.02, 0.15))
    look = coloured(rng, grain, body, rng.uniform(0.01, 0.07))
    cell = canvas.paint([outline], look, soft=rng.uniform(0.3, 3), opacity=rng.uniform(0.6, 1))
    size = radius * rng.uniform(0.3, 0.85)
    lobes: list[Contour] = []
    for _ in range(int(rng.choice([1, 1, 2, 3, 4]))):
        away = radius * rng.uniform(0, 0.45)
        turn = rng.uniform(0, 2 * np.pi)
        spot = (centre[0] + away * np.cos(turn), centre[1] + away * np.sin(turn))
        lobes.append(blob(rng, spot, size, rng.uniform(1, 1.6), 0.15))
        size *= 0.8
    atom = canvas.new_atom(parent=cell, counts=rng.random() < 0.25)
    nucleus = coloured(rng, fractal(rng, canvas.shape, 14, 3, 0.8), dark, rng.uniform(0.01, 0.07))
    for lobe in lobes:
        canvas.paint([lobe], nucleus, parent=cell, atom=atom, soft=rng.uniform(0.3, 1.5))


def tissue(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Many small dark nuclei in a fibrous, stained ground."""
    ground = near_colour(rng, np.array([0.85, 0.65, 0.8], np.float32), 0.1)
    fibres = fractal(rng, shape, rng.uniform(20, 90), 5, 0.8, rng.choice([0.3, 1.0, 3.0]))
    canvas = Canvas(coloured(rng, fibres, ground, rng.uniform(0.02, 0.1)))
    radius = float(rng.uniform(4, 18))
    dark = near_colour(rng, np.array([0.4, 0.25, 0.55], np.float32), 0.1)
    grain = fractal(rng, shape, radius, 3, 0.9)
    for centre in scatter(rng, shape, int(rng.integers(15, 150)), 0.4, 2.0 * radius):
        look = coloured(rng, grain, near_colour(rng, dark, 0.05), rng.uniform(0.02, 0.1))
        size = radius * np.exp(rng.normal(0, 0.25))
        outline = blob(rng, centre, size, rng.uniform(1, 2.2), rng.uniform(0.02, 0.15))
        canvas.paint([outline], look, soft=rng.uniform(0, 1.5), opacity=rng.uniform(0.5, 1))
    return canvas


def ultrasound(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Layered speckle with dark vessels and brighter, honeycombed nerves; borders gradual."""
    h, w = shape
    depth = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    layers = fractal(rng, shape, rng.uniform(60, 220), 5, 0.55, stretch=rng.uniform(0.25, 0.7))
    sheets = np.abs(fractal(rng, shape, 90, 4, 0.7, stretch=0.2)) < rng.uniform(0.02, 0.1)
    echo = 0.25 + 0.1 * layers + cv2.GaussianBlur(sheets.astype(np.float32), (0, 0), 1.2) * 0.35
    echo = echo * (1.1 - rng.uniform(0.2, 0.9) * depth)
    canvas = Canvas(np.repeat(echo[..., None], 3, axis=2).astype(np.float32))
    honey = fractal(rng, shape, rng.uniform(6, 14), 2, 0.8)
    for _ in range(int(rng.integers(2, 9))):
        centre = (float(rng.uniform(0, w)), float(rng.uniform(0.1, 0.9) * h))
        size = float(np.exp(rng.uniform(np.log(9), np.log(70))))
        outline = blob(
            rng, centre, size, rng.uniform(1, 2.6), rng.uniform(0, 0.12), rng.normal(0, 0.4)
        )
        soft = rng.uniform(0.5, 4)
        if rng.random() < 0.6:
            level, contrast = rng.uniform(0.0, 0.12), 0.02
            rim = blob(rng, centre, size * 1.12, 1.3, 0.02, 0.0)
            canvas.paint([rim], np.full(3, 0.5, np.float32), opacity=0.3, soft=3, counts=False)
        else:
            level, contrast = rng.uniform(0.15, 0.5), rng.uniform(0.03, 0.2)
        look = np.repeat((level + contrast * honey)[..., None], 3, axis=2).astype(np.float32)
        canvas.paint([outline], look, soft=soft, opacity=rng.uniform(0.6, 0.95))
    _speckle(rng, canvas)
    return canvas


def nerves(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Dark ultrasound with bright fascia lines; black vessels and honeycombed nerves wedged
    between them."""
    h, w = shape
    depth = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    layers = fractal(rng, shape, rng.uniform(80, 260), 5, 0.6, stretch=rng.uniform(0.25, 0.8))
    echo = (rng.uniform(0.08, 0.25) + rng.uniform(0.03, 0.09) * layers) * (1.2 - 0.7 * depth)
    canvas = Canvas(np.repeat(echo.clip(0, 1)[..., None], 3, axis=2).astype(np.float32))
    for _ in range(int(rng.integers(5, 40))):
        start = (float(rng.uniform(-0.3, 0.9) * w), float(rng.beta(1.3, 2.5) * h))
        line = stroke(
            rng, start, w * rng.uniform(0.1, 0.9), rng.uniform(0.8, 3.5), 0.5, rng.normal(0, 0.18)
        )
        level = rng.uniform(0.3, 0.95)
        look = np.full(3, level, np.float32)
        canvas.paint([line], look, soft=rng.uniform(0.3, 1.5), opacity=0.7, counts=False)
    honey = fractal(rng, shape, rng.uniform(5, 14), 2, 0.8)
    middle = (float(rng.uniform(0.2, 0.8) * w), float(rng.uniform(0.2, 0.7) * h))
    for _ in range(int(rng.integers(2, 8))):
        away = rng.normal(0, 0.16, 2) * (w, h)
        centre = (middle[0] + float(away[0]), middle[1] + float(away[1]))
        size = float(np.exp(rng.uniform(np.log(14), np.log(85))))
        if rng.random() < 0.4:
            _vessel(rng, canvas, centre, size)
        else:
            _nerve(rng, canvas, centre, size * 0.7, honey)
    _speckle(rng, canvas, fine=True)
    return canvas


def _vessel(
    rng: np.random.Generator, canvas: Canvas, centre: tuple[float, float], size: float
) -> None:
    """A black disc or oval with a bright wall, brightest where the sound meets it squarely."""
    aspect, turn = rng.uniform(1, 2.2), rng.normal(0, 0.4)
    wall = blob(rng, centre, size * 1.05 + 1.5, aspect, 0.02, turn)
    bright = np.full(3, rng.uniform(0.3, 0.8), np.float32)
    canvas.paint([wall], bright, opacity=rng.uniform(0.1, 0.6), soft=1.5, counts=False)
    inside = np.full(3, rng.uniform(0.0, 0.1), np.float32)
    lumen = blob(rng, centre, size, aspect, 0.03, turn)
    canvas.paint([lumen], inside, soft=rng.uniform(0.5, 3), opacity=rng.uniform(0.8, 1))


def _nerve(
    rng: np.random.Generator,
    canvas: Canvas,
    centre: tuple[float, float],
    size: float,
    honey: Float,
) -> None:
    """An oval or a wedge of bright strands with dark dots, its rim often brighter."""
    turn = rng.normal(0, 0.5)
    if rng.random() < 0.35:
        shape = polygon(rng, centre, size * 1.2, int(rng.integers(3, 6)))
    else:
        shape = blob(rng, centre, size, rng.uniform(1, 3.5), rng.uniform(0.02, 0.2), turn)
    level, contrast = rng.uniform(0.2, 0.5), rng.uniform(0.05, 0.22)
    look = np.repeat((level + contrast * honey)[..., None], 3, axis=2).clip(0, 1)
    soft = rng.uniform(0.5, 3)
    nerve = canvas.paint([shape], look.astype(np.float32), soft=soft, opacity=rng.uniform(0.4, 0.9))
    if rng.random() < 0.5:
        inner = (np.array(centre) + (shape - np.array(centre)) * 0.8).astype(np.float32)
        dim = (look * rng.uniform(0.4, 0.8)).astype(np.float32)
        canvas.paint([inner], dim, parent=nerve, atom=nerve, soft=1.5, opacity=0.8)


def _speckle(rng: np.random.Generator, canvas: Canvas, fine: bool = False) -> None:
    """Multiplicative speckle, wider than high, and black margins."""
    h, w = canvas.shape
    noise = rng.rayleigh(1.0, (h, w)).astype(np.float32)
    noise = np.asarray(
        cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.8, 2.2), sigmaY=rng.uniform(0.6, 1.4)),
        np.float32,
    )
    noise = 1 + (noise - noise.mean()) / noise.std() * rng.uniform(
        0.05 if fine else 0.1, 0.18 if fine else 0.32
    )
    bright = np.clip(canvas.image.clip(0, 1) * noise[..., None], 0, 1)
    canvas.image = np.asarray(bright ** rng.uniform(0.7, 1.3), np.float32)
    if rng.random() < 0.6:
        top, bottom = int(rng.uniform(0, 0.15) * h), int(rng.uniform(0.75, 1) * h)
        for part in (slice(0, top), slice(bottom, h)):
            canvas.image[part] = 0
            canvas.atoms[part] = 0


def skin(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """A pigmented spot of several tones on skin, with hairs, gel reflections and stickers."""
    h, w = shape
    tone = near_colour(rng, np.array([0.85, 0.66, 0.58], np.float32), 0.09)
    canvas = Canvas(coloured(rng, fractal(rng, shape, 260, 7, 0.6), tone, rng.uniform(0.01, 0.06)))
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        edge = (float(rng.choice([0.0, w])) + rng.normal(0, 40), float(rng.uniform(0, h)))
        canvas.paint([blob(rng, edge, rng.uniform(60, 180), 1, 0)], random_colour(rng, 0.9), soft=1)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        centre = (float(rng.uniform(0.2, 0.8) * w), float(rng.uniform(0.2, 0.8) * h))
        size = float(np.exp(rng.uniform(np.log(18), np.log(190))))
        depth = rng.uniform(0.12, 0.8)
        pigment = np.array([0.4, 0.25, 0.18], np.float32) * (1 - depth) + tone * depth
        look = coloured(rng, fractal(rng, shape, size, 6, 0.75), pigment, rng.uniform(0.01, 0.14))
        outline = blob(rng, centre, size, rng.uniform(1, 1.6), rng.uniform(0.04, 0.3))
        mole = canvas.paint([outline], look.astype(np.float32), soft=rng.uniform(0.5, 0.12 * size))
        if rng.random() < 0.5:
            spot = (centre[0] + rng.normal(0, size / 3), centre[1] + rng.normal(0, size / 3))
            inner = blob(rng, spot, size * rng.uniform(0.2, 0.6), 1.3, 0.25)
            shade = (pigment * rng.uniform(0.4, 0.8)).astype(np.float32)
            counts = rng.random() < 0.25
            canvas.paint([inner], shade, parent=mole, soft=0.05 * size, opacity=0.8, counts=counts)
    before = canvas.atoms.copy()
    for _ in range(int(rng.choice([0, 0, 5, 25]))):
        hair = stroke(rng, (rng.uniform(0, w), rng.uniform(0, h)), rng.uniform(60, 400), 1.8, 0.8)
        canvas.paint(
            [hair], np.full(3, rng.uniform(0.05, 0.3), np.float32), counts=False, opacity=0.8
        )
    canvas.atoms = before
    return canvas


def generic(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """A few soft objects on any surface, alike or unlike it."""
    ground: Float = surface(rng, shape, real)
    canvas = Canvas(ground)
    mean = ground.mean(axis=(0, 1)).astype(np.float32)
    spread = float(np.exp(rng.uniform(np.log(0.05), np.log(0.5))))
    for _ in range(int(rng.integers(1, 25))):
        centre = (float(rng.uniform(0, shape[1])), float(rng.uniform(0, shape[0])))
        size = float(np.exp(rng.uniform(np.log(5), np.log(150))))
        look = surface(rng, shape, real, near_colour(rng, mean, spread), 0.5)
        outline = blob(rng, centre, size, rng.uniform(1, 3), rng.uniform(0, 0.5))
        hole = [blob(rng, centre, size * rng.uniform(0.2, 0.6))] if rng.random() < 0.15 else []
        soft = float(rng.choice([0.0, 0.0, rng.uniform(0, 0.1 * size)]))
        canvas.paint([outline], look, soft=soft, opacity=rng.uniform(0.6, 1), holes=hole)
    return canvas
