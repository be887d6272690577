"""What is trained: a decoder alone, LoRA through peft, or the paper's series adapters.

A :class:`Student` attaches itself to the base ``Sam`` of the run and can be taken off again, so
teacher and student share one encoder. Its decoder is a copy; the base's own is the teacher's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from infosam_studio.adaptation.encoders import SplitEncoder, split_encoder
from infosam_studio.errors import StudioError

PEFT_PREFIX: Final = "base_model.model."
# peft's own word for "no target layer": the adapter then holds the saved decoder alone.
NO_TARGETS: Final = "dummy-target-modules"
ADAPTER_RATIO: Final = 0.25


class Student:
    """The trained parts of a model.

    ``decoder`` is trained, ``teacher_decoder`` frozen; ``split`` and ``first_block`` say where
    the adapted encoder begins (None where only the decoder learns).
    """

    recipe = "studio"

    def __init__(self, sam: Any) -> None:
        self.sam = sam
        self.teacher_decoder: nn.Module = sam.mask_decoder.requires_grad_(False)
        self.decoder: nn.Module = copy.deepcopy(self.teacher_decoder).requires_grad_(True)
        self.split: SplitEncoder | None = None
        self.first_block: int | None = None
        self.peft_config: dict[str, Any] | None = _peft_config(NO_TARGETS, rank=1, blocks=None)

    @property
    def acts_on_encoder(self) -> bool:
        """Whether embeddings of the base model differ from the student's."""
        return self.first_block is not None

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Trained parameters in the encoder, by their names in the adapter file."""
        return {}

    def decoder_parameters(self) -> dict[str, nn.Parameter]:
        """The decoder's parameters, by their names in the adapter file."""
        prefix = PEFT_PREFIX if self.recipe == "studio" else ""
        return {f"{prefix}mask_decoder.{k}": v for k, v in self.decoder.named_parameters()}

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that is trained and saved."""
        return self.encoder_parameters() | self.decoder_parameters()

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all trained weights on the CPU, with the keys of the adapter file."""
        # On the CPU `.cpu()` returns the parameter's own memory, which goes on changing.
        return {key: value.detach().cpu().clone() for key, value in self.parameters().items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over weights made by :meth:`tensors`; every key must be there."""
        own = self.parameters()
        if set(own) != set(tensors):
            raise StudioError("The saved state belongs to another training: start it anew.")
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(tensors[key])

    def blended(self, tensors: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        """Weights on the way from the base (0) to ``tensors`` (1).

        A part of the way often keeps what the base can do at a small cost in what was learnt.
        LoRA counts by its product, so only one of its two matrices is scaled.
        """
        base = {
            key: value.detach().cpu()
            for key, value in zip(
                self.decoder_parameters(), self.teacher_decoder.parameters(), strict=True
            )
        }
        out = {}
        for key, value in tensors.items():
            if key in base:
                out[key] = base[key] + share * (value - base[key])
            else:
                out[key] = share * value if ".lora_B" in key else value.clone()
        return out

    def base_model(self) -> AbstractContextManager[None]:
        """Within this the encoder is the teacher's."""
        return _nothing()

    def detach(self) -> None:
        """Give the base model back as it was, bit for bit."""


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _peft_config(
    targets: str | list[str], *, rank: int, blocks: list[int] | None
) -> dict[str, Any]:
    """What stands in ``adapter_config.json``; peft fills in its defaults for the rest."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "inference_mode": True,
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "init_lora_weights": True,
        "target_modules": targets,
        "layers_to_transform": blocks,
        "layers_pattern": None if blocks is None else targets[0].split(".")[1],
        "modules_to_save": ["mask_decoder"],
    }


class LoraStudent(Student):
    """LoRA through peft on ``qkv`` of the blocks from ``first_block`` on, decoder in full."""

    def __init__(self, sam: Any, *, rank: int, first_block: int) -> None:
        super().__init__(sam)
        split = split_encoder(sam)
        targets = split.targets(first_block)
        numbers = list(range(first_block, len(split.blocks)))
        self.peft_config = _peft_config(targets, rank=rank, blocks=numbers)
        # The teacher's decoder stays the object it was; peft wraps it and makes the copy.
        self._model = _wrapped(sam, self.peft_config)
        wrapper = sam.mask_decoder
        self.teacher_decoder = wrapper.original_module
        self.decoder = wrapper.modules_to_save["default"]
        self.decoder.requires_grad_(True)
        self.split, self.first_block = split, first_block

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """The LoRA matrices under the keys peft saves them with."""
        return {
            name.replace(".default", ""): value
            for name, value in self._model.named_parameters()
            if ".lora_" in name
        }

    def base_model(self) -> AbstractContextManager[None]:
        """peft's ``disable_adapter``: the teacher from the same weights, bit for bit."""
        return cast("AbstractContextManager[None]", self._model.disable_adapter())

    def detach(self) -> None:
        """Put the base's own layers back in place of peft's wrappers; nothing is merged."""
        for name, module in list(self.sam.named_modules()):
            if hasattr(module, "lora_A"):
                parent, _, leaf = name.rpartition(".")
                setattr(self.sam.get_submodule(parent), leaf, module.base_layer)
        self.sam.mask_decoder = self.teacher_decoder
        del self.sam.peft_config
        self.sam.requires_grad_(False)


def _wrapped(sam: Any, config: Mapping[str, Any]) -> Any:
    """``get_peft_model``; peft's import takes seconds, so it happens here and only here."""
    from peft import LoraConfig, get_peft_model

    own = {k: v for k, v in config.items() if k not in ("peft_type", "inference_mode")}
    return get_peft_model(sam, LoraConfig(**own))


class SeriesAdapter(nn.Module):
    """``x + up(gelu(down(x)))``, the official ``Adapter``.

    ``zero_init`` starts as the identity, so student equals teacher at step 0; the official code
    does not, its default initialisation changes the embedding by a third.
    """

    def __init__(self, dim: int, *, zero_init: bool = True) -> None:
        super().__init__()
        self.down = nn.Linear(dim, int(dim * ADAPTER_RATIO))
        self.up = nn.Linear(int(dim * ADAPTER_RATIO), dim)
        if zero_init:
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] to the same shape."""
        return x + cast(Tensor, self.up(nn.functional.gelu(self.down(x))))


class SeriesStudent(Student):
    """Recipe ``paper``: series adapters behind attention and MLP, their norms, the decoder."""

    recipe = "paper"

    def __init__(self, sam: Any, *, first_block: int = 2, zero_init: bool = True) -> None:
        super().__init__(sam)
        self.peft_config = None
        self.split = split_encoder(sam)
        self.first_block = min(first_block, len(self.split.blocks) - 1)
        self._enabled = True
        self._adapters: dict[str, SeriesAdapter] = {}
        self._norms: dict[str, tuple[nn.Module, str, nn.Parameter, nn.Parameter]] = {}
        self._hooks: list[RemovableHandle] = []
        for number in range(self.first_block, len(self.split.blocks)):
            self._attach(number, zero_init=zero_init)

    def _attach(self, number: int, *, zero_init: bool) -> None:
        block: Any = self.split.blocks[number] if self.split else None
        if not all(hasattr(block, part) for part in ("attn", "mlp", "norm1", "norm2")):
            raise StudioError("Recipe paper is defined for ViT blocks: use recipe studio here.")
        width = block.norm1.weight.shape[0]
        where = block.norm1.weight.device
        for part in ("attn", "mlp"):
            adapter = SeriesAdapter(width, zero_init=zero_init).to(where)
            self._adapters[f"image_encoder.blocks.{number}.{part}_adapter"] = adapter
            module: nn.Module = getattr(block, part)
            self._hooks.append(module.register_forward_hook(self._behind(adapter)))
        for part in ("norm1", "norm2"):
            norm: nn.Module = getattr(block, part)
            for leaf, value in list(norm.named_parameters(recurse=False)):
                own = nn.Parameter(value.detach().clone())
                name = f"image_encoder.blocks.{number}.{part}.{leaf}"
                self._norms[name] = (norm, leaf, value, own)
                norm._parameters[leaf] = own

    def _behind(self, adapter: SeriesAdapter) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            return cast(Tensor, adapter(output)) if self._enabled else output

        return hook

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Adapters and norms under the documented keys of the paper recipe."""
        out = {
            f"{place}.{leaf}": value
            for place, adapter in self._adapters.items()
            for leaf, value in adapter.named_parameters()
        }
        return out | {name: own for name, (*_, own) in self._norms.items()}

    @contextmanager
    def base_model(self) -> Iterator[None]:
        """Hooks pass through and the base's norms are back, for the time of the context."""
        self._enabled = False
        self._set_norms(own=False)
        try:
            yield
        finally:
            self._enabled = True
            self._set_norms(own=True)

    def _set_norms(self, *, own: bool) -> None:
        for norm, leaf, base, trained in self._norms.values():
            norm._parameters[leaf] = trained if own else base

    def detach(self) -> None:
        """Remove the hooks and put the base's norms back."""
        for hook in self._hooks:
            hook.remove()
        self._set_norms(own=False)


def make_student(
    sam: Any,
    *,
    recipe: str,
    rank: int,
    first_block: int | None,
    seed: int,
    official_init: bool = False,
) -> Student:
    """The student of a plan on a base model; its initial weights depend on ``seed`` alone.

    Raises StudioError where the recipe does not fit the model's encoder.
    """
    torch.manual_seed(seed)
    if recipe == "paper":
        return SeriesStudent(sam, first_block=first_block or 0, zero_init=not official_init)
    if first_block is None:
        return Student(sam)
    return LoraStudent(sam, rank=rank, first_block=first_block)
