"""Embeddings and frozen encoder prefixes of the training images, computed once per view.

The teacher never changes and views are few, so its embedding is fixed; so is everything below
the first adapted block. With caches off the same functions compute the same numbers again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infosam_studio.adaptation.encoders import SplitEncoder, State
from infosam_studio.adaptation.samples import LabelledImage
from infosam_studio.adaptation.views import turned
from infosam_studio.segmentation import geometry
from infosam_studio.segmentation.predictor import Predictor

DEFAULT_BYTES: Final = 2 * 2**30

Key = tuple[int, int]
"""(image or region, view)."""


class FeatureStore:
    """Teacher embeddings, and prefix states where an encoder is cut.

    ``predictor`` holds the base model; unturned images share its embedding cache with the app.
    ``precision`` is that of the student's blocks. ``limit_bytes`` bounds prefixes and pixels
    kept in memory (0 keeps nothing, which changes no result); embeddings are small and stay.
    ``base_model`` is set to the student's own once there is one: within it the encoder is the
    teacher's.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Sequence[LabelledImage],
        *,
        split: SplitEncoder | None,
        first_block: int | None,
        precision: str = "fp32",
        limit_bytes: int = DEFAULT_BYTES,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.predictor = predictor
        self.images = {image.id: image for image in images}
        self.split, self.first_block = split, first_block
        self.precision = precision
        self.limit_bytes = limit_bytes
        self._check = check
        self.base_model: Callable[[], AbstractContextManager[None]] = nullcontext
        self._embeddings: dict[Key, Tensor] = {}
        self._prefixes: OrderedDict[Key, State] = OrderedDict()
        self._bytes = 0

    @property
    def device(self) -> torch.device:
        """Where features live."""
        return self.predictor.device

    def blocks_precision(self) -> AbstractContextManager[Any]:
        """Autocast for the encoder's blocks, the only place where bfloat16 is safe."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def teacher(self, key: Key) -> Tensor:
        """The base model's embedding [1, 256, h, w], rounded to float16 like a cached one."""
        found = self._embeddings.get(key)
        if found is None:
            with self.base_model():
                found = self._encode(key)
            if self.limit_bytes:
                self._embeddings[key] = found
        return found.float()

    def _encode(self, key: Key) -> Tensor:
        self._check()
        image, view = self.images[key[0]], key[1]
        known = self.predictor.cached(image.identity) if view == 0 else None
        if known is None and view == 0:
            known = self.predictor.encode(image.read(), image.identity, cancelled=self._stop)
        if known is not None:
            return known.features.half()
        low = self.predictor.precision == "bf16"
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=low):
            features: Tensor = self.predictor.sam.image_encoder(self.pixels(key))
        return features.half()

    def _stop(self) -> bool:
        self._check()
        return False

    def pixels(self, key: Key) -> Tensor:
        """Normalised, padded pixels [1, 3, S, S] of a view."""
        image: NDArray[np.uint8] = turned(self.images[key[0]].read(), key[1])
        sam = self.predictor.sam
        raw = geometry.encoder_input(sam, image, None).to(self.device)
        normalised: Tensor = sam.preprocess(raw)
        return normalised

    def prefix(self, key: Key) -> State:
        """What the student's adapted blocks start from; only with a cut encoder."""
        found = self._prefixes.get(key)
        if found is not None:
            self._prefixes.move_to_end(key)
            return found
        assert self.split is not None, "no encoder was cut"
        assert self.first_block is not None, "no encoder was cut"
        self._check()
        with torch.no_grad(), self.blocks_precision():
            state = self.split.prefix(self.pixels(key), self.first_block)
        self._keep(key, state)
        return state

    def _keep(self, key: Key, state: State) -> None:
        size = _size(state)
        if size > self.limit_bytes:
            return
        self._prefixes[key] = state
        self._bytes += size
        while self._bytes > self.limit_bytes:
            _, old = self._prefixes.popitem(last=False)
            self._bytes -= _size(old)

    def student(self, key: Key) -> Tensor:
        """The student's embedding [1, 256, h, w]; the teacher's where no encoder is cut."""
        if self.split is None or self.first_block is None:
            return self.teacher(key)
        state = self.prefix(key)
        with self.blocks_precision():
            return self.split.suffix(state, self.first_block).float()


def _size(state: State) -> int:
    return sum(part.numel() * part.element_size() for part in state)
