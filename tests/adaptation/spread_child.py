"""One process of a spread step: ``python -m tests.adaptation.spread_child IMAGES OUT``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from infosam_studio.adaptation.rollout import Draws
from infosam_studio.adaptation.sampler import Sampler
from tests.adaptation.tiny import labelled, tiny_plan, trainer_of


def main() -> None:
    """One step on four samples; the first process saves losses and summed gradients."""
    torch.set_num_threads(1)
    pictures, samples = labelled(Path(sys.argv[1]), 3)
    plan = tiny_plan()
    trainer, student = trainer_of(pictures, plan)
    sampler = Sampler(samples, batch=4, views=(0,), seed=3)
    rng = sampler.generator(0)
    items = sampler.batch(0, rng)
    losses = trainer._gradients(items, Draws.make(rng, len(items), plan))
    named = dict(student.parameters())
    assert trainer.relation is not None
    named |= {f"relation.{name}": v for name, v in trainer.relation.named_parameters()}
    grads = {name: value.grad for name, value in named.items() if value.grad is not None}
    trainer.spread.add_up(grads.values())
    if trainer.spread.rank == 0:
        torch.save({"losses": losses, "grads": grads, "size": trainer.spread.size}, sys.argv[2])


if __name__ == "__main__":
    main()
