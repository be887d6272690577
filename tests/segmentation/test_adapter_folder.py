"""Adapters: written by PEFT, read without it, equal to it bit for bit, and taken off again."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from infosam_studio.segmentation.adapter_folder import (
    AdapterError,
    AdapterFolder,
    AdapterManifest,
    apply_to,
    write_adapter,
)
from infosam_studio.segmentation.architectures import BUILDERS
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import ImageIdentity, Prompt

WHO = ImageIdentity("a" * 64)
CLICK = Prompt.from_clicks([(100, 60, 1), (30, 150, 0)])
LORA = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 6,
    "target_modules": ["qkv"],
    "modules_to_save": ["mask_decoder"],
    "bias": "none",
}


def manifest(model: LoadedModel, **changes: Any) -> AdapterManifest:
    made = AdapterManifest("test", model.info.name, model.info.sha256, versions={"torch": "2"})
    return dataclasses.replace(made, **changes)


def lora_tensors(sam: Any, rank: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """A random LoRA on every qkv, and a disturbed decoder, under PEFT's keys."""
    torch.manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, module in sam.named_modules():
        if name.endswith("qkv"):
            key = f"base_model.model.{name}"
            tensors[f"{key}.lora_A.weight"] = torch.randn(rank, module.in_features) * 0.3
            tensors[f"{key}.lora_B.weight"] = torch.randn(module.out_features, rank) * 0.3
    return tensors | decoder_tensors(sam, "base_model.model.")


def decoder_tensors(sam: Any, prefix: str = "") -> dict[str, Tensor]:
    return {
        f"{prefix}mask_decoder.{key}": value + 0.02 * torch.randn_like(value)
        for key, value in sam.mask_decoder.state_dict().items()
    }


def paper_tensors(sam: Any) -> dict[str, Tensor]:
    torch.manual_seed(2)
    tensors = decoder_tensors(sam)
    for number, block in enumerate(sam.image_encoder.blocks):
        key = f"image_encoder.blocks.{number}"
        width = block.norm1.weight.shape[0]
        for place in ("attn_adapter", "mlp_adapter"):
            tensors[f"{key}.{place}.down.weight"] = torch.randn(width // 4, width) * 0.3
            tensors[f"{key}.{place}.down.bias"] = torch.randn(width // 4) * 0.1
            tensors[f"{key}.{place}.up.weight"] = torch.randn(width, width // 4) * 0.3
            tensors[f"{key}.{place}.up.bias"] = torch.randn(width) * 0.1
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                own = getattr(getattr(block, norm), kind)
                tensors[f"{key}.{norm}.{kind}"] = own + 0.1 * torch.randn_like(own)
    return tensors


def answer(predictor: Predictor, picture: Any) -> tuple[Tensor, Any]:
    embedding = predictor.encode(picture, WHO)
    return embedding.features, predictor.predict(embedding, CLICK, multimask=True)


@pytest.fixture(scope="module")
def peft() -> Any:
    """Imported once: it takes five seconds."""
    return pytest.importorskip("peft")


def peft_saved(peft: Any, sam: Any, folder: Path, **options: Any) -> Any:
    """A PEFT model with random LoRA and decoder, saved by PEFT itself."""
    settings = {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ["qkv"],
        "modules_to_save": ["mask_decoder"],
    }
    wrapped = peft.get_peft_model(sam, peft.LoraConfig(**(settings | options)))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                value.add_(0.05 * torch.randn_like(value))
    wrapped.save_pretrained(str(folder))
    return wrapped.eval()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {"layers_to_transform": [1]},
        {"target_modules": ["qkv", "lin1"], "rank_pattern": {"lin1": 2}},
        {"target_modules": r"image_encoder\..*\.(qkv|proj)", "alpha_pattern": {"proj": 3}},
    ],
    ids=["plain", "rslora", "one block", "rank pattern", "alpha pattern"],
)
def test_equals_peft_bit_for_bit(
    peft: Any,
    make_sam: Callable[..., Any],
    picture: Any,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    model = LoadedModel.from_sam(make_sam(), name="tiny")
    if isinstance(options.get("target_modules"), str):
        options = options | {"exclude_modules": ["patch_embed.proj"]}
    wrapped = peft_saved(peft, make_sam(), tmp_path / "adapter", **options)
    made = manifest(model).to_json()
    (tmp_path / "adapter" / "manifest.json").write_text(json.dumps(made))
    predictor = Predictor(model)
    predictor.load_adapter(AdapterFolder.read(tmp_path / "adapter"))
    features, prediction = answer(predictor, picture)

    theirs = Predictor(LoadedModel.from_sam(wrapped.base_model.model, name="tiny"))
    their_features, their_prediction = answer(theirs, picture)
    assert torch.equal(features, their_features)
    np.testing.assert_array_equal(prediction.low_res, their_prediction.low_res)
    np.testing.assert_array_equal(prediction.scores, their_prediction.scores)
    base, _ = answer(Predictor(LoadedModel.from_sam(make_sam())), picture)
    assert not torch.equal(base, features)


def test_what_we_write_plain_peft_loads(
    peft: Any, make_sam: Callable[..., Any], picture: Any, tmp_path: Path
) -> None:
    model = LoadedModel.from_sam(make_sam(), name="tiny")
    config = peft.LoraConfig(**{k: v for k, v in LORA.items() if k != "peft_type"}).to_dict()
    folder = write_adapter(
        tmp_path / "ours", lora_tensors(model.sam), manifest(model), config, {"f": torch.ones(2)}
    )
    loaded = peft.PeftModel.from_pretrained(make_sam(), str(folder.path)).eval()
    theirs, _ = answer(Predictor(LoadedModel.from_sam(loaded.base_model.model)), picture)
    predictor = Predictor(model)
    predictor.load_adapter(folder)
    ours, _ = answer(predictor, picture)
    assert torch.equal(ours, theirs)
    assert torch.equal(folder.relation["f"], torch.ones(2))


@pytest.mark.parametrize("recipe", ["studio", "paper"])
def test_swap_and_roll_back_are_bit_exact(
    model: LoadedModel, picture: Any, tmp_path: Path, recipe: str
) -> None:
    predictor = Predictor(model)
    pointers = {name: value.data_ptr() for name, value in model.sam.named_parameters()}
    before, first = answer(predictor, picture)
    base_hash = predictor.encoder_sha256
    folders = []
    for seed in (1, 2):
        tensors = (
            lora_tensors(model.sam, seed=seed) if recipe == "studio" else paper_tensors(model.sam)
        )
        made = manifest(model, name=f"v{seed}", recipe=recipe)
        config = LORA if recipe == "studio" else None
        folders.append(write_adapter(tmp_path / f"v{seed}", tensors, made, config, None))
    predictor.load_adapter(folders[0])
    assert predictor.adapter_name == "v1"
    assert predictor.encoder_sha256 != base_hash
    adapted, second = answer(predictor, picture)
    assert not torch.equal(before, adapted)
    assert not np.array_equal(first.low_res, second.low_res)
    predictor.load_adapter(folders[1])
    predictor.load_adapter(folders[0])
    predictor.memory.clear()
    again, third = answer(predictor, picture)
    assert torch.equal(adapted, again)
    np.testing.assert_array_equal(second.low_res, third.low_res)
    predictor.load_adapter(None)
    predictor.memory.clear()
    after, fourth = answer(predictor, picture)
    assert torch.equal(before, after)
    np.testing.assert_array_equal(first.low_res, fourth.low_res)
    assert (predictor.adapter_name, predictor.encoder_sha256) == (None, base_hash)
    assert {n: v.data_ptr() for n, v in model.sam.named_parameters()} == pointers
    assert not any(block.attn._forward_hooks for block in model.sam.image_encoder.blocks)


def test_paper_recipe_computes_series_adapters(
    model: LoadedModel, picture: Any, tmp_path: Path, make_sam: Callable[..., Any]
) -> None:
    """Against the same network written out with modules of its own."""
    tensors = paper_tensors(model.sam)
    made = manifest(model, recipe="paper")
    predictor = Predictor(model)
    predictor.load_adapter(write_adapter(tmp_path / "p", tensors, made, None, None))
    features, _ = answer(predictor, picture)

    sam = make_sam()
    own = {key: value for key, value in tensors.items() if "_adapter" not in key}
    sam.load_state_dict(sam.state_dict() | own)
    for number, block in enumerate(sam.image_encoder.blocks):
        for place in ("attn", "mlp"):
            key = f"image_encoder.blocks.{number}.{place}_adapter"
            inner = _linears(tensors, key)
            sub = getattr(block, place)
            setattr(block, place, _Series(sub, inner))
    expected, _ = answer(Predictor(LoadedModel.from_sam(sam)), picture)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)


class _Series(nn.Module):
    def __init__(self, sub: nn.Module, inner: nn.Module) -> None:
        super().__init__()
        self.sub, self.inner = sub, inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.sub(x)
        return y + self.inner(y)


def _linears(tensors: Mapping[str, Tensor], key: str) -> nn.Module:
    layers = []
    for part in ("down", "up"):
        weight = tensors[f"{key}.{part}.weight"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": tensors[f"{key}.{part}.bias"]})
        layers.append(layer)
    return nn.Sequential(layers[0], nn.GELU(), layers[1])


@pytest.mark.parametrize("with_idle_lora", [True, False])
def test_decoder_only_adapters_keep_embeddings(
    model: LoadedModel, picture: Any, tmp_path: Path, with_idle_lora: bool
) -> None:
    predictor = Predictor(model)
    features, first = answer(predictor, picture)
    tensors = lora_tensors(model.sam)
    for key in [key for key in tensors if "lora_" in key]:
        if with_idle_lora:
            if "lora_B" in key:
                tensors[key] = torch.zeros_like(tensors[key])
        else:
            del tensors[key]
    made = manifest(model, acts_on_encoder=False, speed="instant")
    folder = write_adapter(tmp_path / "d", tensors, made, LORA, None)
    predictor.load_adapter(folder)
    assert predictor.encoder_sha256 == model.encoder_sha256
    cached = predictor.cached(WHO)
    assert cached is not None
    assert torch.equal(cached.features, features)
    second = predictor.predict(cached, CLICK, multimask=True)
    assert not np.array_equal(first.low_res, second.low_res)


@pytest.mark.parametrize("architecture", ["starter", "mobile_sam"])
def test_lora_on_the_other_architectures_equals_peft(
    peft: Any, tmp_path: Path, architecture: str
) -> None:
    torch.manual_seed(6)
    model = LoadedModel.from_sam(BUILDERS[architecture](), name=architecture)
    twin = copy.deepcopy(model.sam)
    wrapped = peft_saved(peft, twin, tmp_path / "adapter")
    (tmp_path / "adapter" / "manifest.json").write_text(json.dumps(manifest(model).to_json()))
    undo = apply_to(model.sam, AdapterFolder.read(tmp_path / "adapter"), base=model.info)
    pixels = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        adapted = model.sam.image_encoder(pixels)
        theirs = wrapped.base_model.model.image_encoder(pixels)
        undo.undo()
        base = model.sam.image_encoder(pixels)
        with wrapped.disable_adapter():
            teacher = wrapped.base_model.model.image_encoder(pixels)
    assert torch.equal(adapted, theirs)
    assert torch.equal(base, teacher)
    assert not torch.equal(base, adapted)
    assert undo.acts_on_encoder


def change(key_part: str, how: Callable[[Tensor], Tensor | None]) -> Callable[[Any], None]:
    def apply(tensors: dict[str, Tensor]) -> None:
        key = next(key for key in tensors if key_part in key)
        value = how(tensors.pop(key))
        if value is not None:
            tensors[key] = value

    return apply


def extra(key: str) -> Callable[[Any], None]:
    return lambda tensors: tensors.update({key: torch.ones(3)})


WRONG_LORA = {
    "missing lora half": (change("lora_A", lambda v: None), "one half"),
    "wrong lora shape": (change("lora_A", lambda v: v[:, :-1]), "shapes"),
    "other rank": (change("lora_A", lambda v: v[:-1]), "shapes"),
    "missing decoder key": (change("iou_token", lambda v: None), "missing"),
    "wrong decoder shape": (change("iou_token", lambda v: v[:, :7]), "instead of"),
    "unknown decoder key": (extra("base_model.model.mask_decoder.x"), "unknown"),
    "unknown key": (extra("base_model.model.neck.weight"), "unknown"),
    "lora in a missing layer": (
        lambda t: t.update(
            {
                "base_model.model.image_encoder.blocks.9.attn.qkv.lora_A.weight": torch.ones(4, 32),
                "base_model.model.image_encoder.blocks.9.attn.qkv.lora_B.weight": torch.ones(96, 4),
            }
        ),
        "does not exist",
    ),
    "no peft prefix": (extra("image_encoder.x"), "PEFT"),
    "missing block": (
        lambda t: [t.pop(key) for key in list(t) if "blocks.1." in key],
        "is missing",
    ),
    "no decoder at all": (
        lambda t: [t.pop(key) for key in list(t) if "mask_decoder" in key],
        "is missing",
    ),
    "no lora at all": (
        lambda t: [t.pop(key) for key in list(t) if "lora_" in key],
        "is missing",
    ),
}


@pytest.mark.parametrize("case", list(WRONG_LORA))
def test_wrong_lora_is_refused_and_nothing_changes(
    model: LoadedModel, picture: Any, tmp_path: Path, case: str
) -> None:
    spoil, message = WRONG_LORA[case]
    tensors = lora_tensors(model.sam)
    spoil(tensors)
    predictor = Predictor(model)
    good = write_adapter(
        tmp_path / "good", lora_tensors(model.sam), manifest(model, name="good"), LORA, None
    )
    predictor.load_adapter(good)
    before, _ = answer(predictor, picture)
    folder = write_adapter(tmp_path / "bad", tensors, manifest(model, name="bad"), LORA, None)
    with pytest.raises(AdapterError, match=message) as caught:
        predictor.load_adapter(folder)
    assert "\n" not in str(caught.value)
    assert "bad" in str(caught.value)
    assert predictor.adapter_name == "good"
    predictor.memory.clear()
    assert torch.equal(answer(predictor, picture)[0], before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"r": 8}, "rank 4"),
    ],
)
def test_kinds_of_peft_that_are_not_reproduced_are_refused(
    model: LoadedModel, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = write_adapter(
        tmp_path / "a", lora_tensors(model.sam), manifest(model), LORA | settings, None
    )
    with pytest.raises(AdapterError, match=message):
        apply_to(model.sam, folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change("attn_adapter.up.bias", lambda v: None), "lacks up.bias"),
        (change("mlp_adapter.up.weight", lambda v: v[:-1]), "instead of"),
        (change("norm1.weight", lambda v: v[:-1]), "instead of"),
        (extra("image_encoder.blocks.7.norm1.weight"), "does not exist"),
        (extra("image_encoder.neck.0.weight"), "unknown"),
        (change("mask_tokens", lambda v: None), "missing"),
    ],
)
def test_wrong_paper_adapters_are_refused(
    model: LoadedModel, tmp_path: Path, spoil: Callable[[Any], None], message: str
) -> None:
    tensors = paper_tensors(model.sam)
    spoil(tensors)
    made = manifest(model, recipe="paper")
    folder = write_adapter(tmp_path / "p", tensors, made, None, None)
    state = {key: value.clone() for key, value in model.sam.state_dict().items()}
    with pytest.raises(AdapterError, match=message):
        apply_to(model.sam, folder)
    assert all(torch.equal(value, state[key]) for key, value in model.sam.state_dict().items())


def test_an_adapter_of_another_checkpoint_is_refused(
    model: LoadedModel, make_sam: Callable[..., Any], tmp_path: Path
) -> None:
    other = LoadedModel.from_sam(make_sam(seed=9), name="other")
    folder = write_adapter(tmp_path / "o", lora_tensors(other.sam), manifest(other), LORA, None)
    with pytest.raises(AdapterError, match="belongs to other, not to tiny"):
        Predictor(model).load_adapter(folder)


def test_manifest_survives_writing(model: LoadedModel, tmp_path: Path) -> None:
    made = manifest(
        model,
        before={"noc85": 3.5},
        split={"train": [1, 2], "val": [3]},
        notes={"unproven": True},
        duration_s=12.5,
    )
    write_adapter(tmp_path / "deep" / "m", lora_tensors(model.sam), made, LORA, None)
    assert AdapterFolder.read(tmp_path / "deep" / "m").manifest == made
    names = sorted(path.name for path in (tmp_path / "deep").rglob("*"))
    assert names == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "m",
        "manifest.json",
        "relation.safetensors",
    ]


def test_an_existing_adapter_is_not_overwritten(model: LoadedModel, tmp_path: Path) -> None:
    tensors = lora_tensors(model.sam)
    write_adapter(tmp_path / "m", tensors, manifest(model), LORA, None)
    with pytest.raises(AdapterError, match="already"):
        write_adapter(tmp_path / "m", tensors, manifest(model), LORA, None)
    with pytest.raises(AdapterError, match="PEFT configuration"):
        write_adapter(tmp_path / "n", tensors, manifest(model), None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_failed_write_leaves_nothing(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(AdapterError, match="No space left"):
        write_adapter(tmp_path / "m", lora_tensors(model.sam), manifest(model), LORA, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "manifest.json").unlink(), "cannot be read"),
        (lambda f: (f / "manifest.json").write_text("{"), "damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "not an adapter manifest"),
        (lambda f: (f / "manifest.json").write_text("{}"), "format version"),
        (lambda f: edit(f, format_version=2), "newer"),
        (lambda f: edit(f, recipe="soup"), "soup"),
        (lambda f: edit(f, name=3), "not a text"),
        (lambda f: edit(f, checkpoint_sha256=""), "name and base"),
        (lambda f: (f / "adapter_config.json").unlink(), "adapter_config"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "adapter_model"),
    ],
)
def test_folders_that_are_no_adapters(
    model: LoadedModel, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = write_adapter(tmp_path / "m", lora_tensors(model.sam), manifest(model), LORA, None)
    spoil(folder.path)
    with pytest.raises(AdapterError, match=message) as caught:
        AdapterFolder.read(folder.path)
    assert str(tmp_path) in str(caught.value)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_truncated_weight_file(model: LoadedModel, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "m", lora_tensors(model.sam), manifest(model), LORA, None)
    weights = folder.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(AdapterError, match="damaged"):
        apply_to(model.sam, AdapterFolder.read(folder.path))


def test_saved_weights_carry_the_format_peft_looks_for(model: LoadedModel, tmp_path: Path) -> None:
    tensors = lora_tensors(model.sam)
    write_adapter(tmp_path / "m", tensors, manifest(model), LORA, None)
    back = load_file(str(tmp_path / "m" / "adapter_model.safetensors"))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[key], tensors[key]) for key in back)
    save_file(back, str(tmp_path / "again.safetensors"))
