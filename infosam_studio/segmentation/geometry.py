"""Between image pixels, a region of them, and the encoder's square input.

The same arithmetic as segment_anything's ``ResizeLongestSide`` and ``postprocess_masks``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from infosam_studio.annotation.tiled_view import TiledView, part_for_input
from infosam_studio.segmentation.prompts import Prompt, PromptError, Region


def resized_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(h, w) after scaling so that the longer side is ``long_side``; never below one pixel."""
    scale = long_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def encoder_input(sam: Any, image: NDArray[np.uint8] | TiledView, region: Region | None) -> Tensor:
    """The encoder's input before normalising, uint8 [1,3,h,w] on the CPU, as upstream resizes.

    ``image`` is uint8 [H,W,3] RGB. Pillow's bilinear filter on uint8 is what torchvision's
    ``resize(to_pil_image(...))`` runs. Areas of more than 40 megapixels are halved before, with the
    same result whether they come as an array or in tiles.
    """
    box = region or (0, 0, image.shape[1], image.shape[0])
    side = int(sam.image_encoder.img_size)
    height, width = resized_size(box[3] - box[1], box[2] - box[0], side)
    picture = Image.fromarray(np.ascontiguousarray(part_for_input(image, box, side)))
    resized = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(2, 0, 1).contiguous()[None]


def checked_region(region: Region | None, image_size: tuple[int, int]) -> Region | None:
    """The region as plain ints, None where it is the whole image; `PromptError` outside it."""
    if region is None:
        return None
    x0, y0, x1, y1 = (int(value) for value in region)
    height, width = image_size
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PromptError(
            f"The region {(x0, y0, x1, y1)} does not lie inside the image of {width}x{height} "
            "pixels."
        )
    return None if (x0, y0, x1, y1) == (0, 0, width, height) else (x0, y0, x1, y1)


@dataclass(frozen=True)
class Frame:
    """Where one embedding lies: the image, the region of it, and its size as encoder input."""

    image_size: tuple[int, int]
    region: Region | None
    input_size: tuple[int, int]

    @property
    def box(self) -> Region:
        """The encoded rectangle (x0, y0, x1, y1) in image pixels."""
        return self.region or (0, 0, self.image_size[1], self.image_size[0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the encoded rectangle in image pixels."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0

    def to_input(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Image pixels [...,2] (x, y) to pixels of the encoder's input."""
        height, width = self.size
        origin = np.array(self.box[:2], dtype=np.float64)
        scale = np.array([self.input_size[1] / width, self.input_size[0] / height])
        moved: NDArray[np.float64] = (np.asarray(points, dtype=np.float64) - origin) * scale
        return moved

    def localise(self, prompt: Prompt) -> Prompt:
        """The part of a prompt that concerns the region.

        Outside it the mask is empty by definition: negative clicks there say nothing and are
        left out, a box is cut at the edge. A positive click or a whole box out there raises
        `PromptError`.
        """
        if self.region is None:
            return prompt
        x0, y0, x1, y1 = self.region
        xs, ys = prompt.points[:, 0], prompt.points[:, 1]
        inside = (xs >= x0 - 0.5) & (xs < x1 - 0.5) & (ys >= y0 - 0.5) & (ys < y1 - 0.5)
        if bool((~inside & (prompt.labels == 1)).any()):
            raise PromptError("A click lies outside the encoded region: encode another region.")
        return Prompt(
            prompt.points[inside],
            prompt.labels[inside],
            None if prompt.box is None else self._cut(prompt.box),
            prompt.mask_logits,
        )

    def _cut(self, box: NDArray[np.float32]) -> NDArray[np.float32]:
        x0, y0, x1, y1 = self.box
        low = np.array([x0, y0], dtype=np.float32)
        high = np.array([x1 - 1, y1 - 1], dtype=np.float32)
        if bool((box[2:] < low).any() or (box[:2] > high).any()):
            raise PromptError("The box lies outside the encoded region: encode another region.")
        return np.concatenate([np.clip(box[:2], low, high), np.clip(box[2:], low, high)])


def enlarge_logits(low_res: Tensor, frame: Frame, img_size: int) -> Tensor:
    """Low-resolution logits [K,m,m] to the encoded rectangle, float [K,h,w].

    In two bilinear steps as upstream: to the encoder's square, cut to the image in it, then
    to the pixels.
    """
    square = (img_size, img_size)
    masks = F.interpolate(low_res[None], square, mode="bilinear", align_corners=False)
    masks = masks[..., : frame.input_size[0], : frame.input_size[1]]
    return F.interpolate(masks, frame.size, mode="bilinear", align_corners=False)[0]


def enlarge_mask(low_res: Tensor, frame: Frame, img_size: int, threshold: float) -> Tensor:
    """One low-resolution mask [m,m] to a bool mask [H,W] of the whole image."""
    inside = enlarge_logits(low_res[None], frame, img_size)[0] > threshold
    if frame.region is None:
        return inside
    mask = torch.zeros(frame.image_size, dtype=torch.bool, device=low_res.device)
    x0, y0, x1, y1 = frame.region
    mask[y0:y1, x0:x1] = inside
    return mask


def reduce_mask(
    mask: NDArray[np.bool_], frame: Frame, *, img_size: int, mask_size: int, logit: float = 8.0
) -> NDArray[np.float32]:
    """A bool mask [H,W] of the whole image as low-resolution logits [m,m] to be fed back.

    Covered parts become ``+logit``, empty ones ``-logit``, edges lie between; so does padding.
    """
    x0, y0, x1, y1 = frame.box
    part = torch.from_numpy(np.ascontiguousarray(mask[y0:y1, x0:x1])).float()[None, None]
    part = F.interpolate(part, frame.input_size, mode="bilinear", antialias=True)
    pad_w, pad_h = img_size - frame.input_size[1], img_size - frame.input_size[0]
    part = F.interpolate(F.pad(part, (0, pad_w, 0, pad_h)), (mask_size, mask_size), mode="area")
    return ((part[0, 0] * 2 - 1) * logit).numpy()
