"""Cutting a map into the windows of SAM's windowed attention, and putting it together again.

Where the map does not split evenly upstream pads it with zeros *before* the layer that makes
queries, keys and values, so that layer and the one behind the attention work on up to a quarter
(1024 px) or three quarters (512 px) more tokens than the image has. Here they see the image
alone: of a zero the first layer makes one and the same vector, which is filled in behind it.
"""

from __future__ import annotations

from torch import Tensor


def into_windows(x: Tensor, size: int, filling: Tensor) -> Tensor:
    """[B,H,W,C] -> [B*n,size,size,C], row by row; ``filling`` [C] stands where the map ends."""
    batch, height, width, channels = x.shape
    rows, columns = -(-height // size), -(-width // size)
    if (rows * size, columns * size) != (height, width):
        whole = filling.expand(batch, rows * size, columns * size, channels).clone()
        whole[:, :height, :width] = x
        x = whole
    x = x.view(batch, rows, size, columns, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, channels)


def out_of_windows(x: Tensor, height: int, width: int) -> Tensor:
    """[B*n,size,size,C] from `into_windows` -> [B,H,W,C], without what was filled in."""
    size, channels = x.shape[1], x.shape[3]
    rows, columns = -(-height // size), -(-width // size)
    x = x.view(-1, rows, columns, size, size, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, rows * size, columns * size, channels)[:, :height, :width]
