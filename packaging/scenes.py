"""The six sample scenes; each draws an image and knows the true outline of every object."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from drawing import (
    Scene,
    blob,
    colour,
    lambert,
    mark,
    mix,
    noise,
    paint,
    shadow,
    shifted,
    shine,
)

from infosam_studio.annotation._cv2 import cv2


def spread(
    rng: np.random.Generator, shape: tuple[int, int], count: int, distance: float, margin: float
) -> list[tuple[float, float]]:
    """Up to `count` places (x, y) at least `distance` apart."""
    places: list[tuple[float, float]] = []
    for _ in range(count * 200):
        x = rng.uniform(margin, shape[1] - margin)
        y = rng.uniform(margin, shape[0] - margin)
        if all((x - a) ** 2 + (y - b) ** 2 > distance**2 for a, b in places):
            places.append((x, y))
        if len(places) == count:
            break
    return places


def cells(scene: Scene) -> None:
    """A stained blood smear: red cells with pale middles, a few white cells with lobed nuclei."""
    rng, shape = scene.rng, scene.shape
    cloud = noise(rng, shape, 500, octaves=3)
    scene.image[:] = mix(colour("#efe6dc"), colour("#e4d3cf"), cloud)
    for number, (x, y) in enumerate(spread(rng, shape, 46, 150, 20)):
        white = number in (3, 17, 29)
        radius = rng.uniform(128, 150) if white else rng.uniform(72, 88)
        draw = _white_cell if white else _red_cell
        draw(scene, x, y, radius)
    vignette = np.hypot(*np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j])
    scene.image *= (1 - 0.10 * vignette**2).astype(np.float32)[..., None]


def _red_cell(scene: Scene, x: float, y: float, radius: float) -> None:
    radii = (radius, radius * scene.rng.uniform(0.88, 1.0))
    shape = blob(scene, x, y, radii, turn=scene.rng.uniform(0, 3), wobble=0.03)
    tint = mix(colour("#d9877c"), colour("#c9696a"), scene.rng.random())
    pale = np.exp(-((shape.rho / 0.42) ** 2)) * scene.rng.uniform(0.45, 0.8)
    rim = np.exp(-(((shape.rho - 0.93) / 0.07) ** 2)) * 0.28
    colours = mix(mix(tint, colour("#f0d6cb"), pale), colour("#8f3f48"), rim)
    paint(scene, shape, colours * (0.94 + 0.08 * lambert(shape.normal))[..., None], softness=0.05)
    mark(scene, shape)


def _white_cell(scene: Scene, x: float, y: float, radius: float) -> None:
    rng = scene.rng
    shape = blob(scene, x, y, (radius, radius * 0.95), wobble=0.05)
    grains = noise(rng, shape.rho.shape, 14, octaves=2)
    body = mix(colour("#d8c4e0"), colour("#b79bc9"), grains * 0.8)
    paint(scene, shape, body, softness=0.05)
    mark(scene, shape)
    for lobe in range(rng.integers(2, 5)):
        turn = lobe * 1.7 + rng.uniform(-0.2, 0.2)
        at = (x + np.cos(turn) * radius * 0.36, y + np.sin(turn) * radius * 0.34)
        size = (radius * rng.uniform(0.34, 0.44), radius * rng.uniform(0.26, 0.34))
        nucleus = blob(scene, *at, size, turn=turn, wobble=0.08)
        clumps = noise(rng, nucleus.rho.shape, 22, octaves=3)
        paint(scene, nucleus, mix(colour("#6b3a8c"), colour("#3f1f66"), clumps), softness=0.09)


def leaf(scene: Scene) -> None:
    """One leaf on grey cloth, with veins and brown lesions in yellow halos (the objects)."""
    rng, shape = scene.rng, scene.shape
    weave = noise(rng, shape, 6, octaves=1) * 0.5 + noise(rng, shape, 300, octaves=2) * 0.5
    scene.image[:] = mix(colour("#8e98a3"), colour("#a9b2ba"), weave)
    x, y = shape[1] * 0.5, shape[0] * 0.52
    outline, along, across = _leaf_frame(scene, x, y)
    inside = outline < 1
    shadow(scene, inside, offset=(22, 26), blur=18, depth=0.55)
    cloud = noise(rng, shape, 220, octaves=5)
    green = mix(colour("#3f7d2e"), colour("#79b04a"), cloud * 0.8 + 0.2 * (1 - outline.clip(0, 1)))
    veins = _veins(along, across)
    green = mix(green, colour("#b9d58a"), veins * 0.55)
    green *= (0.86 + 0.2 * np.cos(across * 2.6) + 0.05 * np.sin(along * 40 + across * 3))[..., None]
    edge = np.clip((1 - outline) * 60, 0, 1)
    scene.image[:] = mix(scene.image, green, edge)
    for px, py in spread(rng, shape, 60, 130, 200):
        if scene.objects < 15 and outline[int(py), int(px)] < 0.84:
            _lesion(scene, px, py)


def _leaf_frame(scene: Scene, x: float, y: float) -> tuple[Any, Any, Any]:
    """How far out every pixel is (1: the outline), and its place along and across the midrib."""
    v, u = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    turn = np.float32(-0.16)
    a = ((u - x) * np.cos(turn) + (v - y) * np.sin(turn)) / 860
    b = ((v - y) * np.cos(turn) - (u - x) * np.sin(turn)) / 540
    b = b - 0.10 * a**2
    width = np.clip(1 - np.abs(a) ** 2.2, 0, 1) ** 0.75 * (1 - 0.22 * a)
    teeth = 1 + 0.015 * np.sin(a * 95)
    outline = np.abs(b) / np.maximum(width * teeth, 1e-3)
    outline = np.where(np.abs(a) >= 1, 9, outline)
    stalk = (np.abs(b) < 0.02) & (a < -0.9) & (a > -1.1)
    return np.where(stalk, 0.5, outline).astype(np.float32), a, b


def _veins(along: Any, across: Any) -> Any:
    midrib = np.exp(-((across / 0.012) ** 2))
    phase = along * 9 - np.abs(across) * 5.2
    side = np.exp(-(((phase - np.round(phase)) / 0.035) ** 2)) * np.exp(-np.abs(across) * 1.5)
    return np.clip(midrib + 0.75 * side, 0, 1).astype(np.float32)


def _lesion(scene: Scene, x: float, y: float) -> None:
    rng = scene.rng
    radius = float(np.exp(rng.uniform(np.log(24), np.log(78))))
    radii = (radius, radius * rng.uniform(0.6, 0.95))
    turn = rng.uniform(0, 3)
    state = rng.bit_generator.state
    halo = blob(scene, x, y, (radii[0] * 1.45, radii[1] * 1.45), turn=turn, wobble=0.14)
    paint(scene, halo, mix(scene.image[halo.window], colour("#d9c94f"), 0.62), softness=0.5)
    rng.bit_generator.state = state  # the halo has the outline of its lesion
    spot = blob(scene, x, y, radii, turn=turn, wobble=0.14)
    grains = noise(rng, spot.rho.shape, 16, octaves=3)
    brown = mix(colour("#7a4a21"), colour("#4a2a14"), grains)
    brown = mix(brown, colour("#b99a6b"), np.exp(-((spot.rho / 0.4) ** 2)) * 0.7)
    paint(scene, spot, brown, softness=0.08)
    mark(scene, spot)


def metal(scene: Scene) -> None:
    """Brushed steel with scratches, pits and two stains (the objects)."""
    rng, shape = scene.rng, scene.shape
    brush = noise(rng, shape, 3, octaves=2, stretch=120) * 0.6
    brush += noise(rng, shape, 9, octaves=2, stretch=200) * 0.4
    sheen = np.exp(-(((np.mgrid[: shape[0], : shape[1]][1] / shape[1] - 0.38) / 0.34) ** 2))
    scene.image[:] = mix(colour("#70767c"), colour("#b7bcc1"), brush * 0.55 + sheen * 0.45)
    for _ in range(2):
        x, y = rng.uniform(300, shape[1] - 300), rng.uniform(250, shape[0] - 250)
        stain = blob(scene, x, y, (150, 105), turn=rng.uniform(0, 3), wobble=0.16)
        cloud = noise(rng, stain.rho.shape, 60, octaves=4)
        rust = mix(colour("#8a5a35"), colour("#5a3420"), cloud)
        below = scene.image[stain.window]
        paint(scene, stain, mix(below, rust, 0.55 + 0.4 * cloud), softness=0.12)
        mark(scene, stain)
    for _ in range(9):
        _scratch(scene)
    for x, y in spread(rng, shape, 9, 220, 90):
        radius = rng.uniform(16, 34)
        pit = blob(scene, x, y, (radius, radius * 0.9), wobble=0.1)
        depth = 1 - lambert(pit.normal, ambient=0.1)  # hollow: lit from the other side
        paint(scene, pit, colour("#3b3e42") + 0.4 * depth[..., None], softness=0.12)
        mark(scene, pit)


def _scratch(scene: Scene) -> None:
    """A curved line, dark on one side and bright on the other, thinning towards its ends."""
    rng, (height, width) = scene.rng, scene.shape
    start = np.array([rng.uniform(150, width - 150), rng.uniform(150, height - 150)])
    turn, bend, length = rng.uniform(-0.9, 0.9), rng.normal(0, 0.0007), rng.uniform(350, 900)
    steps = np.arange(0, length, 3)
    directions = turn + bend * steps
    points = start + np.cumsum(np.stack([np.cos(directions), np.sin(directions)], 1) * 3, 0)
    line = np.zeros(scene.shape, np.uint8)
    half = rng.uniform(4, 8)
    for at, (a, b) in enumerate(itertools.pairwise(points)):
        thick = half * np.sin(np.pi * (at + 1) / len(points)) ** 0.5
        ends = [tuple(round(c) for c in p) for p in (a, b)]
        cv2.line(line, ends[0], ends[1], 255, max(2, round(2 * thick)), cv2.LINE_AA)
    soft = cv2.GaussianBlur(line.astype(np.float32) / 255, (0, 0), 1.2)
    scene.image[:] = mix(scene.image, colour("#33363a"), soft * 0.8)
    bright = shifted(soft, 2, 3) * (1 - soft)
    scene.image[:] = mix(scene.image, colour("#f3f5f7"), bright * 0.9)
    scene.index[line > 127] = scene.new_object()


def pebbles(scene: Scene) -> None:
    """Pebbles on wet sand, small ones below, large ones on top."""
    rng, shape = scene.rng, scene.shape
    sand = noise(rng, shape, 5, octaves=2) * 0.5 + noise(rng, shape, 260, octaves=3) * 0.5
    scene.image[:] = mix(colour("#6d6152"), colour("#a39480"), sand)
    tints = ["#8d8f92", "#b7b1a6", "#6c7278", "#a48a74", "#c9c3b8", "#7d6a62", "#59616b"]
    for count, distance, low, high in ((40, 150, 45, 65), (26, 235, 80, 112), (11, 370, 120, 165)):
        for x, y in spread(rng, shape, count, distance, 10):
            radius = rng.uniform(low, high)
            _pebble(scene, x, y, radius, colour(tints[rng.integers(len(tints))]))


def _pebble(scene: Scene, x: float, y: float, radius: float, tint: Any) -> None:
    rng = scene.rng
    radii = (radius, radius * rng.uniform(0.62, 0.92))
    shape = blob(scene, x, y, radii, turn=rng.uniform(0, 3), wobble=0.07, lobes=4)
    where = np.zeros(scene.shape, np.float32)
    where[shape.window] = shape.inside
    shadow(scene, where, offset=(int(radius * 0.16), int(radius * 0.2)), blur=9, depth=0.75)
    speckle = noise(rng, shape.rho.shape, rng.uniform(4, 9), octaves=2)
    bands = np.sin(noise(rng, shape.rho.shape, 90, octaves=2) * rng.uniform(6, 22))
    tone = tint * (0.86 + 0.24 * speckle + 0.09 * bands)[..., None]
    light = lambert(shape.normal, ambient=0.28)[..., None]
    paint(scene, shape, tone * light * 1.3 + 0.10 * shine(shape.normal)[..., None])
    mark(scene, shape)


def fruit(scene: Scene) -> None:
    """Oranges, apples, lemons and plums on a wooden table."""
    rng, shape = scene.rng, scene.shape
    _table(scene)
    kinds = [
        ("#e8871e", "#f3a53a", 1.0, 0.10),
        ("#b3202c", "#d9a441", 0.95, 0.35),
        ("#e9cf3c", "#f4e06a", 0.74, 0.12),
        ("#4a2a5e", "#7a4a86", 0.88, 0.22),
        ("#6f9b2f", "#b4c94a", 0.96, 0.28),
    ]
    for number, (x, y) in enumerate(spread(rng, shape, 11, 330, 190)):
        base, second, ratio, streaks = kinds[number % len(kinds)]
        radius = rng.uniform(135, 190) * (0.72 if ratio == 0.88 else 1.0)
        _fruit(scene, x, y, (radius, radius * ratio), (colour(base), colour(second)), streaks)


def _table(scene: Scene) -> None:
    rng, shape = scene.rng, scene.shape
    for plank in range(5):
        y0, y1 = plank * shape[0] // 5, (plank + 1) * shape[0] // 5
        part = (y1 - y0, shape[1])
        rings = noise(rng, part, 90, octaves=3, stretch=9)
        grain = np.sin(rings * 46 + rng.uniform(0, 6)) * 0.5 + 0.5
        fine = noise(rng, part, 4, octaves=2, stretch=40)
        tone = rng.uniform(0.88, 1.08)
        wood = mix(colour("#a9713f"), colour("#7d4c27"), grain * 0.55 + fine * 0.3) * tone
        scene.image[y0:y1] = wood
        scene.image[y1 - 5 : y1] *= 0.45


def _fruit(
    scene: Scene,
    x: float,
    y: float,
    radii: tuple[float, float],
    tints: tuple[Any, Any],
    streaks: float,
) -> None:
    rng = scene.rng
    shape = blob(scene, x, y, radii, turn=rng.uniform(0, 3), wobble=0.02, lobes=4)
    where = np.zeros(scene.shape, np.float32)
    where[shape.window] = shape.inside
    shadow(scene, where, offset=(44, 54), blur=26, depth=0.62)
    cloud = noise(rng, shape.rho.shape, 120, octaves=3)
    streak = noise(rng, shape.rho.shape, 26, octaves=2) * np.abs(np.cos(shape.angle * 6))
    peel = mix(tints[0], tints[1], np.clip(cloud * 0.5 + streak * streaks * 2, 0, 1))
    dimples = noise(rng, shape.rho.shape, 7, octaves=1)
    light = lambert(shape.normal, ambient=0.25) * (0.95 + 0.08 * dimples)
    gloss = shine(shape.normal, sharpness=38)[..., None]
    paint(scene, shape, peel * light[..., None] * 1.22 + 0.5 * gloss, softness=0.015)
    mark(scene, shape)
    turn = rng.uniform(0, 6)
    at = (x + np.cos(turn) * radii[0] * 0.35, y + np.sin(turn) * radii[1] * 0.35)
    stem = blob(scene, *at, (radii[0] * 0.09, radii[0] * 0.06), turn=turn, wobble=0.1)
    paint(scene, stem, colour("#3d2c18"), softness=0.35)


def fields(scene: Scene) -> None:
    """Farmland from above: fields with their rows (the objects), hedges, a track and a pond."""
    rng, shape = scene.rng, scene.shape
    grass = noise(rng, shape, 90, octaves=5)
    scene.image[:] = mix(colour("#4f6b35"), colour("#6f8a49"), grass)
    crops = ["#c9b458", "#8fae4b", "#9c7a4d", "#5f8f3e", "#d8cf8a", "#7a5b3d", "#a8bf63", "#b59a5a"]
    corners = _bent_grid(scene, rows=4, columns=5)
    for row in range(4):
        for column in range(5):
            four = [corners[row + i, column + j] for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
            if (row, column) == (2, 3):
                _pond(scene, np.mean(four, 0))
            else:
                _field(scene, np.array(four), colour(crops[rng.integers(len(crops))]))
    _trees(scene)


def _bent_grid(scene: Scene, *, rows: int, columns: int) -> Any:
    y, x = np.meshgrid(
        np.linspace(-40, scene.shape[0] + 40, rows + 1),
        np.linspace(-60, scene.shape[1] + 60, columns + 1),
        indexing="ij",
    )
    corners = np.stack([x + 0.16 * (y - 600), y - 0.08 * (x - 900)], -1)
    return corners + scene.rng.normal(0, 38, corners.shape)


def _field(scene: Scene, corners: Any, tint: Any) -> None:
    rng = scene.rng
    middle = corners.mean(0)
    inner = middle + (corners - middle) * 0.925
    polygon = np.zeros(scene.shape, np.uint8)
    cv2.fillPoly(polygon, [np.round(inner).astype(np.int32)], 255, cv2.LINE_AA)
    side = corners[1] - corners[0] if rng.random() < 0.5 else corners[3] - corners[0]
    turn = np.arctan2(side[1], side[0])
    v, u = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    across = v * np.float32(np.cos(turn)) - u * np.float32(np.sin(turn))
    rows = np.sin(across * np.float32(2 * np.pi / rng.uniform(11, 26))) * 0.5 + 0.5
    cloud = noise(rng, scene.shape, 150, octaves=4)
    tone = tint * (0.80 + 0.16 * rows * rng.uniform(0.3, 1) + 0.24 * cloud)[..., None]
    scene.image[:] = mix(scene.image, tone, polygon.astype(np.float32) / 255)
    scene.index[polygon > 127] = scene.new_object()


def _pond(scene: Scene, at: Any) -> None:
    water = blob(scene, float(at[0]), float(at[1]), (150, 96), turn=0.4, wobble=0.12)
    deep = mix(colour("#3f5f6e"), colour("#22404f"), np.clip(1 - water.rho, 0, 1))
    bank = blob(scene, float(at[0]), float(at[1]), (172, 118), turn=0.4, wobble=0.1)
    paint(scene, bank, colour("#7c7a52"), softness=0.2)
    paint(scene, water, deep, softness=0.05)
    mark(scene, water)


def _trees(scene: Scene) -> None:
    """Single trees along the hedges; only where no object lies, so that the truth stays true."""
    rng = scene.rng
    free = cv2.erode((scene.index == 0).astype(np.uint8), np.ones((9, 9), np.uint8))
    for x, y in spread(rng, scene.shape, 240, 34, 24):
        if free[int(y), int(x)]:
            radius = rng.uniform(9, 19)
            crown = blob(scene, x, y, (radius, radius), wobble=0.12)
            crown_only = np.where(scene.index[crown.window] == 0, crown.rho, 9).astype(np.float32)
            light = lambert(crown.normal, ambient=0.3)[..., None]
            below = scene.image[crown.window]
            soft = np.clip((1 - crown_only) / 0.2 + 0.5, 0, 1)
            below[:] = mix(below, colour("#3c5a2a") * light * 1.2, soft)


SCENES: dict[str, tuple[Callable[[Scene], None], str]] = {
    "cells": (cells, ".jpg"),
    "leaf": (leaf, ".jpg"),
    "metal": (metal, ".png"),
    "pebbles": (pebbles, ".jpg"),
    "fruit": (fruit, ".jpg"),
    "fields": (fields, ".jpg"),
}
