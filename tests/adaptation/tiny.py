"""A small real Sam (128 px, embedding 8x8) and a project of painted disks, for quick tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from infosam_studio.adaptation.adapters import Student, make_student
from infosam_studio.adaptation.features import FeatureStore
from infosam_studio.adaptation.plan import TrainingPlan
from infosam_studio.adaptation.relation import RelationModule
from infosam_studio.adaptation.rollout import Roller
from infosam_studio.adaptation.samples import LabelledImage, Sample
from infosam_studio.adaptation.targets import TargetStore
from infosam_studio.adaptation.training import Trainer
from infosam_studio.annotation import masks
from infosam_studio.annotation.images import ViewSettings, content_hash
from infosam_studio.annotation.model import ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.segmentation import architectures
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.starter import StarterEncoder
from infosam_studio.segmentation.upstream import segment_anything_modules

SIZE = 128


def tiny_sam(seed: int = 0) -> Any:
    """The starter's architecture in small, with random weights."""
    torch.manual_seed(seed)
    upstream = segment_anything_modules()
    grid = (SIZE // 16, SIZE // 16)
    encoder = StarterEncoder(dims=(8, 16, 32), depths=(1, 1, 4), num_heads=2, mlp_ratio=2)
    encoder.img_size = SIZE
    prompt_encoder = upstream.PromptEncoder(
        embed_dim=256,
        image_embedding_size=grid,
        input_image_size=(SIZE, SIZE),
        mask_in_chans=16,
    )
    decoder = upstream.MaskDecoder(
        num_multimask_outputs=3,
        transformer=upstream.TwoWayTransformer(
            depth=2, embedding_dim=256, mlp_dim=128, num_heads=8
        ),
        transformer_dim=256,
    )
    sam = upstream.Sam(encoder, prompt_encoder, decoder)
    return sam.eval().requires_grad_(False)


def small_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch, *, depth: int = 4) -> str:
    """A checkpoint file of a small random ViT (128 px), known to the loader for this test."""
    width = 48

    def build() -> Any:
        upstream = segment_anything_modules()
        encoder = upstream.ImageEncoderViT(
            depth=depth,
            embed_dim=width,
            img_size=SIZE,
            mlp_ratio=2,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=2,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(depth - 1,),
            window_size=4,
            out_chans=256,
        )
        base = tiny_sam()
        return upstream.Sam(encoder, base.prompt_encoder, base.mask_decoder).eval()

    monkeypatch.setitem(architectures.BUILDERS, "vit_small", build)
    monkeypatch.setitem(architectures.VIT_WIDTHS, width, "vit_small")
    torch.manual_seed(0)
    path = folder / "small.safetensors"
    save_file({key: value.contiguous() for key, value in build().state_dict().items()}, path)
    return str(path)


def paint(seed: int, *, objects: int = 3, height: int = 96, width: int = 128) -> Any:
    """(image uint8 [H, W, 3], masks): dark disks on noise."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:height, :width]
    image = rng.integers(140, 200, (height, width, 3)).astype(np.uint8)
    found: list[NDArray[np.bool_]] = []
    for index in range(objects):
        x, y, r = rng.integers(20, width - 20), rng.integers(20, height - 20), rng.integers(8, 16)
        disk = (xx - x) ** 2 + (yy - y) ** 2 <= int(r) ** 2
        image[disk] = (40, 60 + 20 * index, 30)
        found.append(disk)
    return image, found


def labelled(
    folder: Path, images: int, *, objects: int = 3
) -> tuple[list[LabelledImage], list[Sample]]:
    """Painted images on disk with their samples, without a project."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, samples = [], []
    for number in range(images):
        image, found = paint(number, objects=objects)
        path = folder / f"{number}.png"
        Image.fromarray(image).save(path)
        height, width = image.shape[:2]
        pictures.append(
            LabelledImage(
                number, path, path.name, content_hash(path), ViewSettings(), height, width
            )
        )
        for mask in found:
            key = len(samples) + 1
            samples.append(Sample(key, number, 1, masks.encode(mask), True, int(mask.sum())))
    return pictures, samples


def project_of(folder: Path, images: int, *, objects: int = 3, **fields: Any) -> Path:
    """A project with painted, labelled images; returns its folder."""
    (folder / "images").mkdir(parents=True)
    found = {}
    for number in range(images):
        image, found[f"{number}.png"] = paint(number, objects=objects)
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
    with Project.create(folder / "project", folder / "images") as project:
        records = project.add_images(sorted((folder / "images").glob("*.png")))
        disk = project.add_class("disk")
        for record in records:
            project.add_objects(
                [
                    ObjectRecord(
                        0,
                        record.id,
                        disk.id,
                        masks.encode(mask),
                        **{"hand_corrected": True, **fields},
                    )
                    for mask in found[record.path]
                ]
            )
        project.ensure_split()
    return folder / "project"


def tiny_plan(**changes: Any) -> TrainingPlan:
    """A studio plan of four samples, two rounds, all in one pass."""
    plan = TrainingPlan(
        recipe="studio",
        speed="full",
        steps=4,
        batch=4,
        micro_batch=4,
        learning_rate=1e-3,
        encoder_rate=1e-3,
        relation_rate=1e-3,
        rounds=2,
        click_noise=0.5,
        box_share=0.3,
        box_noise=0.05,
        spread=0.25,
        keep=1,
        rank=2,
        first_block=2,
        canvas=64,
        clip=1.0,
    )
    return replace(plan, **changes)


def trainer_of(
    pictures: Sequence[LabelledImage],
    plan: TrainingPlan,
    *,
    sam: Any = None,
    cache_bytes: int = 2**30,
    notes: list[tuple[str, str]] | None = None,
) -> tuple[Trainer, Student]:
    """A trainer on the tiny model."""
    sam = tiny_sam() if sam is None else sam
    predictor = Predictor(
        LoadedModel.from_sam(sam, name="tiny", architecture="starter"),
        memory_bytes=cache_bytes and 2**28,
    )
    student = make_student(
        sam, recipe=plan.recipe, rank=plan.rank, first_block=plan.first_block, seed=0
    )
    store = FeatureStore(
        predictor,
        pictures,
        split=student.split,
        first_block=student.first_block,
        limit_bytes=cache_bytes,
    )
    store.base_model = student.base_model
    torch.manual_seed(7)
    relation = RelationModule() if plan.information else None
    trainer = Trainer(
        student,
        relation,
        store,
        TargetStore(image_size=SIZE, side=plan.canvas),
        Roller(sam, plan),
        plan,
        notice=lambda code, text: (notes if notes is not None else []).append((code, text)),
    )
    return trainer, student
