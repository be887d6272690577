"""Loading checkpoints: what fits is loaded exactly, what does not becomes one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from infosam_studio.segmentation.architectures import build_empty, layout, recognise
from infosam_studio.segmentation.catalogue import file_name
from infosam_studio.segmentation.checkpoints import (
    CheckpointError,
    CheckpointInfo,
    LoadedModel,
    inspect_checkpoint,
    load_checkpoint,
    registry,
)
from infosam_studio.segmentation.hashing import HashCache, sha256_of_file, sha256_of_tensors
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.prompts import ImageIdentity, Prompt
from infosam_studio.segmentation.starter import build_starter
from infosam_studio.segmentation.weight_files import read_weights

LAYOUTS = Path(__file__).parents[1] / "data" / "layouts"


@pytest.fixture(scope="module")
def starter_state() -> dict[str, Tensor]:
    torch.manual_seed(4)
    return dict(build_starter().state_dict())


@pytest.fixture
def starter_file(tmp_path: Path, starter_state: dict[str, Tensor]) -> Path:
    path = tmp_path / "mine.pth"
    torch.save(OrderedDict(starter_state), path)
    return path


@pytest.mark.parametrize("name", sorted(path.stem for path in LAYOUTS.glob("*.json")))
def test_layouts_equal_the_published_ones(name: str) -> None:
    published = json.loads((LAYOUTS / f"{name}.json").read_text(encoding="utf-8"))
    assert {key: list(shape) for key, shape in layout(name).items()} == published
    assert recognise({k: torch.empty(v, device="meta") for k, v in layout(name).items()}) == name


def test_loading_a_model_does_not_import_the_compiler() -> None:
    """It takes a second, at every start of the app and of every command."""
    code = (
        "import sys\n"
        "from infosam_studio.segmentation.architectures import BUILDERS, layout\n"
        "from infosam_studio.segmentation.checkpoints import load_checkpoint\n"
        "load_checkpoint('starter')\n"
        "for name in BUILDERS: layout(name)\n"
        "print({'torch._dynamo', 'sympy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def same_weights(model: LoadedModel, state: dict[str, Tensor]) -> bool:
    loaded = model.sam.state_dict()
    return loaded.keys() == state.keys() and all(
        torch.equal(loaded[key], state[key].float()) for key in state
    )


def test_loads_by_path_and_predicts(starter_file: Path, starter_state: dict[str, Tensor]) -> None:
    model = load_checkpoint(starter_file)
    assert same_weights(model, starter_state)
    assert not model.sam.training
    assert not any(value.requires_grad for value in model.sam.parameters())
    assert model.info.sha256 == sha256_of_file(starter_file)
    assert model.info.architecture == "starter"
    built = LoadedModel.from_sam(build_starter())
    built.sam.load_state_dict(starter_state)
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    click = Prompt.from_clicks([(30, 20, 1)])
    answers = []
    for loaded in (model, built):
        predictor = Predictor(loaded)
        embedding = predictor.encode(picture, ImageIdentity("a"))
        assert embedding.features.shape == (1, 256, 32, 32)
        answers.append(predictor.predict(embedding, click, multimask=True).low_res)
    assert answers[0].shape == (3, 128, 128)
    np.testing.assert_array_equal(answers[0], answers[1])


def test_loads_safetensors_in_fp16(tmp_path: Path, starter_state: dict[str, Tensor]) -> None:
    halves = {key: value.half() for key, value in starter_state.items()}
    save_file(halves, str(tmp_path / "half.safetensors"))
    model = load_checkpoint(tmp_path / "half.safetensors")
    assert same_weights(model, halves)
    assert all(value.dtype == torch.float32 for value in model.sam.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state": {f"sam.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {f"module.sam.{k}": v for k, v in state.items()}, "step": 1},
        lambda state: {f"module.{key}": value for key, value in state.items()},
    ],
)
def test_fine_tuned_wrappings_are_taken_off(
    tmp_path: Path,
    starter_state: dict[str, Tensor],
    wrap: Callable[[dict[str, Tensor]], dict[str, Any]],
) -> None:
    torch.save(wrap(starter_state), tmp_path / "tuned.pt")
    assert same_weights(load_checkpoint(tmp_path / "tuned.pt"), starter_state)


def test_old_torch_files_load(tmp_path: Path, starter_state: dict[str, Tensor]) -> None:
    path = tmp_path / "old.pth"
    torch.save(starter_state, path, _use_new_zipfile_serialization=False)
    assert same_weights(load_checkpoint(path), starter_state)


def test_vit_b_of_true_size_loads(tmp_path: Path) -> None:
    state = {key: torch.full(shape, 0.01) for key, shape in layout("vit_b").items()}
    path = tmp_path / "sam_vit_b.pth"
    torch.save(state, path)
    model = load_checkpoint(path)
    assert same_weights(model, state)
    assert model.sam.image_encoder.img_size == 1024
    mean = model.sam.pixel_mean.flatten().tolist()
    assert mean == pytest.approx([123.675, 116.28, 103.53])
    path.unlink()  # 375 MB less for pytest to keep.


def test_inspect_recognises_and_describes(starter_file: Path) -> None:
    info = inspect_checkpoint(starter_file, name="own")
    assert (info.name, info.architecture, info.path) == ("own", "starter", starter_file)
    assert info.size_bytes == starter_file.stat().st_size


def test_registry_names_the_checkpoints_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFOSAM_STUDIO_MODELS", str(tmp_path))
    known = registry()
    assert list(known) == ["starter", "mobile_sam", "sam_vit_b", "sam_vit_l", "sam_vit_h"]
    assert known["sam_vit_b"].path is None
    with pytest.raises(CheckpointError, match="models get sam_vit_b"):
        load_checkpoint("sam_vit_b")
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"x")
    assert registry()["sam_vit_b"].path == tmp_path / "sam_vit_b_01ec64.pth"
    with pytest.raises(CheckpointError, match="no model nonsense"):
        load_checkpoint("nonsense")


class Program:
    """A pickle that would create a file when opened carelessly."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_with_code_is_not_run(
    tmp_path: Path, starter_state: dict[str, Tensor], new_format: bool
) -> None:
    victim = tmp_path / "victim"
    content = {**starter_state, "extra": Program(victim)}
    path = tmp_path / "evil.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    refused(path, r"program code \(\w+\.mkdir\)")
    assert not victim.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_plain_pickles_are_not_run_either(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "victim"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"state_dict": Program(victim)}, protocol=protocol))
    refused(path, "program code|no checkpoint")
    assert not victim.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_module_is_refused(tmp_path: Path) -> None:
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2))
    path = tmp_path / "script.pt"
    torch.jit.save(module, str(path))
    refused(path, "program code")


def refused(path: Path, message: str) -> None:
    """One sentence that names the file."""
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400 + len(str(path))


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"\n\n  <html>\n<head><title>302</title></head></html>",
        b'\xef\xbb\xbf<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    ],
)
def test_a_web_page_saved_as_checkpoint(tmp_path: Path, page: bytes) -> None:
    path = tmp_path / "sam.pth"
    path.write_bytes(page)
    refused(path, "web page")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n", "pointer"),
        (b"just some text that is no model at all, and goes on", "no checkpoint"),
        (bytes(range(256)) * 40, "no checkpoint|damaged"),
        (b"PK\x03\x04" + bytes(500), "damaged"),
        (b"\x10\0\0\0\0\0\0\0{" + b"x" * 40, "damaged"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "no checkpoint|damaged"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sam.pth"
    path.write_bytes(content)
    refused(path, message)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_half_a_download(tmp_path: Path, starter_file: Path, share: float) -> None:
    content = starter_file.read_bytes()
    path = tmp_path / "half.pth"
    path.write_bytes(content[: int(len(content) * share)])
    refused(path, "damaged|cut short")


def test_half_a_safetensors_file(tmp_path: Path, starter_state: dict[str, Tensor]) -> None:
    path = tmp_path / "half.safetensors"
    save_file(starter_state, str(path))
    path.write_bytes(path.read_bytes()[:-1000])
    refused(path, "damaged|cut short")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/data/0", bytes(50_000_000))
    assert path.stat().st_size < 200_000
    refused(path, "unpack")


def test_missing_folders_and_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("mask_decoder.iou_token.weight"), "no architecture known"),
        (lambda s: s.pop("mask_decoder.mask_tokens.weight"), "lacks mask_decoder.mask_tokens"),
        (lambda s: s.update(surplus=torch.ones(2)), "unknown weights surplus"),
        (lambda s: s.update({"mask_decoder.mask_tokens.weight": torch.ones(4, 9)}), "instead of"),
        (lambda s: [s.pop(key) for key in list(s) if "blocks.5" in key], "and 1[0-9] more"),
    ],
)
def test_weights_that_do_not_fit(
    tmp_path: Path,
    starter_state: dict[str, Tensor],
    spoil: Callable[[dict[str, Any]], object],
    message: str,
) -> None:
    state = dict(starter_state)
    spoil(state)
    torch.save(state, tmp_path / "odd.pth")
    refused(tmp_path / "odd.pth", message)


def test_a_file_without_weights(tmp_path: Path) -> None:
    for number, content in enumerate([[1, 2], {"epoch": 3}, torch.ones(3), {}]):
        path = tmp_path / f"{number}.pth"
        torch.save(content, path)
        refused(path, "no weights by name")


def test_another_architecture_than_promised(starter_file: Path) -> None:
    info = CheckpointInfo("x", "vit_b", starter_file, "", None, 0, "", "")
    with pytest.raises(CheckpointError, match="starter checkpoint, not vit_b"):
        load_checkpoint(info)


def test_a_file_that_is_not_the_published_one(starter_file: Path) -> None:
    info = CheckpointInfo("x", "starter", starter_file, "0" * 64, None, 0, "", "")
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_checkpoint(info)


def test_hash_of_the_encoder_ignores_the_rest(starter_state: dict[str, Tensor]) -> None:
    def loaded(**changes: Tensor) -> LoadedModel:
        sam = build_starter()
        sam.load_state_dict({**starter_state, **changes})
        return LoadedModel.from_sam(sam)

    base = loaded()
    decoder = "mask_decoder.iou_token.weight"
    encoder = next(key for key in starter_state if key.startswith("image_encoder."))
    other_decoder = loaded(**{decoder: starter_state[decoder] + 1})
    other_encoder = loaded(**{encoder: starter_state[encoder] + 1})
    assert base.encoder_sha256 == other_decoder.encoder_sha256
    assert base.encoder_sha256 != other_encoder.encoder_sha256
    assert len({m.info.sha256 for m in (base, other_decoder, other_encoder)}) == 3


def test_files_and_memory_agree_on_the_encoder_hash(
    starter_file: Path, starter_state: dict[str, Tensor]
) -> None:
    sam = build_starter()
    sam.load_state_dict(starter_state)
    in_memory = LoadedModel.from_sam(sam)
    first, remembered = load_checkpoint(starter_file), load_checkpoint(starter_file)
    assert first.encoder_sha256 == remembered.encoder_sha256 == in_memory.encoder_sha256


def test_hashes_of_files_are_remembered_until_they_change(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = sha256_of_file(path)
    assert sha256_of_file(path) == first
    stamp = path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    assert sha256_of_file(path, trust_cache=False) != first
    path.write_bytes(b"longer")
    assert sha256_of_file(path) == hashlib.sha256(b"longer").hexdigest()


def test_hash_of_tensors_sees_names_types_and_shapes() -> None:
    ones = torch.ones(4)
    hashes = {
        sha256_of_tensors(tensors)
        for tensors in (
            {"a": ones},
            {"b": ones},
            {"a": ones.reshape(2, 2)},
            {"a": ones.half()},
            {"a": ones.bfloat16()},
            {"a": ones, "b": ones},
            {"a": torch.ones(())},
        )
    }
    assert len(hashes) == 7
    assert sha256_of_tensors({"a": ones, "b": ones * 2}) == sha256_of_tensors(
        {"b": ones * 2, "a": torch.ones(8)[::2]}
    )


def test_a_damaged_hash_cache_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "hashes.json"
    cache = HashCache(path)
    cache.put("1", "x")
    assert cache.get("1") == "x"
    path.write_text("[1]")
    assert cache.get("1") is None
    cache.put("2", "y")
    assert cache.get("2") == "y"


def test_empty_models_take_no_memory() -> None:
    sam = build_empty("vit_h")
    assert all(value.is_meta for value in sam.parameters())
    assert not sam.pixel_mean.is_meta


def test_file_names_are_those_of_the_publishers() -> None:
    names = [file_name(info) for info in registry().values()]
    assert names[1:] == [
        "mobile_sam.pt",
        "sam_vit_b_01ec64.pth",
        "sam_vit_l_0b3195.pth",
        "sam_vit_h_4b8939.pth",
    ]
