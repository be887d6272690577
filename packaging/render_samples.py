"""Draw the sample images of the app and their true masks into `resources/samples`.

    python packaging/render_samples.py [OUT]

Every pixel is computed here from fixed seeds: the pictures are ours to ship, and the true outline
of every object is known. `images/NAME.jpg|png` are the pictures, `masks/NAME.png` their instance
index maps (uint8, 0 = background).
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import numpy as np
from drawing import Scene
from PIL import Image
from scenes import SCENES

JPEG_QUALITY = 88


def render(name: str, out: Path) -> int:
    """Draw one scene and write its two files; returns how many objects it has."""
    draw, suffix = SCENES[name]
    scene = Scene(np.random.default_rng(zlib.crc32(name.encode())))
    draw(scene)
    image, index = scene.finish(grain=0.006 if suffix == ".png" else 0.012)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    options = {"quality": JPEG_QUALITY} if suffix == ".jpg" else {"optimize": True}
    Image.fromarray(image).save(out / "images" / f"{name}{suffix}", **options)
    Image.fromarray(index).save(out / "masks" / f"{name}.png", optimize=True)
    return int(index.max())


def main(argv: list[str]) -> int:
    default = Path(__file__).resolve().parent.parent / "resources" / "samples"
    out = Path(argv[0]) if argv else default
    for name in SCENES:
        print(f"{name}: {render(name, out)} objects")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
