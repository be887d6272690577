"""Unsupervised regions of a photograph: superpixels merged into a tree.

Regions that stay unmerged over a long stretch of the merging are bounded by real edges. They
serve as pseudo-objects, so a click learns "the region around here" on real textures.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

CELL = 11
PER_SIZE = 14
MIN_AREA = 40
MAX_SHARE = 0.6


@dataclass
class _Tree:
    """Merging state: per node its area, mean colour, creation cost and leaves."""

    area: list[float]
    colour: list[NDArray[np.float32]]
    born: list[float]
    leaves: list[list[int]]
    merged_at: list[float]
    edges: list[dict[int, tuple[float, float]]] = field(default_factory=list)


def region_tree(
    image: NDArray[np.uint8], smooth: float
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Salient regions of an RGB image [H,W,3]: atoms [H,W] uint16, members [n,atoms+1] bool."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab = cv2.GaussianBlur(lab, (0, 0), smooth).astype(np.float32)
    gradient = _gradient(lab)
    atoms = _superpixels(gradient)
    tree = _leaves(lab, atoms)
    _connect(tree, atoms, gradient)
    _merge(tree)
    return atoms, _salient(tree, atoms)


def _gradient(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest colour step per pixel, [H,W] float32."""
    dx = cv2.Scharr(lab, cv2.CV_32F, 1, 0) / 32
    dy = cv2.Scharr(lab, cv2.CV_32F, 0, 1) / 32
    result: NDArray[np.float32] = np.sqrt((dx * dx + dy * dy).sum(axis=2)).astype(np.float32)
    return result


def _superpixels(gradient: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Watershed from the calmest pixel of every grid cell, labels from 1."""
    h, w = gradient.shape
    rows, cols = h // CELL, w // CELL
    cells = gradient[: rows * CELL, : cols * CELL].reshape(rows, CELL, cols, CELL)
    calm = cells.transpose(0, 2, 1, 3).reshape(rows * cols, -1).argmin(axis=1)
    y = np.repeat(np.arange(rows), cols) * CELL + calm // CELL
    x = np.tile(np.arange(cols), rows) * CELL + calm % CELL
    markers = np.zeros((h, w), np.int32)
    markers[y, x] = np.arange(1, rows * cols + 1)
    relief = np.clip(gradient * 8, 0, 255).astype(np.uint8)
    cv2.watershed(cv2.merge([relief] * 3), markers)
    labels = np.where(markers < 0, 0, markers).astype(np.uint16)
    while (labels == 0).any():
        grown = cv2.dilate(labels, np.ones((3, 3), np.uint8)).astype(np.uint16)
        labels = np.where(labels == 0, grown, labels)
    return labels


def _leaves(lab: NDArray[np.float32], atoms: NDArray[np.uint16]) -> _Tree:
    """One node per superpixel; node i is superpixel i + 1."""
    count = int(atoms.max())
    flat = atoms.ravel().astype(np.int64) - 1
    area = np.bincount(flat, minlength=count).astype(np.float64)
    sums = [np.bincount(flat, weights=lab[..., c].ravel(), minlength=count) for c in range(3)]
    colour = (np.stack(sums, axis=1) / np.maximum(area, 1)[:, None]).astype(np.float32)
    return _Tree(
        area=list(area),
        colour=list(colour),
        born=[0.0] * count,
        leaves=[[i] for i in range(count)],
        merged_at=[np.inf] * count,
        edges=[{} for _ in range(count)],
    )


def _connect(tree: _Tree, atoms: NDArray[np.uint16], gradient: NDArray[np.float32]) -> None:
    """Border length and summed border gradient for every pair of neighbours."""
    labels = atoms.astype(np.int64) - 1
    pairs, weights = [], []
    for a, b, g, f in (
        (labels[:, :-1], labels[:, 1:], gradient[:, :-1], gradient[:, 1:]),
        (labels[:-1], labels[1:], gradient[:-1], gradient[1:]),
    ):
        differ = a != b
        low, high = np.minimum(a, b)[differ], np.maximum(a, b)[differ]
        pairs.append(low * len(tree.area) + high)
        weights.append(np.maximum(g, f)[differ])
    keys, inverse = np.unique(np.concatenate(pairs), return_inverse=True)
    length = np.bincount(inverse)
    strength = np.bincount(inverse, weights=np.concatenate(weights))
    for key, n, s in zip(keys.tolist(), length.tolist(), strength.tolist(), strict=True):
        a_, b_ = divmod(key, len(tree.area))
        tree.edges[a_][b_] = (n, s)
        tree.edges[b_][a_] = (n, s)


def _cost(tree: _Tree, a: int, b: int) -> float:
    """How unlike two neighbours are: colour, border gradient, and a push to absorb the small."""
    length, strength = tree.edges[a][b]
    difference = tree.colour[a] - tree.colour[b]
    contrast = float(np.sqrt(difference @ difference)) + 2.0 * strength / length
    smaller = min(tree.area[a], tree.area[b])
    return float(contrast * smaller**0.15)


def _merge(tree: _Tree) -> None:
    """Merge the most alike neighbours until one region is left."""
    alive = set(range(len(tree.area)))
    heap = [(_cost(tree, a, b), a, b) for a in alive for b in tree.edges[a] if a < b]
    heapq.heapify(heap)
    while heap:
        cost, a, b = heapq.heappop(heap)
        if a not in alive or b not in alive:
            continue
        new = _join(tree, a, b, cost)
        alive -= {a, b}
        alive.add(new)
        for other in tree.edges[new]:
            heapq.heappush(heap, (_cost(tree, other, new), other, new))


def _join(tree: _Tree, a: int, b: int, cost: float) -> int:
    """Add the union of two nodes; returns its index."""
    new = len(tree.area)
    area = tree.area[a] + tree.area[b]
    mean = (tree.colour[a] * tree.area[a] + tree.colour[b] * tree.area[b]) / area
    tree.colour.append(mean.astype(np.float32))
    tree.area.append(area)
    tree.born.append(max(cost, tree.born[a], tree.born[b]))
    tree.leaves.append(tree.leaves[a] + tree.leaves[b])
    tree.merged_at[a] = tree.merged_at[b] = cost
    tree.merged_at.append(np.inf)
    edges: dict[int, tuple[float, float]] = {}
    for old in (a, b):
        for other, (length, strength) in tree.edges[old].items():
            if other in (a, b):
                continue
            n, s = edges.get(other, (0.0, 0.0))
            edges[other] = (n + length, s + strength)
    tree.edges.append(edges)
    for other, edge in edges.items():
        tree.edges[other].pop(a, None)
        tree.edges[other].pop(b, None)
        tree.edges[other][new] = edge
    return new


def _salient(tree: _Tree, atoms: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Members table of the nodes that live longest unmerged, some of every size."""
    area, born = np.array(tree.area), np.array(tree.born)
    died = np.minimum(np.array(tree.merged_at), born.max())
    fits = (area >= MIN_AREA) & (area <= MAX_SHARE * atoms.size)
    persistence = (died - born) / (born + 6.0)
    score = np.where(fits & (died - born > 4.0), persistence, 0.0)
    chosen: list[int] = []
    octave = np.floor(np.log2(np.maximum(area, MIN_AREA) / MIN_AREA) / 2).astype(int)
    for step in range(int(octave.max()) + 1):
        order = np.argsort(-np.where(octave == step, score, 0.0))[:PER_SIZE]
        chosen += [int(i) for i in order if octave[i] == step and score[i] > 0.4]
    members = np.zeros((len(chosen), int(atoms.max()) + 1), np.bool_)
    for row, node in enumerate(chosen):
        members[row, np.array(tree.leaves[node]) + 1] = True
    return members
