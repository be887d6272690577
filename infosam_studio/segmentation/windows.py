"""Cutting a map into the windows of SAM's windowed attention, and putting it together again.

Where the map does not split evenly upstream pads it with zeros *before* the layer that makes
queries, keys and values, so that layer and the one behind the attention work on up to a fifth
(1024 px) or three quarters (512 px) more tokens than the image has. Here they see the image
alone: of a zero the first layer makes one and the same vector, which is filled in behind it.
"""

from __future__ import annotations

from torch import Tensor


def into_windows(x: Tensor, size: int, filling: Tensor) -> Tensor:
    """[B,H,W,...] -> [B,rows,columns,size,size,...]; ``filling`` [...] stands where x ends."""
    batch, height, width = x.shape[:3]
    rows, columns = -(-height // size), -(-width // size)
    if (rows * size, columns * size) != (height, width):
        whole = filling.expand(batch, rows * size, columns * size, *filling.shape).clone()
        whole[:, :height, :width] = x
        x = whole
    return x.reshape(batch, rows, size, columns, size, *x.shape[3:]).transpose(2, 3)


def out_of_windows(x: Tensor, height: int, width: int) -> Tensor:
    """What `into_windows` made, [B,rows,columns,size,size,...] -> [B,H,W,...]."""
    x = x.transpose(2, 3)
    x = x.reshape(len(x), x.shape[1] * x.shape[2], -1, *x.shape[5:])
    return x[:, :height, :width]
