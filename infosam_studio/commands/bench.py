"""`bench`: what a model costs on this machine: encode, click, adapt step, memory."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.errors import StudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from infosam_studio.events import Event
    from infosam_studio.segmentation.predictor import Predictor


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("bench", help="what a model costs on this machine")
    parser.add_argument("--model", metavar="M", default="starter", help="a model's name or file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--repeat", metavar="N", type=int, default=3, help="the median of N runs")
    parser.add_argument(
        "--image-size", metavar="WxH", default="1024x768", help="the picture to work on"
    )
    parser.add_argument("--no-adapt", action="store_true", help="leave the adaptation out")
    parser.set_defaults(handler=run_bench)


def run_bench(args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from infosam_studio.adaptation.machine import peak_memory_mb
    from infosam_studio.adaptation.plan import choose_device
    from infosam_studio.segmentation.checkpoints import load_checkpoint
    from infosam_studio.segmentation.predictor import Predictor

    width, height = _size(args.image_size)
    device = choose_device(args.device)
    model = load_checkpoint(args.model)
    loaded_mb = peak_memory_mb(device)
    predictor = Predictor(model, device=device, precision="auto", memory_bytes=0)
    image = picture(width, height)
    result: dict[str, Any] = {
        "summary": "",
        "model": model.info.name,
        "architecture": model.info.architecture,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "image": [width, height],
        "repeat": args.repeat,
        "precision": predictor.precision,
        "memory_loaded_mb": loaded_mb,
    }
    # Memory is a peak, so what is expected to need less goes first.
    encode_s, click_s = _ours(predictor, image, args.repeat)
    result |= {"encode_s": encode_s, "click_s": click_s, "memory_mb": peak_memory_mb(device)}
    plain_encode_s, plain_click_s = _plain(predictor, image, args.repeat)
    result |= {
        "plain_encode_s": plain_encode_s,
        "plain_click_s": plain_click_s,
        "plain_memory_mb": peak_memory_mb(device),
    }
    adapted = {} if args.no_adapt else _adapt_steps(args.model, args.device)
    result["adapt_step_s"] = adapted
    result["summary"] = (
        f"{model.info.name} on {device}: encode {encode_s:.2f} s "
        f"(plain segment-anything {plain_encode_s:.2f} s), click {click_s * 1000:.0f} ms "
        f"({plain_click_s * 1000:.0f} ms)."
    )
    return result


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit() and 0 < int(width) * int(height) < 10**9):
        raise StudioError(f"--image-size {text} is not WIDTHxHEIGHT, as in 1024x768.")
    return int(width), int(height)


def picture(width: int, height: int) -> NDArray[np.uint8]:
    """A picture with edges and gradients, uint8 [H, W, 3]."""
    import numpy as np

    y, x = np.mgrid[:height, :width]
    red = 120 + 100 * np.sin(x / 37) * np.cos(y / 53)
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(width, height) / 4) ** 2
    green = np.where(inside, 220, 40)
    return np.stack([red, green, (3 * x + 5 * y) % 256], axis=-1).astype(np.uint8)


def _median(repeat: int, run: Callable[[], object]) -> float:
    """Seconds of the middle one of several runs, after one that warms up."""
    run()
    times = []
    for _ in range(max(1, repeat)):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times), 4)


def _wait(predictor: Predictor) -> None:
    import torch

    if predictor.device.type == "cuda":
        torch.cuda.synchronize(predictor.device)


def _ours(predictor: Predictor, image: NDArray[np.uint8], repeat: int) -> tuple[float, float]:
    """Seconds for an encode, and for a click with its best mask at the image's resolution."""
    from infosam_studio.segmentation.prompts import ImageIdentity, Prompt

    numbers = iter(range(10**6))

    def encode() -> Any:
        embedding = predictor.encode(image, ImageIdentity(f"bench {next(numbers)}"))
        _wait(predictor)
        return embedding

    embedding = encode()
    centre = Prompt.from_clicks([[image.shape[1] / 2, image.shape[0] / 2, 1]])

    def click() -> None:
        predictor.predict(embedding, centre, multimask=True, candidates="best")

    return _median(repeat, encode), _median(repeat, click)


def _plain(predictor: Predictor, image: NDArray[np.uint8], repeat: int) -> tuple[float, float]:
    """The same by segment_anything's own modules, as its SamPredictor strings them together."""
    import torch

    from infosam_studio.segmentation import fast_attention, geometry

    sam = predictor.sam
    fast_attention.uninstall(sam.image_encoder)
    height, width = image.shape[:2]

    def encode() -> Any:
        pixels = geometry.encoder_input(sam, image, None).to(predictor.device)
        with torch.no_grad():
            features = sam.image_encoder(sam.preprocess(pixels))
        _wait(predictor)
        return features, tuple(pixels.shape[-2:])

    features, input_size = encode()
    scale = max(input_size) / max(height, width)
    point = torch.tensor([[[width / 2 * scale, height / 2 * scale]]], device=predictor.device)
    label = torch.ones((1, 1), dtype=torch.int, device=predictor.device)

    def click() -> None:
        with torch.no_grad():
            sparse, dense = sam.prompt_encoder(points=(point, label), boxes=None, masks=None)
            low_res, _ = sam.mask_decoder(
                image_embeddings=features,
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            masks = sam.postprocess_masks(low_res, input_size, (height, width))
            (masks > sam.mask_threshold).cpu().numpy()

    times = _median(repeat, encode), _median(repeat, click)
    fast_attention.install(sam.image_encoder)
    return times


def _adapt_steps(model: str, device: str) -> dict[str, float | None]:
    """Seconds of one step of either speed, on the samples that come with the app."""
    import tempfile

    from infosam_studio.adaptation.adapt import run_adapt
    from infosam_studio.adaptation.plan import AdaptOptions
    from infosam_studio.annotation.project import Project
    from infosam_studio.interchange.registry import importer
    from infosam_studio.resource_files import resource_path

    found: dict[str, float | None] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bench"
        with Project.create(folder, resource_path("samples", "images")) as project:
            project.scan()
            importer("png")(project, resource_path("samples", "masks"))
        for speed in ("instant", "full"):
            timer = _StepTimer()
            options = AdaptOptions(
                folder, model=model, speed=speed, device=device, minutes=0.5, gate=False
            )
            run_adapt(options, timer)
            found[speed] = timer.median
    return found


class _StepTimer:
    """Hears of every step of an adaptation and keeps the time between them."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None
        self._times: list[float] = []

    def __call__(self, event: Event) -> None:
        step = event.data.get("step")
        if event.kind != "progress" or not isinstance(step, int):
            return
        now = time.perf_counter()
        if self._last is not None and step > self._last[1]:
            self._times.append((now - self._last[0]) / (step - self._last[1]))
        self._last = (now, step)

    @property
    def median(self) -> float | None:
        """Seconds of the middle step, None where there were fewer than two."""
        return round(statistics.median(self._times), 4) if self._times else None
