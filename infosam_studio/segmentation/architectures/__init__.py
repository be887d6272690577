"""The model architectures: how each is built, recognised and laid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from infosam_studio.segmentation.architectures.mobile_sam import build_mobile_sam
from infosam_studio.segmentation.starter import build_starter
from infosam_studio.segmentation.upstream import segment_anything_modules

Layout = dict[str, tuple[int, ...]]

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
# Width of the encoder's tokens, which tells the three ViTs apart.
VIT_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}

# Methods of a tensor that only change its values.
NO_VALUES = {"mul", "__mul__", "__rmul__", "normal_", "uniform_", "zero_", "fill_"}


def _vit(name: str) -> Callable[[], Any]:
    def build() -> Any:
        return getattr(segment_anything_modules().build_sam, f"build_sam_{name}")()

    return build


BUILDERS: dict[str, Callable[[], Any]] = {
    "starter": build_starter,
    "mobile_sam": build_mobile_sam,
    "vit_b": _vit("vit_b"),
    "vit_l": _vit("vit_l"),
    "vit_h": _vit("vit_h"),
}


class _WithoutValues(TorchFunctionMode):
    """Leaves out what gives new weights their values: on the meta device there are none.

    torch would write random numbers there in Python, and import its compiler for it, which takes
    a second of every start.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Initialisation gives its tensor back as it is; everything else is as ever."""
        kwargs = kwargs or {}
        if function is torch.randn:
            return torch.empty(*args, **kwargs)
        name = getattr(function, "__name__", "")
        if getattr(function, "__module__", "") == "torch.nn.init" or name in NO_VALUES:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


def build_empty(architecture: str) -> Any:
    """A ``Sam`` of that architecture in eval mode, its weights on the meta device (no memory).

    Load weights with ``load_state_dict(..., assign=True)``; raises KeyError for an
    architecture that is not in `BUILDERS`.
    """
    with torch.device("meta"), _WithoutValues():
        sam = BUILDERS[architecture]()
    for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
        sam.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
    return sam.eval()


@cache
def layout(architecture: str) -> Layout:
    """Every key of the architecture's state dict with its shape."""
    return {
        key: tuple(value.shape) for key, value in build_empty(architecture).state_dict().items()
    }


def recognise(tensors: Mapping[str, Tensor]) -> str | None:
    """The architecture these weights belong to by their keys, or None.

    Only a few telling keys are looked at; `layout` says whether everything fits.
    """
    if "mask_decoder.iou_token.weight" not in tensors:
        return None
    position = tensors.get("image_encoder.pos_embed")
    if position is not None:
        return VIT_WIDTHS.get(int(position.shape[-1]))
    if "image_encoder.stem.patch.weight" in tensors:
        return "starter"
    if "image_encoder.patch_embed.seq.0.c.weight" in tensors:
        return "mobile_sam"
    return None
