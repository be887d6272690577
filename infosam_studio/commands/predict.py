"""`predict`: masks for prompts in a file, written as PNG, without a project."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.commands.view_options import add_view_options, view_settings
from infosam_studio.errors import StudioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from infosam_studio.segmentation.adapter_folder import AdapterFolder
    from infosam_studio.segmentation.predictor import Predictor
    from infosam_studio.segmentation.prompts import ImageIdentity, Prompt, Region


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("predict", help="masks for the prompts of a file, as PNG")
    parser.add_argument("images", metavar="IMAGES", type=Path, help="a folder of images, or one")
    parser.add_argument(
        "--prompts",
        metavar="FILE",
        type=Path,
        required=True,
        help='{"image name": [{"points": [[x, y, 1|0], …], "box": [x0, y0, x1, y1]}, …]}',
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    parser.add_argument("--model", metavar="M", help="a model's name or file (default: starter)")
    parser.add_argument("--adapter", metavar="DIR", type=Path, help="an adapter's folder")
    parser.add_argument(
        "--region",
        choices=("whole", "auto"),
        default="whole",
        help="auto: look closer at small objects",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    add_view_options(parser)
    parser.set_defaults(handler=run_predict)


def run_predict(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.console import progress_bar
    from infosam_studio.segmentation.adapter_folder import AdapterFolder

    started = time.monotonic()
    view_settings(args)  # nonsense is refused before the model is loaded
    wanted = read_prompts(args.prompts)
    files = find_images(args.images, wanted)
    folder = AdapterFolder.read(args.adapter) if args.adapter else None
    predictor = _predictor(args, folder)
    names = output_names(list(files.values()), args.images)
    done: dict[str, list[dict[str, Any]]] = {}
    failed: list[dict[str, str]] = []
    with progress_bar("Predicting") as bar:
        for number, (name, path) in enumerate(files.items()):
            bar(number, len(files))
            try:
                predicted = _image(predictor, path, wanted[name], args, folder)
                done[name] = list(_write(predicted, args.out, names[path], path))
            except StudioError as error:
                failed.append({"image": name, "reason": str(error)})
    if failed and not done:
        raise StudioError(failed[0]["reason"])
    manifest = {
        "model": predictor.model.info.name,
        "adapter": predictor.adapter_name,
        "region": args.region,
        "images": done,
        "failed": failed,
    }
    _replace(args.out / "predictions.json", json.dumps(manifest, ensure_ascii=False).encode())
    count = sum(len(masks) for masks in done.values())
    return {
        "summary": f"{count} masks on {len(done)} images in {args.out}.",
        "model": manifest["model"],
        "adapter": manifest["adapter"],
        "images": len(done),
        "masks": count,
        "failed": failed,
        "out": str(args.out),
        "seconds": round(time.monotonic() - started, 3),
    }


def read_prompts(path: Path) -> dict[str, list[Prompt]]:
    """The prompts of a file by image name; raises `StudioError` naming what is wrong."""
    from infosam_studio.interchange.json_stream import load_small

    content = load_small(path)
    if not isinstance(content, dict) or not content:
        raise StudioError(f"{path} is not a prompt file; it maps image names to lists of prompts.")
    found: dict[str, list[Prompt]] = {}
    for name, entries in content.items():
        if not isinstance(entries, list):
            raise StudioError(f"{path}: the prompts of {name} are not a list; put them in [ ].")
        found[name] = [_prompt(e, f"{path}: {name}, prompt {k}") for k, e in enumerate(entries)]
    return found


def _prompt(entry: Any, where: str) -> Prompt:
    import numpy as np

    from infosam_studio.segmentation.prompts import Prompt

    if not isinstance(entry, dict) or not (entry.get("points") or entry.get("box")):
        raise StudioError(f'{where} has neither "points" nor "box"; give at least one of them.')
    try:
        points = np.asarray(entry.get("points") or [], dtype=np.float64)
        if points.size and (points.ndim != 2 or points.shape[1] != 3):
            raise ValueError
        box = entry.get("box")
        return Prompt.from_clicks(points, box=None if box is None else np.array(box, np.float64))
    except (TypeError, ValueError, OverflowError) as error:
        raise StudioError(
            f"{where}: points are [x, y, 1 or 0], a box is [x0, y0, x1, y1]."
        ) from error


def find_images(images: Path, wanted: Mapping[str, object]) -> dict[str, Path]:
    """The file of every name in the prompt file; raises `StudioError` where one is missing."""
    if images.is_file():
        candidates = {images.name: images, images.stem: images}
    elif images.is_dir():
        candidates = {}
        from infosam_studio.annotation.images import list_images

        for path in list_images(images):
            relative = path.relative_to(images)
            for key in (relative.as_posix(), path.name, relative.with_suffix("").as_posix()):
                candidates.setdefault(key, path)
    else:
        raise StudioError(f"There is nothing at {images}; name a folder of images or an image.")
    missing = [name for name in wanted if name not in candidates]
    if missing:
        raise StudioError(f"{images} has no image called {missing[0]}; check the prompt file.")
    return {name: candidates[name] for name in wanted}


def output_names(paths: Sequence[Path], images: Path) -> dict[Path, str]:
    """A folder's name for every image: its stem, or its whole name where stems are shared."""
    root = images if images.is_dir() else images.parent
    stems: dict[str, set[Path]] = {}
    for path in paths:
        key = path.relative_to(root).with_suffix("").as_posix().casefold()
        stems.setdefault(key, set()).add(path)
    names = {}
    for group in stems.values():
        for path in group:
            relative = path.relative_to(root)
            short = relative.with_suffix("")
            names[path] = (relative if len(group) > 1 else short).as_posix()
    return names


def _predictor(args: argparse.Namespace, folder: AdapterFolder | None) -> Predictor:
    from infosam_studio.adaptation.plan import choose_device
    from infosam_studio.segmentation.checkpoints import load_checkpoint
    from infosam_studio.segmentation.predictor import Predictor

    model = args.model or (folder.manifest.checkpoint if folder else "starter")
    predictor = Predictor(load_checkpoint(model), device=choose_device(args.device))
    predictor.load_adapter(folder)
    return predictor


Predicted = tuple["NDArray[np.bool_]", float]


def _image(
    predictor: Predictor,
    path: Path,
    prompts: Sequence[Prompt],
    args: argparse.Namespace,
    folder: AdapterFolder | None,
) -> list[Predicted]:
    """The best mask of every prompt with its predicted IoU, in the order given."""
    from infosam_studio.annotation.images import content_hash, read_image
    from infosam_studio.segmentation.prompts import ImageIdentity

    settings = view_settings(args)
    image = read_image(path, settings)
    identity = ImageIdentity(content_hash(path), 0, settings.key())
    single = folder is not None and folder.manifest.recipe == "paper"
    return [
        _answer(predictor, image, identity, prompt, single=single, close=args.region == "auto")
        for prompt in prompts
    ]


def _answer(
    predictor: Predictor,
    image: NDArray[np.uint8],
    identity: ImageIdentity,
    prompt: Prompt,
    *,
    single: bool,
    close: bool,
) -> Predicted:
    """The best mask of one prompt; with ``close`` looked at as the window would."""
    from infosam_studio.annotation.masks import bbox, encode
    from infosam_studio.annotation.regions import covers, look_again

    size = (image.shape[1], image.shape[0], int(predictor.sam.image_encoder.img_size))
    x0, y0, x1, y1 = _extent(prompt)
    told = (x0, y0, x1 + 1, y1 + 1)  # a region's end is excluded, a click's pixel is not
    region = close_region(prompt, image.shape[:2], size[2]) if close else None
    # One click can mean several things; from two on, or with a box, there is one answer.
    several = not single and prompt.box is None and len(prompt.points) == 1
    looks = 0
    while True:
        embedding = predictor.encode(image, identity, region=region)
        prediction = predictor.predict(embedding, prompt, multimask=several, candidates="best")
        best = prediction.best
        answer = prediction.mask(best), float(prediction.scores[best])
        if not close:
            return answer
        x, y, width, height = bbox(encode(answer[0]))
        if not width:
            return answer
        better = look_again(region, (x, y, x + width, y + height), *size, looks=looks)
        if better == region or not (better is None or covers(better, told)):
            return answer
        region, looks = better, looks + 1


def _extent(prompt: Prompt) -> tuple[float, float, float, float]:
    """The box around the clicks and the box of a prompt, in image pixels."""
    import numpy as np

    corners = [prompt.points] if len(prompt.points) else []
    if prompt.box is not None:
        corners.append(prompt.box.reshape(2, 2))
    spread = np.concatenate(corners)
    low, high = spread.min(axis=0), spread.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def close_region(prompt: Prompt, image_size: tuple[int, ...], encoder_size: int) -> Region | None:
    """The part of the image to look at first for this prompt, None for the whole image."""
    from infosam_studio.annotation.regions import region_around, region_of_clicks

    choose = region_of_clicks if prompt.box is None else region_around
    return choose(_extent(prompt), image_size[1], image_size[0], encoder_size)


def _write(
    predicted: Sequence[Predicted], out: Path, name: str, source: Path
) -> Iterator[dict[str, Any]]:
    import io

    import numpy as np
    from PIL import Image

    from infosam_studio.annotation import masks

    for number, (mask, score) in enumerate(predicted):
        relative = f"{name}/{number}.png"
        target = out / relative
        if target.resolve() == source.resolve():
            raise StudioError(f"{target} is one of the images; choose another --out.")
        data = io.BytesIO()
        Image.fromarray(mask.astype(np.uint8) * 255).save(data, format="PNG")
        _replace(target, data.getvalue())
        rle = masks.encode(mask)
        yield {
            "file": relative,
            "score": round(score, 6),
            "area": masks.area(rle),
            "bbox": list(masks.bbox(rle)),
        }


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole under its name, or not at all."""
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        os.replace(aside, path)
    except OSError as error:
        raise StudioError(f"{path} cannot be written: {error.strerror}.") from error
