"""The arithmetic of adapters at inference: LoRA as PEFT computes it, series adapters as hooks.

Nothing is merged: LoRA stands beside the base layer, replaced weights are kept aside, so taking
an adapter off gives the base model back bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from infosam_studio.errors import StudioError

PEFT_PREFIX = "base_model.model."
DECODER = "mask_decoder."
LORA_KEY = re.compile(r"^(?P<module>image_encoder\..+)\.lora_(?P<part>[AB])\.weight$")
SERIES_KEY = re.compile(
    r"^image_encoder\.blocks\.(?P<block>\d+)\.(?P<place>attn|mlp)_adapter\."
    r"(?P<part>down|up)\.(?P<kind>weight|bias)$"
)
NORM_KEY = re.compile(r"^image_encoder\.blocks\.\d+\.norm[12]\.(weight|bias)$")
# What PEFT can do beyond plain LoRA and this reader does not reproduce.
UNSUPPORTED = ("use_dora", "lora_bias", "fan_in_fan_out", "use_qalora", "alora_invocation_tokens")


class AdapterError(StudioError):
    """An adapter that cannot be read, written or applied, and why."""


class LoraLinear(nn.Module):
    """A base linear layer with a LoRA beside it, in the order of operations PEFT uses."""

    def __init__(self, base: nn.Module, down: Tensor, up: Tensor, scaling: float) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_a = nn.Parameter(down, requires_grad=False)
        self.lora_b = nn.Parameter(up, requires_grad=False)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        """[...,in] -> [...,out]: base(x) + B(A(x)) * scaling."""
        result = cast(Tensor, self.base_layer(x))
        x = x.to(self.lora_a.dtype)
        update = F.linear(F.linear(x, self.lora_a), self.lora_b) * self.scaling
        return (result + update).to(result.dtype)


class SeriesAdapter(nn.Module):
    """``x + up(gelu(down(x)))``, put behind a sub-layer by a forward hook."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.down_weight = nn.Parameter(weights["down.weight"], requires_grad=False)
        self.down_bias = nn.Parameter(weights["down.bias"], requires_grad=False)
        self.up_weight = nn.Parameter(weights["up.weight"], requires_grad=False)
        self.up_bias = nn.Parameter(weights["up.bias"], requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """[...,dim] -> the same shape."""
        hidden = F.gelu(F.linear(x, self.down_weight, self.down_bias))
        return x + F.linear(hidden, self.up_weight, self.up_bias)


@dataclass
class Change:
    """Everything an adapter does to a model, checked; `apply` and `undo` cannot fail halfway.

    ``encoder_tensors`` are those that alter the encoder's result, ``scales`` the LoRA factors.
    """

    sam: Any
    parameters: dict[str, Tensor] = field(default_factory=dict)
    layers: dict[str, LoraLinear] = field(default_factory=dict)
    hooks: dict[str, SeriesAdapter] = field(default_factory=dict)
    encoder_tensors: dict[str, Tensor] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    _kept: list[Callable[[], None]] = field(default_factory=list)

    def apply(self) -> None:
        """Put everything in place; the base's own tensors are kept aside."""
        for name, value in self.parameters.items():
            module, leaf = _parent(self.sam, name)
            self._exchange(module._parameters, leaf, nn.Parameter(value, requires_grad=False))
        for name, layer in self.layers.items():
            module, leaf = _parent(self.sam, name)
            self._exchange(module._modules, leaf, layer)
        for name, adapter in self.hooks.items():
            self._kept.append(_add_hook(self.sam.get_submodule(name), adapter).remove)

    def _exchange(self, table: dict[str, Any], leaf: str, value: Any) -> None:
        old = table[leaf]
        table[leaf] = value
        self._kept.append(lambda: table.__setitem__(leaf, old))

    def undo(self) -> None:
        """Put back what `apply` kept aside."""
        while self._kept:
            self._kept.pop()()


def _add_hook(module: nn.Module, adapter: SeriesAdapter) -> RemovableHandle:
    def behind(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        return cast(Tensor, adapter(output))

    return module.register_forward_hook(behind)


def _parent(sam: nn.Module, name: str) -> tuple[nn.Module, str]:
    module, _, leaf = name.rpartition(".")
    return sam.get_submodule(module), leaf


def plan_lora(
    sam: Any,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    acts_on_encoder: bool = True,
) -> Change:
    """A PEFT LoRA on the encoder and a whole copy of the decoder, as PEFT saves them.

    Only an adapter that is not meant to act on the encoder may come without any LoRA.
    """
    _refuse_unsupported(config)
    change = Change(sam)
    decoder: dict[str, Tensor] = {}
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name = key.removeprefix(PEFT_PREFIX)
        match = LORA_KEY.match(name)
        if name == key:
            raise AdapterError(f"{key} is not a key that PEFT writes.")
        if match:
            pairs.setdefault(match["module"], {})[match["part"]] = value
        elif name.startswith(DECODER):
            decoder[name] = value
        else:
            raise AdapterError(f"{key} is unknown.")
    for name, pair in pairs.items():
        _plan_pair(change, name, pair, config)
    if pairs or acts_on_encoder:
        _check_targets(change, pairs, config)
    if decoder or "mask_decoder" in (config.get("modules_to_save") or ()):
        _plan_decoder(change, decoder)
    if not pairs and not decoder:
        raise AdapterError("it holds no weights.")
    return change


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise AdapterError(f"its type is {config.get('peft_type')}, only LORA is known here.")
    used = [name for name in UNSUPPORTED if config.get(name)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    if used:
        raise AdapterError(f"it uses {used[0]}, which is not known here.")


def _plan_pair(
    change: Change, name: str, pair: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    base = _submodule(change.sam, name)
    if not isinstance(base, nn.Linear):
        raise AdapterError(f"{name} is not a linear layer of this model.")
    if set(pair) != {"A", "B"}:
        raise AdapterError(f"{name} has only one half of its LoRA.")
    down, up = pair["A"], pair["B"]
    rank = down.shape[0] if down.ndim == 2 else 0
    stated = _pattern(config, "rank_pattern", name, config.get("r"))
    if down.shape != (rank, base.in_features) or up.shape != (base.out_features, rank):
        raise AdapterError(
            f"the LoRA of {name} has shapes {list(down.shape)} and {list(up.shape)}, which do "
            f"not fit a layer from {base.in_features} to {base.out_features}."
        )
    if rank != stated:
        raise AdapterError(f"the LoRA of {name} has rank {rank}, its configuration says {stated}.")
    alpha = float(_pattern(config, "alpha_pattern", name, config.get("lora_alpha")))
    scaling = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    if not bool(up.any()):
        return  # Adds exactly nothing: embeddings of the base stay valid.
    weight = base.weight
    values = [tensor.to(weight.device, _floating(tensor, name)) for tensor in (down, up)]
    change.layers[name] = LoraLinear(base, values[0], values[1], scaling)
    change.encoder_tensors |= {f"{name}.lora_A": down, f"{name}.lora_B": up}
    change.scales[name] = scaling


def _floating(tensor: Tensor, name: str) -> torch.dtype:
    if not tensor.is_floating_point():
        raise AdapterError(f"{name} holds {tensor.dtype}, not floating point numbers.")
    return torch.float32


def _pattern(config: Mapping[str, Any], table: str, name: str, default: Any) -> Any:
    """PEFT's per-layer exceptions: keys are suffixes of the module's name, or patterns."""
    for key, value in (config.get(table) or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    if default is None:
        raise AdapterError(f"its configuration says nothing about {name}.")
    return default


def _check_targets(change: Change, pairs: Mapping[str, object], config: Mapping[str, Any]) -> None:
    """Where the configuration names layers that have no weights, the file is incomplete."""
    if not config.get("target_modules"):
        return
    for name, module in change.sam.named_modules():
        if isinstance(module, nn.Linear) and _targeted(name, config) and name not in pairs:
            raise AdapterError(f"the LoRA of {name} is missing.")


def _targeted(name: str, config: Mapping[str, Any]) -> bool:
    """Whether PEFT would put a LoRA on this layer."""
    saved = config.get("modules_to_save") or ()
    if any(re.match(rf"(^|.*\.){module}($|\..*)", name) for module in saved):
        return False
    targets = config["target_modules"]
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    if not any(name == target or name.endswith(f".{target}") for target in targets):
        return False
    layers = config.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    numbers = [layers] if isinstance(layers, int) else layers
    return _layer_number(name, config.get("layers_pattern")) in numbers


def _layer_number(name: str, pattern: str | list[str] | None) -> int | None:
    """The index of the block a layer lies in."""
    patterns = [pattern] if isinstance(pattern, str) else pattern or [r"[^.]*"]
    for item in patterns:
        match = re.match(rf"(?:^|.*?\.){item}\.(?P<index>\d+)\.", name)
        if match:
            return int(match["index"])
    return None


def plan_paper(sam: Any, tensors: Mapping[str, Tensor]) -> Change:
    """Series adapters, their blocks' norms and the decoder, by this project's own keys."""
    change = Change(sam)
    decoder: dict[str, Tensor] = {}
    series: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        match = SERIES_KEY.match(key)
        if match:
            place = f"image_encoder.blocks.{match['block']}.{match['place']}"
            series.setdefault(place, {})[f"{match['part']}.{match['kind']}"] = value
        elif NORM_KEY.match(key):
            change.parameters[key] = _fitting(sam, key, value)
            change.encoder_tensors[key] = value
        elif key.startswith(DECODER):
            decoder[key] = value
        else:
            raise AdapterError(f"{key} is unknown.")
    for place, weights in series.items():
        change.hooks[place] = _series_adapter(sam, place, weights)
        change.encoder_tensors |= {f"{place}_adapter.{k}": v for k, v in weights.items()}
    _plan_decoder(change, decoder)
    return change


def _series_adapter(sam: Any, place: str, weights: Mapping[str, Tensor]) -> SeriesAdapter:
    missing = {"down.weight", "down.bias", "up.weight", "up.bias"} - set(weights)
    if missing:
        raise AdapterError(f"{place}_adapter lacks {min(missing)}.")
    norm = _submodule(sam, f"{place.rpartition('.')[0]}.norm1")
    _submodule(sam, place)
    width = int(cast(Tensor, norm.weight).shape[0])
    hidden = int(weights["down.weight"].shape[0])
    expected = {
        "down.weight": (hidden, width),
        "down.bias": (hidden,),
        "up.weight": (width, hidden),
        "up.bias": (width,),
    }
    for key, shape in expected.items():
        if tuple(weights[key].shape) != shape:
            raise AdapterError(
                f"{place}_adapter.{key} is {list(weights[key].shape)} instead of {list(shape)}."
            )
    device = cast(Tensor, norm.weight).device
    return SeriesAdapter({key: value.to(device, torch.float32) for key, value in weights.items()})


def _plan_decoder(change: Change, decoder: Mapping[str, Tensor]) -> None:
    """The whole decoder is replaced: every one of its keys must be there."""
    own = {f"{DECODER}{key}" for key in change.sam.mask_decoder.state_dict()}
    missing, unknown = sorted(own - set(decoder)), sorted(set(decoder) - own)
    if missing:
        raise AdapterError(f"{missing[0]} is missing.")
    if unknown:
        raise AdapterError(f"{unknown[0]} is unknown.")
    for key, value in decoder.items():
        change.parameters[key] = _fitting(change.sam, key, value)


def _fitting(sam: Any, key: str, value: Tensor) -> Tensor:
    """The value on the model's device and in its type, once its shape is right."""
    module, leaf = key.rpartition(".")[::2]
    own = _submodule(sam, module)._parameters.get(leaf)
    if own is None:
        raise AdapterError(f"{key} does not exist in this model.")
    if own.shape != value.shape:
        raise AdapterError(f"{key} is {list(value.shape)} instead of {list(own.shape)}.")
    return value.to(own.device, own.dtype)


def _submodule(sam: nn.Module, name: str) -> nn.Module:
    try:
        return sam.get_submodule(name)
    except AttributeError as error:
        raise AdapterError(f"{name} does not exist in this model.") from error
