"""Our batched decoding against segment_anything's own decoder, one image at a time."""

from __future__ import annotations

import pytest
import torch

from infosam_studio.adaptation.decoding import PromptBatch, decode, encode_prompts
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
    ours = decode(sam.mask_decoder, features, pe, encode_prompts(sam.prompt_encoder, batch))
    for row in range(3):
        part = batch.part(slice(row, row + 1))
        sparse, dense = encode_prompts(sam.prompt_encoder, part)
        tokens.clear()
        logits, scores = sam.mask_decoder.predict_masks(features[row : row + 1], pe, sparse, dense)
        torch.testing.assert_close(ours.logits[row], logits[0], rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(ours.scores[row], scores[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours.tokens[row, 0], tokens[0][0], rtol=1e-4, atol=1e-4)
    hook.remove()
