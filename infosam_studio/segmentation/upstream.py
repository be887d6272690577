"""segment_anything's modules, imported without running its package ``__init__``.

That ``__init__`` imports torchvision, which segment_anything does not declare and which breaks
whenever it was built for another torch. The modules we need do not use it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

PACKAGE = "segment_anything"


@dataclass(frozen=True)
class SegmentAnything:
    """The parts of segment_anything this project uses (classes and two modules)."""

    modeling: ModuleType
    build_sam: ModuleType
    Sam: Any
    ImageEncoderViT: Any
    MaskDecoder: Any
    PromptEncoder: Any
    TwoWayTransformer: Any
    LayerNorm2d: Any


def segment_anything_modules() -> SegmentAnything:
    """Import segment_anything's model code; its package ``__init__`` never runs.

    A bare package is registered in ``sys.modules`` in its place, so later imports such as
    ``from segment_anything.modeling import Sam`` work as well. A package that somebody
    already imported in full is left as it is.
    """
    if PACKAGE not in sys.modules:
        sys.modules[PACKAGE] = _bare_package()
    modeling = importlib.import_module(f"{PACKAGE}.modeling")
    common = importlib.import_module(f"{PACKAGE}.modeling.common")
    transformer = importlib.import_module(f"{PACKAGE}.modeling.transformer")
    return SegmentAnything(
        modeling=modeling,
        build_sam=importlib.import_module(f"{PACKAGE}.build_sam"),
        Sam=modeling.Sam,
        ImageEncoderViT=modeling.ImageEncoderViT,
        MaskDecoder=modeling.MaskDecoder,
        PromptEncoder=modeling.PromptEncoder,
        TwoWayTransformer=transformer.TwoWayTransformer,
        LayerNorm2d=common.LayerNorm2d,
    )


def _bare_package() -> ModuleType:
    """A package object with segment_anything's search path and nothing executed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    package = ModuleType(PACKAGE)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    return package
