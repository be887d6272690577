"""Image encoders cut in two: what lies below the first adapted block, and the rest.

The lower part is frozen and sees the same pixels every time, so its output can be computed once
per image. ``suffix(prefix(x, k), k)`` runs exactly the operations of the encoder's own forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import Tensor, nn

from infosam_studio.errors import StudioError

State = tuple[Tensor, ...]


class SplitEncoder(Protocol):
    """An encoder made of numbered blocks, the last of which are adapted."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The parts between which it can be cut."""

    @property
    def default_first(self) -> int:
        """The first block that LoRA adapts by default."""

    def targets(self, first: int) -> list[str]:
        """Full names of the attention layers (``qkv``) from block ``first`` on."""

    def prefix(self, pixels: Tensor, first: int) -> State:
        """Normalised pixels [B, 3, S, S] to everything block ``first`` and later need."""

    def suffix(self, state: State, first: int) -> Tensor:
        """The embedding [B, 256, h, w] from a state made with the same ``first``."""


class _NumberedBlocks:
    """What encoders with blocks called ``image_encoder.blocks.N`` have in common."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    @property
    def blocks(self) -> nn.ModuleList:
        """The attention blocks."""
        blocks: nn.ModuleList = self.encoder.blocks
        return blocks

    def targets(self, first: int) -> list[str]:
        """See :class:`SplitEncoder`."""
        numbers = range(first, len(self.blocks))
        return [f"image_encoder.blocks.{number}.attn.qkv" for number in numbers]

    def _through(self, tokens: Tensor, first: int, last: int) -> Tensor:
        for block in self.blocks[first:last]:
            tokens = block(tokens)
        return tokens


class VitSplit(_NumberedBlocks):
    """segment_anything's ViT; the state is the residual stream [B, h, w, C]."""

    @property
    def default_first(self) -> int:
        """The upper third."""
        return len(self.blocks) - max(1, len(self.blocks) // 3)

    def prefix(self, pixels: Tensor, first: int) -> State:
        """See :class:`SplitEncoder`."""
        tokens = self.encoder.patch_embed(pixels)
        if self.encoder.pos_embed is not None:
            tokens = tokens + self.encoder.pos_embed
        return (self._through(tokens, 0, first),)

    def suffix(self, state: State, first: int) -> Tensor:
        """See :class:`SplitEncoder`."""
        tokens = self._through(state[0], first, len(self.blocks))
        features: Tensor = self.encoder.neck(tokens.permute(0, 3, 1, 2))
        return features


class StarterSplit(_NumberedBlocks):
    """The starter; the state is the residual stream and the neck's skip map."""

    @property
    def default_first(self) -> int:
        """The upper four blocks."""
        return max(0, len(self.blocks) - 4)

    def prefix(self, pixels: Tensor, first: int) -> State:
        """See :class:`SplitEncoder`."""
        tokens, skip = self.encoder.stem(pixels)
        return self._through(tokens, 0, first), skip

    def suffix(self, state: State, first: int) -> Tensor:
        """See :class:`SplitEncoder`."""
        tokens, skip = state
        features: Tensor = self.encoder.neck(self._through(tokens, first, len(self.blocks)), skip)
        return features


class StageSplit:
    """MobileSAM's TinyViT, cut between its stages; the state is the feature map [B, C, h, w]."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    @property
    def blocks(self) -> nn.ModuleList:
        """The stages; the first one is convolutional."""
        stages: nn.ModuleList = self.encoder.layers
        return stages

    @property
    def default_first(self) -> int:
        """The last two stages."""
        return len(self.blocks) - 2

    def targets(self, first: int) -> list[str]:
        """See :class:`SplitEncoder`."""
        return [
            f"image_encoder.layers.{stage}.blocks.{number}.attn.qkv"
            for stage in range(first, len(self.blocks))
            for number, block in enumerate(self.encoder.layers[stage].blocks)
            if hasattr(block, "attn")
        ]

    def prefix(self, pixels: Tensor, first: int) -> State:
        """See :class:`SplitEncoder`."""
        features = self.encoder.patch_embed(pixels)
        for stage in self.blocks[:first]:
            features = stage(features)
        return (features,)

    def suffix(self, state: State, first: int) -> Tensor:
        """See :class:`SplitEncoder`."""
        (features,) = state
        for stage in self.blocks[first:]:
            features = stage(features)
        embedding: Tensor = self.encoder.neck(features)
        return embedding


def split_encoder(sam: Any) -> SplitEncoder:
    """The cut encoder of a ``Sam``; StudioError where its blocks cannot be adapted."""
    encoder = sam.image_encoder
    if hasattr(encoder, "stem") and hasattr(encoder, "blocks"):
        return StarterSplit(encoder)
    if hasattr(encoder, "patch_embed") and hasattr(encoder, "blocks"):
        return VitSplit(encoder)
    if hasattr(encoder, "patch_embed") and hasattr(encoder, "layers"):
        return StageSplit(encoder)
    raise StudioError(
        "The encoder of this model cannot be adapted (its blocks are not transformer blocks): "
        "use --speed instant, or another model."
    )


@contextmanager
def stoppable(split: SplitEncoder | None, check: Callable[[], None]) -> Iterator[None]:
    """Within this ``check`` is called at every block, forwards and backwards; it raises to stop."""

    def backwards(_grad: Tensor) -> None:
        check()

    def forwards(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        check()
        if output.requires_grad:
            output.register_hook(backwards)  # type: ignore[no-untyped-call]

    blocks = [] if split is None else list(split.blocks)
    hooks = [block.register_forward_hook(forwards) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
