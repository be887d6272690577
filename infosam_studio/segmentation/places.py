"""Where to click, by a map of how likely every cell of an embedding belongs to an object."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from infosam_studio.segmentation.candidates import CLOSED, Sides
from infosam_studio.segmentation.close_ups import OVERLAP
from infosam_studio.segmentation.embedding_cache import Embedding

FINER = 2  # the cell map is enlarged this many times before its peaks are taken


def warm_places(
    embedding: Embedding,
    heat: NDArray[np.float32],
    least: float,
    *,
    open_sides: Sides = CLOSED,
    spacing: float = 0.0,
) -> NDArray[np.float64]:
    """Points [N, 2] in image pixels where objects may lie: the peaks first, then the rest.

    None is colder than ``least`` or lies near an open side: there the part beside this one sees
    more. No two are nearer to each other than ``spacing``, a share of the encoder's square.
    """
    warm = F.interpolate(
        torch.from_numpy(heat)[None, None], scale_factor=FINER, mode="bicubic", align_corners=False
    )
    peak = (F.max_pool2d(warm, 3, 1, 1) == warm)[0, 0].numpy()
    values = warm[0, 0].numpy()
    height, width = embedding.input_size
    square = max(height, width)
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    y = (rows + 0.5) * square / values.shape[0] / height
    x = (columns + 0.5) * square / values.shape[1] / width
    left, top, right, bottom = (OVERLAP / 2 * is_open for is_open in open_sides)
    inside = (x >= left) & (y >= top) & (x < 1 - right) & (y < 1 - bottom)
    # Every second of the other places is enough: masks are much wider than these cells.
    other = (rows % 2 == 0) & (columns % 2 == 0)
    wanted = inside & (values >= least) & (peak | other)
    rank = np.where(peak, values + 1, values)[wanted]
    cells = np.stack([columns[wanted], rows[wanted]], axis=1)[np.argsort(-rank, kind="stable")]
    return cell_centres(embedding, values.shape, _thinned(cells, spacing * len(values)))


def _thinned(cells: NDArray[np.int64], distance: float) -> NDArray[np.int64]:
    """Of cells [N, 2] that are nearer to each other than a distance the first ones."""
    if distance <= 1.0 or not len(cells):
        return cells
    open_ones = np.ones(len(cells), np.bool_)
    for n in range(len(cells)):
        if open_ones[n]:
            near = ((cells - cells[n]) ** 2).sum(axis=1) < distance**2
            near[: n + 1] = False
            open_ones &= ~near
    return cells[open_ones]


def cell_centres(
    embedding: Embedding, side: tuple[int, ...], cells: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Image pixels [N, 2] in the middle of cells [N, 2] (column, row) of a grid of ``side``."""
    height, width = embedding.input_size
    square = max(height, width)
    x0, y0, x1, y1 = embedding.region or (0, 0, embedding.image_size[1], embedding.image_size[0])
    x = (cells[:, 0] + 0.5) * square / side[1] * (x1 - x0) / width + x0 - 0.5
    y = (cells[:, 1] + 0.5) * square / side[0] * (y1 - y0) / height + y0 - 0.5
    return np.stack([np.clip(x, x0, x1 - 1), np.clip(y, y0, y1 - 1)], axis=1)
