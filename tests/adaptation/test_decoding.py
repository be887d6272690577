"""Our batched decoding against segment_anything's own decoder, one image at a time."""

from __future__ import annotations

import pytest
import torch

from infosam_studio.adaptation.decoding import (
    PromptBatch,
    decode,
    encode_prompts,
    look,
    mask_tokens,
)
from infosam_studio.segmentation.starter import build_starter


@pytest.mark.parametrize("kind", ["point", "points and mask", "box", "box and points"])
def test_equal_to_upstream(kind: str) -> None:
    torch.manual_seed(0)
    sam = build_starter().requires_grad_(False)
    features = torch.randn(3, 256, 32, 32)
    count = {"point": 1, "points and mask": 3, "box": 0, "box and points": 2}[kind]
    boxes = torch.tensor([[20.0, 30, 200, 210]]).repeat(3, 1) if "box" in kind else None
    masks = torch.randn(3, 1, 128, 128) if "mask" in kind else None
    batch = PromptBatch(
        torch.rand(3, count, 2) * 500, torch.randint(0, 2, (3, count)), boxes, masks, False
    )
    tokens: list[torch.Tensor] = []
    hook = sam.mask_decoder.transformer.register_forward_hook(
        lambda _module, _inputs, output: tokens.append(output[0][:, 1])
    )
    pe = sam.prompt_encoder.get_dense_pe()
    seen = look(sam.mask_decoder, features, pe)
    prompts = encode_prompts(sam.prompt_encoder, batch)
    ours = decode(sam.mask_decoder, seen, prompts)
    assert torch.equal(mask_tokens(sam.mask_decoder, seen, prompts), ours.tokens)
    for row in range(3):
        part = batch.part(slice(row, row + 1))
        points = (part.points, part.labels) if count else None
        sparse, dense = sam.prompt_encoder(points=points, boxes=part.boxes, masks=part.masks)
        tokens.clear()
        logits, scores = sam.mask_decoder.predict_masks(features[row : row + 1], pe, sparse, dense)
        torch.testing.assert_close(ours.logits[row], logits[0], rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(ours.scores[row], scores[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.tokens[row, 0], tokens[0][0], rtol=1e-4, atol=1e-4)
    hook.remove()


def test_gradients_equal_upstream() -> None:
    """Rounds that share what they see of the image add up to upstream's gradients."""
    torch.manual_seed(0)
    sam = build_starter()
    sam.prompt_encoder.requires_grad_(False)
    features = torch.randn(2, 256, 32, 32, requires_grad=True)
    pe = sam.prompt_encoder.get_dense_pe()
    rounds = [
        PromptBatch(
            torch.rand(2, 1, 2) * 500, torch.ones(2, 1, dtype=torch.int64), None, None, True
        ),
        PromptBatch(
            torch.rand(2, 2, 2) * 500,
            torch.randint(0, 2, (2, 2)),
            None,
            torch.randn(2, 1, 128, 128),
            False,
        ),
    ]
    weights = dict(sam.mask_decoder.named_parameters())

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, [features, *weights.values()]))

    seen = look(sam.mask_decoder, features, pe)
    outs = [
        decode(sam.mask_decoder, seen, encode_prompts(sam.prompt_encoder, each)) for each in rounds
    ]
    ours = gradients(sum((out.logits.square().mean() + out.scores.mean() for out in outs), 0.0))
    total = torch.zeros(())
    for each in rounds:
        for row in range(2):
            part = each.part(slice(row, row + 1))
            sparse, dense = sam.prompt_encoder((part.points, part.labels), None, part.masks)
            logits, scores = sam.mask_decoder.predict_masks(
                features[row : row + 1], pe, sparse, dense
            )
            total = total + (logits.square().mean() + scores.mean()) / 2
    for name, mine, theirs in zip(["features", *weights], ours, gradients(total), strict=True):
        # In norm: single elements differ where rounding takes a ReLU to its other side.
        assert (mine - theirs).norm() <= 1e-3 * theirs.norm() + 1e-7, name
