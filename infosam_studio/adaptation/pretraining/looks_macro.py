"""Scenes that look like leaves, fields, steel, people, mosaics and thin networks."""

from __future__ import annotations

import cv2
import numpy as np

from infosam_studio.adaptation.pretraining.canvas import Canvas
from infosam_studio.adaptation.pretraining.looks_micro import scatter
from infosam_studio.adaptation.pretraining.shapes import (
    Contour,
    blob,
    leaf,
    polygon,
    rectangle,
    stroke,
)
from infosam_studio.adaptation.pretraining.textures import (
    Float,
    RealPatches,
    coloured,
    fractal,
    near_colour,
    random_colour,
    surface,
)


def spotted_leaf(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """A veined leaf with small and large ragged spots, some with a pale halo."""
    h, w = shape
    plain = near_colour(rng, np.full(3, rng.uniform(0.6, 0.95), np.float32), 0.03)
    ground = surface(rng, shape, real, plain if rng.random() < 0.7 else None, 0.2)
    canvas = Canvas(ground)
    green = near_colour(rng, np.array([0.35, 0.5, 0.15], np.float32), 0.08)
    look = coloured(rng, fractal(rng, shape, 120, 6, 0.7), green, rng.uniform(0.01, 0.06))
    angle = rng.normal(0, 0.4)
    length = w * rng.uniform(0.7, 1.6)
    base = (w / 2 - np.cos(angle) * length / 2, h / 2 - np.sin(angle) * length / 2)
    outline = leaf(rng, base, length, h * rng.uniform(0.4, 1.1), angle)
    plate = canvas.paint([outline], look, soft=0.5)
    _veins(rng, canvas, plate, base, length, angle, green)
    brown = near_colour(rng, np.array([0.45, 0.3, 0.12], np.float32), 0.12)
    for centre in scatter(rng, shape, int(rng.integers(2, 50)), 0.5, rng.uniform(10, 40)):
        size = float(np.exp(rng.uniform(np.log(3), np.log(38))))
        own = near_colour(rng, brown, 0.08)
        if rng.random() < 0.5:
            pale = (own * 0.3 + np.array([0.6, 0.6, 0.2]) * 0.7).astype(np.float32)
            halo = blob(rng, centre, size * rng.uniform(1.2, 1.6), 1.2, 0.2)
            canvas.paint(
                [halo], pale, parent=plate, soft=0.2 * size, opacity=0.6, counts=rng.random() < 0.2
            )
        surface_ = coloured(rng, fractal(rng, shape, 12, 3, 0.9), own, rng.uniform(0.01, 0.08))
        spot = blob(rng, centre, size, rng.uniform(1, 2), rng.uniform(0.1, 0.45))
        canvas.paint(
            [spot],
            surface_,
            parent=plate,
            soft=rng.uniform(0, 0.15 * size),
            opacity=rng.uniform(0.7, 1),
        )
    return canvas


def leaf_photograph(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """One leaf on an evenly lit table, ribbed and glossy, with a few burnt or pale lesions."""
    h, w = shape
    tone = near_colour(rng, np.full(3, rng.uniform(0.65, 0.97), np.float32), 0.03)
    slope = fractal(rng, shape, 2.0 * max(shape), 1) * rng.uniform(0.0, 0.06)
    canvas = Canvas((tone + slope[..., None]).clip(0, 1).astype(np.float32))
    green = near_colour(rng, np.array([0.33, 0.5, 0.12], np.float32), 0.08)
    angle = rng.normal(0, 0.25)
    length = w * rng.uniform(0.6, 1.3)
    base = (w / 2 - np.cos(angle) * length / 2, h / 2 - np.sin(angle) * length / 2)
    outline = leaf(rng, base, length, h * rng.uniform(0.45, 0.9), angle)
    if rng.random() < 0.5:
        shadow = (outline + rng.uniform(3, 14, 2)).astype(np.float32)
        shade = (tone * 0.75).astype(np.float32)
        canvas.paint([shadow], shade, soft=rng.uniform(4, 12), opacity=0.6, counts=False)
    plate = canvas.paint([outline], _ribbed(rng, shape, green, angle), soft=0.7)
    _veins(rng, canvas, plate, base, length, angle, green)
    kinds = rng.random()
    if kinds < 0.75:
        _lesions(rng, canvas, plate, int(rng.integers(1, 9)), pale=False)
    if kinds > 0.5:
        _lesions(rng, canvas, plate, int(rng.integers(3, 30)), pale=True)
    return canvas


def _ribbed(rng: np.random.Generator, shape: tuple[int, int], green: Float, angle: float) -> Float:
    """Leaf surface [H,W,3]: folds between the side veins, uneven colour, gloss."""
    ys, xs = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    turn = angle + rng.uniform(0.6, 1.1)
    warp = fractal(rng, shape, 200.0, 2) * rng.uniform(0, 8)
    period = float(np.exp(rng.uniform(np.log(18), np.log(70))))
    folds = np.sin((np.cos(turn) * xs + np.sin(turn) * ys + warp) * (2 * np.pi / period))
    light = rng.uniform(0, 0.05) * folds + rng.uniform(0.01, 0.05) * fractal(rng, shape, 150, 5)
    gloss = np.maximum(fractal(rng, shape, 120, 2, stretch=rng.uniform(0.5, 2)) - 1.0, 0)
    shine = gloss * np.maximum(folds, 0.2) * rng.uniform(0, 0.25)
    return np.asarray((green + (light + shine)[..., None]).clip(0, 1), np.float32)


def _lesions(
    rng: np.random.Generator, canvas: Canvas, plate: int, count: int, *, pale: bool
) -> None:
    """Burnt lesions with a paler core or rim, or many yellowish ones that barely stand out."""
    ys, xs = np.nonzero(canvas.atoms == plate)
    kind = np.array([0.62, 0.6, 0.2] if pale else [0.3, 0.19, 0.1], np.float32)
    colour = near_colour(rng, kind, 0.08)
    largest = 30 if pale else 48
    for _ in range(count if len(ys) else 0):
        pick = int(rng.integers(len(ys)))
        centre = (float(xs[pick]), float(ys[pick]))
        size = float(np.exp(rng.uniform(np.log(4), np.log(largest))))
        own = near_colour(rng, colour, 0.04)
        grain = fractal(rng, canvas.shape, max(6.0, size), 3, 0.8)
        look = coloured(rng, grain, own, rng.uniform(0.01, 0.06))
        shape_ = blob(rng, centre, size, rng.uniform(1, 3.2), rng.uniform(0.08, 0.35))
        soft = rng.uniform(0.3, 0.12 * size + 0.6)
        opacity = rng.uniform(0.35, 0.8) if pale else rng.uniform(0.8, 1)
        spot = canvas.paint([shape_], look, parent=plate, soft=soft, opacity=opacity)
        if size > 8 and rng.random() < 0.4:
            core = blob(rng, centre, size * rng.uniform(0.3, 0.6), rng.uniform(1, 2), 0.2)
            tint = (own * rng.uniform(0.6, 1.9)).clip(0, 1).astype(np.float32)
            canvas.paint([core], tint, parent=spot, atom=spot, soft=0.15 * size, opacity=0.7)


def _veins(
    rng: np.random.Generator,
    canvas: Canvas,
    plate: int,
    base: tuple[float, float],
    length: float,
    angle: float,
    green: Float,
) -> None:
    """A midrib and side veins; they belong to the leaf."""
    pale = np.clip(green * rng.uniform(0.8, 1.5), 0, 1).astype(np.float32)
    direction = np.array([np.cos(angle), np.sin(angle)])
    count = int(rng.integers(4, 14))
    for k in range(count):
        start = np.array(base) + direction * length * (k + 0.5) / count
        for side in (-1, 1):
            turn = angle + side * rng.uniform(0.6, 1.1)
            end = start + length * 0.5 * np.array([np.cos(turn), np.sin(turn)])
            vein = np.array([start, end, end + 1.5, start + 1.5], np.float32)
            canvas.paint([vein], pale, parent=plate, atom=plate, opacity=0.4, soft=0.7)
    tip = np.array(base) + direction * length
    rib = np.array([base, tip, tip + 1, np.array(base) + 5], np.float32)
    canvas.paint([rib], pale, parent=plate, atom=plate, opacity=0.7, soft=0.6)


def plants(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Rosettes and seedlings of many leaves on soil; a plant is one object, leaves are parts."""
    h, w = shape
    soil = near_colour(rng, np.full(3, rng.uniform(0.15, 0.5), np.float32), 0.06)
    clods = fractal(rng, shape, rng.uniform(20, 120), 7, 0.85)
    canvas = Canvas(coloured(rng, clods, soil, rng.uniform(0.04, 0.14)))
    if real and rng.random() < 0.3:
        canvas = Canvas(real.patch(rng, shape))
    scale = float(np.exp(rng.uniform(np.log(12), np.log(110))))
    green = near_colour(rng, np.array([0.3, 0.5, 0.2], np.float32), 0.12)
    for _ in range(int(rng.integers(2, 22))):
        centre = (float(rng.uniform(0, w)), float(rng.uniform(0, h)))
        plant = canvas.new_atom()
        size, count = scale * np.exp(rng.normal(0, 0.4)), int(rng.integers(2, 12))
        narrow, own = rng.uniform(0.12, 0.6), near_colour(rng, green, 0.06)
        serrated = rng.random() < 0.4
        for k in range(count):
            angle = 2 * np.pi * k / count + rng.normal(0, 0.4)
            length = size * rng.uniform(0.5, 1.2)
            blade = leaf(rng, centre, length, length * narrow, angle)
            shade = near_colour(rng, own, 0.05)
            look = coloured(rng, clods, shade, rng.uniform(0.0, 0.05))
            part = rng.random() < 0.12 and not serrated
            atom = canvas.new_atom(plant) if part else plant
            canvas.paint([blade], look, atom=atom, soft=0.4)
            if serrated:
                _leaflets(rng, canvas, centre, length, angle, look, atom)
    return canvas


def _leaflets(
    rng: np.random.Generator,
    canvas: Canvas,
    base: tuple[float, float],
    length: float,
    angle: float,
    look: Float,
    atom: int,
) -> None:
    """Small side leaves along a stalk, as fern-like weeds have."""
    for share in np.linspace(0.3, 1.0, int(rng.integers(2, 5))):
        spot = (base[0] + np.cos(angle) * length * share, base[1] + np.sin(angle) * length * share)
        for side in (-1, 1):
            blade = leaf(rng, spot, length * 0.35, length * 0.16, angle + side * 0.9)
            canvas.paint([blade], look, atom=atom, soft=0.4)


def steel(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """A grey rolled surface with long inclusions, scratches, patches and pits of low contrast."""
    h, w = shape
    level, stretch = rng.uniform(0.2, 0.7), float(rng.choice([1.0, 4.0, 8.0]))
    base = fractal(rng, shape, rng.uniform(30, 250), 6, 0.7, stretch) * rng.uniform(0.01, 0.05)
    grain = rng.standard_normal(shape).astype(np.float32) * rng.uniform(0, 0.025)
    canvas = Canvas(np.repeat((level + base + grain)[..., None], 3, axis=2).astype(np.float32))
    kind = rng.integers(4)
    rough = fractal(rng, shape, rng.uniform(6, 50), 5, 0.85, stretch)
    for _ in range(int(rng.integers(1, 10))):
        contrast = rng.choice([-1, -1, 1]) * rng.uniform(0.04, 0.3)
        centre = (float(rng.uniform(0, w)), float(rng.uniform(0, h)))
        size = float(np.exp(rng.uniform(np.log(8), np.log(90))))
        if kind == 0:
            shape_ = blob(
                rng, centre, size, rng.uniform(3, 14), 0.25, np.pi / 2 + rng.normal(0, 0.08)
            )
        elif kind == 1:
            shape_ = stroke(rng, centre, size * rng.uniform(2, 6), rng.uniform(2, 12), 0.3)
        elif kind == 2:
            shape_ = blob(rng, centre, size, rng.uniform(1, 2.5), rng.uniform(0.2, 0.5))
        else:
            shape_ = polygon(rng, centre, size, int(rng.integers(5, 12)))
        look = level + contrast + rough * rng.uniform(0.0, 0.12) + grain
        look3 = np.repeat(look[..., None], 3, axis=2).astype(np.float32)
        canvas.paint([shape_], look3, soft=rng.uniform(0.3, 4), opacity=rng.uniform(0.5, 1))
    return canvas


def person(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """A dressed figure built of garments, skin and hair before a real or plain background."""
    canvas = Canvas(surface(rng, shape, real, None, 0.85))
    h, w = shape
    x, top, tall = rng.uniform(0.3, 0.7) * w, rng.uniform(0.02, 0.2) * h, rng.uniform(0.7, 1.3) * h
    who = canvas.new_atom()
    tone = near_colour(rng, np.array([0.75, 0.55, 0.45], np.float32), 0.1)
    unit = tall / 8

    def cloth() -> Float:
        return surface(rng, shape, real, random_colour(rng, rng.uniform(0, 0.7)), 0.5)

    def put(contours: list[Contour], look: Float) -> None:
        canvas.paint(contours, look, atom=canvas.new_atom(who), soft=rng.uniform(0.2, 1))

    def limb(y0: float, y1: float, spread: float, wide: float, look: Float) -> None:
        for side in (-1, 1):
            middle = (x + side * spread * unit, top + (y0 + y1) / 2 * unit)
            shape_ = rectangle(
                rng, middle, wide * unit, (y1 - y0) * unit, side * rng.normal(0, 0.1)
            )
            put([shape_], look)

    put([blob(rng, (x, top + 0.6 * unit), 0.75 * unit, 0.8, 0.1)], random_colour(rng, 0.3))
    limb(4, 7.6, 0.45, 0.55, tone if rng.random() < 0.4 else cloth())
    limb(7.3, 8, 0.5, 0.6, cloth())
    if rng.random() < 0.5:
        put([rectangle(rng, (x, top + 4.7 * unit), 2 * unit, 2.2 * unit, 0)], cloth())
    limb(1.5, 4.2, 1.15, 0.5, cloth() if rng.random() < 0.7 else tone)
    put([rectangle(rng, (x, top + 2.7 * unit), 1.9 * unit, 2.6 * unit, 0)], cloth())
    put([blob(rng, (x, top + 0.75 * unit), 0.5 * unit, 0.75, 0.05, 0.0)], tone)
    if rng.random() < 0.5:
        bag = (x + rng.choice([-1.3, 1.3]) * unit, top + 4.3 * unit)
        canvas.paint([rectangle(rng, bag, 1.1 * unit, 0.9 * unit, rng.normal(0, 0.2))], cloth())
    return canvas


def mosaic(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """The whole picture divided into touching regions of different surfaces."""
    h, w = shape
    count = int(np.exp(rng.uniform(np.log(3), np.log(60))))
    canvas = Canvas(np.zeros((h, w, 3), np.float32))
    ys, xs = np.mgrid[:h, :w].astype(np.float32)
    bend = float(rng.uniform(0, 40))
    xs, ys = xs + bend * fractal(rng, shape, 120, 4), ys + bend * fractal(rng, shape, 120, 4)
    seeds = rng.uniform(0, 1, (count, 2)) * np.array([h, w])
    distance = np.full(shape, np.inf, np.float32)
    for sy, sx in seeds:
        here = np.hypot(ys - sy, xs - sx)
        mine = here < distance
        distance = np.where(mine, here, distance)
        canvas.atoms[mine] = canvas.new_atom()
    looks = [surface(rng, shape, real, None, 0.6) for _ in range(min(count, 6))]
    for atom in range(1, count + 1):
        look = looks[int(rng.integers(len(looks)))]
        shifted = look + rng.normal(0, 0.08, 3).astype(np.float32)
        canvas.image = np.where((canvas.atoms == atom)[..., None], shifted, canvas.image)
    blurred = cv2.GaussianBlur(canvas.image, (0, 0), rng.uniform(0.3, 1.5))
    canvas.image = blurred.astype(np.float32)
    return canvas


def network(rng: np.random.Generator, shape: tuple[int, int], real: RealPatches) -> Canvas:
    """Cracks, roads, vessels or wires: thin branching bands that make one object."""
    h, w = shape
    ground = surface(rng, shape, real, None, 0.4)
    canvas = Canvas(ground)
    mean = ground.mean(axis=(0, 1)).astype(np.float32)
    width = float(np.exp(rng.uniform(np.log(1.5), np.log(22))))
    curl = rng.uniform(0.05, 1.5)
    look = surface(rng, shape, real, near_colour(rng, mean * rng.uniform(0.3, 1.6), 0.1), 0.2)
    whole = canvas.new_atom()
    bands: list[Contour] = []
    for _ in range(int(rng.integers(1, 7))):
        start = (float(rng.uniform(0, w)), float(rng.uniform(0, h)))
        if bands:
            band = bands[int(rng.integers(len(bands)))]
            start = tuple(map(float, band[int(rng.integers(len(band)))]))  # type: ignore[assignment]
        length = rng.uniform(0.3, 1.2) * w
        bands.append(stroke(rng, start, length, width * rng.uniform(0.5, 1.1), curl))
    for band in bands:
        canvas.paint([band], look, atom=whole, soft=0.5, opacity=rng.uniform(0.6, 1))
    return canvas
