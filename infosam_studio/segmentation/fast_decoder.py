"""SAM's mask decoder with the same weights and fewer copies.

Upstream goes through [B,C,H,W]; here the image stays a list of tokens [B,N,C] throughout. A
transposed convolution whose kernel is as wide as its stride is a matrix product per token, so
enlarging works on tokens too, and only the masks asked for are ever laid out as pictures. What
prompts of one image have in common is computed once: where no mask is fed back, the first
layer's image side has a batch of one and is broadcast.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def decode(
    decoder: Any,
    *,
    features: Tensor,
    position: Tensor,
    sparse: Tensor,
    dense: Tensor,
    multimask: bool,
) -> tuple[Tensor, Tensor]:
    """Low-resolution logits [B,K,4h,4w] and predicted IoUs [B,K], as ``decoder(...)`` gives.

    ``features`` and ``position`` [1,C,h,w], ``sparse`` [B,T,C], ``dense`` [B,C,h,w] (an expanded
    view where no mask is fed back); K is 3 with ``multimask``, else 1.
    """
    masks, scores, _ = decode_tokens(
        decoder,
        features=features,
        position=position,
        sparse=sparse,
        dense=dense,
        multimask=multimask,
    )
    return masks, scores


def decode_tokens(
    decoder: Any,
    *,
    features: Tensor,
    position: Tensor,
    sparse: Tensor,
    dense: Tensor,
    multimask: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`decode`, and the mask tokens [B,K,C] after the transformer: what each mask is of."""
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    shared = dense.stride(0) == 0 or len(dense) == 1
    image = _as_tokens(features) + _as_tokens(dense[:1] if shared else dense)
    queries, image = _transformer(decoder.transformer, image, _as_tokens(position), tokens)
    count = int(decoder.num_mask_tokens)
    wanted = range(1, count) if multimask else range(1)
    weights = [decoder.output_hypernetworks_mlps[n](queries[:, 1 + n]) for n in wanted]
    masks = _masks(decoder.output_upscaling, image, torch.stack(weights, dim=1), features)
    scores = decoder.iou_prediction_head(queries[:, 0])
    columns = slice(wanted.start, wanted.stop)
    return masks, scores[:, columns], queries[:, 1:][:, columns]


def _as_tokens(maps: Tensor) -> Tensor:
    """[B,C,h,w] -> [B,h*w,C], a view."""
    return maps.flatten(2).transpose(1, 2)


def _transformer(
    transformer: Any, image: Tensor, position: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Upstream's two-way transformer, fed with tokens instead of maps."""
    image, position = image.contiguous(), position.contiguous()
    queries = tokens
    for layer in transformer.layers:
        queries, image = layer(queries=queries, keys=image, query_pe=tokens, key_pe=position)
    attention = transformer.final_attn_token_to_image(
        q=queries + tokens, k=image + position, v=image
    )
    return transformer.norm_final_attn(queries + attention), image


def _masks(upscaling: Any, image: Tensor, weights: Tensor, features: Tensor) -> Tensor:
    """Enlarge tokens [B,N,C] fourfold and multiply with ``weights`` [B,K,c]: [B,K,4h,4w]."""
    first, norm, act, second, last = upscaling
    x = _spread(image, first)
    x = act(F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = last(_spread(x, second))
    batch, (height, width) = len(image), features.shape[-2:]
    planes: Tensor = x.view(batch, -1, x.shape[-1]) @ weights.transpose(1, 2)
    # Position (row, column), then the two steps of enlarging with (row, column) each.
    planes = planes.view(batch, height, width, 2, 2, 2, 2, -1)
    planes = planes.permute(0, 7, 1, 3, 5, 2, 4, 6)
    return planes.reshape(batch, -1, 4 * height, 4 * width)


def _spread(x: Tensor, convolution: Any) -> Tensor:
    """A 2x2 transposed convolution with stride 2, per token: [...,C] -> [...,4,C']."""
    weight = convolution.weight  # [C,C',2,2]
    matrix = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
    bias = convolution.bias.repeat(4)
    return F.linear(x, matrix, bias).view(*x.shape[:-1], 4, -1)
