"""A pre-trained InfoSAM relation module for the starter.

    python -m infosam_studio.adaptation.pretraining.relation_training --cache runs/starter/cache

The module is trained with L_r and L_d as in adaptation, the starter being the teacher and
slightly perturbed copies of it the students, on prepared pictures. Its weights carry over
between domains, so an adaptation may begin with them.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from infosam_studio.adaptation.losses import information_loss
from infosam_studio.adaptation.pretraining.decoding import decode, encode_prompts
from infosam_studio.adaptation.pretraining.samples import Samples, collate
from infosam_studio.adaptation.pretraining.steps import first_prompts, normalise
from infosam_studio.adaptation.pretraining.training import prepared_files, say
from infosam_studio.adaptation.relation import RelationModule, save_relation, tokens_of
from infosam_studio.segmentation.starter import IMAGE_SIZE, build_starter

FILE = "starter_relation.safetensors"


@dataclass(frozen=True)
class RelationSettings:
    """Settings of relation pre-training."""

    pictures: int = 120
    students: int = 2
    noise: float = 0.03
    """Of the students' weights, relative to each tensor's own deviation."""
    steps: int = 150
    """More of them make every sample orthogonal to every other (L_r near 0)."""
    batch: int = 8
    learning_rate: float = 2e-4
    alpha: float = 1.0
    beta: float = 1.0
    """Weights of L_r and L_d. With adaptation's 0.5 and students this close, the relation
    collapses to one vector for every sample within 50 steps (L_d 0, nothing left to distil)."""
    seed: int = 0


@dataclass
class Features:
    """Of one model for every picture: embeddings as tokens [P,N,256], mask tokens [P,1,256]."""

    embeddings: Tensor
    tokens: Tensor


def collect(sam: Any, samples: Samples, pictures: int, box_every: int = 3) -> Features:
    """Embedding and token of mask 0 for one prompt per picture (a click, or every third a box)."""
    caught: list[Tensor] = []
    hook = sam.mask_decoder.transformer.register_forward_hook(
        lambda _module, _inputs, output: caught.append(output[0][:, 1:2])
    )
    embeddings = []
    with torch.no_grad():
        for number in range(pictures):
            batch = collate([samples[number]])
            embedding = sam.image_encoder(normalise(sam, batch.images))
            prompts = first_prompts(batch, torch.tensor([number % box_every == 0]))
            grid = (embedding.shape[-2], embedding.shape[-1])
            sparse, dense = encode_prompts(sam, prompts.points, prompts.labels, None, grid)
            decode(sam, embedding, sparse, dense, torch.zeros(1, dtype=torch.long))
            embeddings.append(tokens_of(embedding))
    hook.remove()
    return Features(torch.cat(embeddings), torch.cat(caught))


def perturbed(sam: Any, noise: float, seed: int) -> Any:
    """A student: the same model with a little noise on its matrices."""
    student = copy.deepcopy(sam)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in (student.image_encoder.blocks, student.mask_decoder):
            for parameter in part.parameters():
                if parameter.ndim > 1:
                    shift = torch.randn(parameter.shape, generator=generator)
                    parameter.add_(shift * parameter.std() * noise)
    return student


def train_relation(sam: Any, files: Sequence[Path], settings: RelationSettings) -> RelationModule:
    """Train the relation module on fixed features of teacher and students."""
    samples = Samples(files, IMAGE_SIZE, 1, settings.seed)
    teacher = collect(sam, samples, settings.pictures)
    students = [
        collect(perturbed(sam, settings.noise * (k + 1), k), samples, settings.pictures)
        for k in range(settings.students)
    ]
    torch.manual_seed(settings.seed)
    relation = RelationModule()
    optimizer = torch.optim.Adam(relation.parameters(), lr=settings.learning_rate)
    rng = np.random.default_rng(settings.seed)
    for number in range(settings.steps):
        rows = torch.from_numpy(rng.permutation(settings.pictures)[: settings.batch])
        student = students[int(rng.integers(len(students)))]
        loss = information_loss(
            relation,
            teacher=(teacher.embeddings[rows], teacher.tokens[rows]),
            student=(student.embeddings[rows], student.tokens[rows]),
            alpha=settings.alpha,
            beta=settings.beta,
        )
        optimizer.zero_grad()
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if number % 50 == 0 or number + 1 == settings.steps:
            say(
                f"relation step {number}: L_r {loss.compression.item():.3f}  "
                f"L_d {loss.distillation.item():.3f}"
            )
    return relation.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pre-train the starter's relation module.")
    parser.add_argument("--cache", type=Path, required=True, help="prepared pictures")
    parser.add_argument("--models", type=Path, default=Path("resources/models"))
    parser.add_argument("--pictures", type=int, default=RelationSettings.pictures)
    parser.add_argument("--steps", type=int, default=RelationSettings.steps)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    weights = arguments.models / "starter.safetensors"
    settings = RelationSettings(pictures=arguments.pictures, steps=arguments.steps)
    sam = build_starter(weights).requires_grad_(False)
    relation = train_relation(sam, prepared_files(arguments.cache), settings)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    target = arguments.models / FILE
    save_relation(relation, target, {"starter_sha256": digest, "recipe": str(settings)})
    target.chmod(0o644)
    say(f"wrote {target}")


if __name__ == "__main__":
    main()
