"""Which model suits this machine: a measurement of a few seconds, and what follows from it.

Nothing is downloaded for it: parts of each architecture run with random weights, which takes as
long as with real ones. Encodes of whole ViTs are put together from the times of their blocks.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from infosam_studio.segmentation import enlarge, fast_decoder
from infosam_studio.segmentation.architectures import BUILDERS
from infosam_studio.segmentation.fast_attention import best_precision, install
from infosam_studio.segmentation.geometry import Frame
from infosam_studio.segmentation.upstream import segment_anything_modules

# (name, width, blocks with windows, blocks over the whole image, memory in bytes to work with it)
VITS = (
    ("sam_vit_b", 768, 8, 4, 2 * 2**30),
    ("sam_vit_l", 1024, 20, 4, 4 * 2**30),
    ("sam_vit_h", 1280, 28, 4, 7 * 2**30),
)
# Best masks first.
RANKING = ("sam_vit_h", "sam_vit_l", "sam_vit_b", "mobile_sam", "starter")
MEMORY = {name: need for name, *_, need in VITS}
MAX_ENCODE_S = 4.0
MAX_CLICK_S = 0.2
# Where an encode takes no longer than this, training through the encoder is a matter of minutes.
FULL_ENCODE_S = 0.5
# An image of twelve megapixels with an object on a twentieth of it.
PICTURE = Frame((3000, 4000), None, (768, 1024))
OBJECT_RADIUS = 28
# What takes longer than this the first time is slow enough to be judged by that.
SLOW_S = 1.5


@dataclass(frozen=True)
class Speed:
    """Seconds on this machine: one image encoded, one click answered at 12 megapixels."""

    encode_s: float
    click_s: float


@dataclass(frozen=True)
class Advice:
    """A proposal that the user may always change.

    ``model`` suits the machine best; ``now`` is the best of those already present;
    ``adaptation`` is "full" or "instant"; ``reason`` is one sentence for the user.
    """

    model: str
    now: str
    adaptation: str
    reason: str


def measure(device: str = "cpu", *, grid: int = 64) -> dict[str, Speed]:
    """Speeds of all models here, in about five seconds; ``grid`` is only lowered by tests."""
    low = best_precision(device) == "bf16"
    where = torch.device(device)
    with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=low):
        speeds = _tiny_speeds(where, grid) | _vit_speeds(where, grid)
    with torch.inference_mode():
        clicks = {side: _click_s(where, side) for side in (grid, grid // 2)}
    return {
        name: Speed(seconds, clicks[grid // 2 if name == "starter" else grid])
        for name, seconds in speeds.items()
    }


def _tiny_speeds(where: torch.device, grid: int) -> dict[str, float]:
    """Starter whole; MobileSAM on a quarter of its pixels, its windows make that four times."""
    starter = BUILDERS["starter"]().image_encoder.to(where)
    mobile = BUILDERS["mobile_sam"]().image_encoder.to(where)
    pixels = torch.randn(1, 3, 8 * grid, 8 * grid, device=where)
    return {
        "starter": _seconds(lambda: starter(pixels), where),
        "mobile_sam": 4 * _seconds(lambda: mobile(pixels), where),
    }


def _vit_speeds(where: torch.device, grid: int) -> dict[str, float]:
    """From one windowed and one global block of ViT-B: linear layers grow with the square of the
    width, attention with the width."""
    base = VITS[0][1]
    windowed, whole = _block(base, 14, grid, where), _block(base, 0, grid, where)
    tokens = torch.randn(1, grid, grid, base, device=where)
    linear = 1.5 * _seconds(lambda: windowed.mlp(tokens), where)
    apart = max(0.0, _seconds(lambda: windowed(tokens), where) - linear)
    together = max(0.0, _seconds(lambda: whole(tokens), where) - linear)
    speeds = {}
    for name, width, windows, global_blocks, _ in VITS:
        ratio = width / base
        attention = windows * apart + global_blocks * together
        speeds[name] = (windows + global_blocks) * linear * ratio**2 + attention * ratio
    return speeds


def _block(width: int, window: int, grid: int, where: torch.device) -> Any:
    encoder: nn.Module = segment_anything_modules().ImageEncoderViT(
        img_size=16 * grid,
        embed_dim=width,
        depth=1,
        num_heads=width // 64,
        use_rel_pos=True,
        window_size=window,
    )
    install(encoder)
    blocks: Any = encoder.eval().to(where).blocks
    return blocks[0]


def _click_s(where: torch.device, side: int) -> float:
    """Decoding three candidates and enlarging one of them."""
    sam = BUILDERS["starter" if side < 64 else "mobile_sam"]().to(where)
    features = torch.randn(1, 256, side, side, device=where)
    sparse = torch.randn(1, 2, 256, device=where)
    dense = torch.zeros(1, 256, 1, 1, device=where).expand(-1, -1, side, side)
    yy, xx = np.mgrid[:256, :256]
    low_res = (OBJECT_RADIUS - np.hypot(yy - 96, xx - 128)).astype(np.float32)

    def click() -> None:
        masks, _ = fast_decoder.decode(
            sam.mask_decoder,
            features=features,
            position=features,
            sparse=sparse,
            dense=dense,
            multimask=True,
        )
        masks.cpu()
        enlarge.to_image(low_res, PICTURE, 1024, 0.0)

    return _seconds(click, where)


def _seconds(work: Callable[[], object], where: torch.device) -> float:
    """The shorter of two runs after one to warm up; fewer where they are slow."""
    times: list[float] = []
    for turn in range(3):
        began = time.perf_counter()
        work()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        times.append(time.perf_counter() - began)
        if times[-1] > (0.5 if turn else SLOW_S):
            break
    return min(times[1:] or times)


def total_memory(device: str = "cpu") -> int:
    """Memory in bytes of the device, or of the machine."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        # Windows only; psutil comes with accelerate and has no type stubs.
        return int(importlib.import_module("psutil").virtual_memory().total)


def propose(
    speeds: Mapping[str, Speed],
    *,
    present: Collection[str],
    memory_bytes: int,
    device: str = "cpu",
) -> Advice:
    """The best model that keeps clicks under 0.2 s and encodes under 4 s in this memory."""
    suited = [name for name in RANKING if _suits(name, speeds, memory_bytes)] or ["starter"]
    model = suited[0]
    now = next((name for name in suited if name in present), "starter")
    return Advice(model, now, adaptation_of(now, speeds, device), _reason(model, speeds))


def adaptation_of(model: str, speeds: Mapping[str, Speed], device: str = "cpu") -> str:
    """The speed of adaptation that goes with a model here: "full" or "instant"."""
    quick = model in speeds and speeds[model].encode_s <= FULL_ENCODE_S
    return "full" if quick or torch.device(device).type == "cuda" else "instant"


def _suits(name: str, speeds: Mapping[str, Speed], memory_bytes: int) -> bool:
    speed = speeds.get(name)
    return (
        speed is not None
        and speed.encode_s <= MAX_ENCODE_S
        and speed.click_s <= MAX_CLICK_S
        and 2 * MEMORY.get(name, 0) <= memory_bytes
    )


def _reason(model: str, speeds: Mapping[str, Speed]) -> str:
    if model not in speeds:
        return f"This machine was not measured, and {model} runs everywhere."
    speed = speeds[model]
    return (
        f"On this machine {model} takes about {speed.encode_s:.1f} s for an image and "
        f"{1000 * speed.click_s:.0f} ms for a click."
    )
