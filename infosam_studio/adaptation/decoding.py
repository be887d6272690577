"""Prompt encoder and mask decoder over a batch whose samples lie on different images.

The arithmetic is segment_anything's, on its own modules; upstream repeats one image for all
prompts, here every sample brings its embedding, and what the rounds of prompting it share is
computed once. Besides masks and predicted IoUs it returns the
mask tokens after the two-way transformer, one of which InfoSAM relates to the embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from infosam_studio.adaptation.relation import tokens_of


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of one kind: the same number of points, all or none with box and mask.

    ``points`` float32 [B, K, 2] (x, y) in pixels of the encoder's square, pixel centres at
    whole numbers; ``labels`` int64 [B, K], 1 or 0; ``boxes`` float32 [B, 4] or None;
    ``masks`` float32 [B, 1, m, m] logits or None; ``multimask`` whether a user would be shown
    three candidates.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor | None
    masks: Tensor | None
    multimask: bool

    def part(self, rows: slice) -> PromptBatch:
        """The prompts of some samples."""
        return PromptBatch(
            self.points[rows],
            self.labels[rows],
            None if self.boxes is None else self.boxes[rows],
            None if self.masks is None else self.masks[rows],
            self.multimask,
        )


@dataclass(frozen=True)
class Decoded:
    """``logits`` [B, 4, m, m], ``scores`` [B, 4] predicted IoUs, ``tokens`` [B, 4, 256]."""

    logits: Tensor
    scores: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Dense:
    """What a fed-back mask adds to the image's tokens: ``channels`` [B, N, c] through the last
    1x1 convolution of upstream's ``mask_downscaling``, as ``weight`` [256, c] and ``bias`` [256].

    Without a mask there are no channels, and the bias is upstream's ``no_mask_embed``.
    """

    channels: Tensor | None
    weight: Tensor
    bias: Tensor

    def through(self, matrix: Tensor | None = None) -> Tensor:
        """The sum for every token, [B, N, 256] or broadcast; with ``matrix`` [k, 256], what it
        makes of the sum, [B, N, k]: of few channels, so for a fraction of the price."""
        weight, bias = self.weight, self.bias
        if matrix is not None:
            weight, bias = matrix @ weight, matrix @ bias
        return bias if self.channels is None else functional.linear(self.channels, weight, bias)


@dataclass(frozen=True)
class Seen:
    """What all rounds of prompting the same images have in common.

    ``tokens`` [B, N, 256] and ``position`` [1, N, 256]; ``projected`` [B, N, 3k], what the first
    layer's projections ``matrix`` [3k, 256] make of the image: keys, the queries of the way back,
    values.
    """

    tokens: Tensor
    position: Tensor
    matrix: Tensor
    projected: Tensor


def encode_prompts(prompt_encoder: Any, batch: PromptBatch) -> tuple[Tensor, Dense]:
    """Sparse prompt embeddings [B, T, 256] and the dense one.

    Always float32: in bfloat16 the positional encoding is ruined.
    """
    points = (batch.points, batch.labels) if batch.points.shape[1] else None
    with torch.autocast(batch.points.device.type, enabled=False), torch.no_grad():
        sparse, _ = prompt_encoder(points=points, boxes=batch.boxes, masks=None)
        *layers, last = prompt_encoder.mask_downscaling
        weight, channels = last.weight.flatten(1), batch.masks
        if channels is None:
            return sparse, Dense(None, weight, prompt_encoder.no_mask_embed.weight[0])
        for layer in layers:
            channels = layer(channels)
        return sparse, Dense(tokens_of(channels), weight, last.bias)


def look(decoder: Any, features: Tensor, image_pe: Tensor) -> Seen:
    """Prepare images for `decode`, once for any number of rounds.

    Args:
        decoder: segment_anything's ``MaskDecoder``, student's or teacher's.
        features: [B, 256, h, w], one embedding per sample.
        image_pe: [1, 256, h, w], the prompt encoder's dense positional encoding.
    """
    first = decoder.transformer.layers[0]
    asked, answering = first.cross_attn_token_to_image, first.cross_attn_image_to_token
    # A map's tokens lie across its memory, and every product would copy them anew.
    tokens, position = tokens_of(features).contiguous(), tokens_of(image_pe).contiguous()
    placed = [asked.k_proj, answering.q_proj]
    matrix = torch.cat([layer.weight for layer in (*placed, asked.v_proj)])
    bias = torch.cat([layer.bias for layer in placed])
    keys_and_back = functional.linear(tokens + position, matrix[: len(bias)], bias)
    projected = torch.cat([keys_and_back, asked.v_proj(tokens)], dim=-1)
    return Seen(tokens, position, matrix, projected)


def decode(decoder: Any, seen: Seen, prompts: tuple[Tensor, Dense]) -> Decoded:
    """All four masks of every sample.

    Args:
        decoder: segment_anything's ``MaskDecoder``, student's or teacher's.
        seen: what :func:`look` returned for the same decoder.
        prompts: what :func:`encode_prompts` returned for the same samples.
    """
    hidden, keys = _asked(decoder, seen, prompts)
    count = decoder.num_mask_tokens
    hyper = torch.stack(
        [mlp(hidden[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1
    )
    # Upstream's embeddings are square.
    side = math.isqrt(keys.shape[1])
    pixels = _upscale(decoder.output_upscaling, keys)
    logits = pixels @ hyper.transpose(1, 2)
    logits = logits.reshape(len(keys), side, side, 2, 2, 2, 2, count)
    # The sub-pixels stand in the order (y1, x1, y2, x2) of the two doublings.
    logits = logits.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(len(keys), count, 4 * side, 4 * side)
    scores = decoder.iou_prediction_head(hidden[:, 0])
    return Decoded(logits.float(), scores.float(), hidden[:, 1 : 1 + count].float())


def mask_tokens(decoder: Any, seen: Seen, prompts: tuple[Tensor, Dense]) -> Tensor:
    """The ``tokens`` [B, 4, 256] of :func:`decode` alone, without the masks they would make."""
    hidden, _ = _asked(decoder, seen, prompts)
    return hidden[:, 1 : 1 + decoder.num_mask_tokens].float()


def _asked(decoder: Any, seen: Seen, prompts: tuple[Tensor, Dense]) -> tuple[Tensor, Tensor]:
    """The decoder's own tokens, then the prompts', and the image's, after the transformer."""
    sparse, dense = prompts
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
    return _two_way(decoder.transformer, seen, dense, tokens)


def _two_way(transformer: Any, seen: Seen, dense: Dense, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Upstream's two-way transformer on tokens: prompts [B, T, C] and image [B, N, C].

    Fused attention keeps neither the attention matrices nor their gradients, and sums and
    projections that upstream makes twice are made once.
    """
    queries, position = tokens, seen.position
    image = seen.tokens + dense.through()
    for index, layer in enumerate(transformer.layers):
        if layer.skip_first_layer_pe:
            queries = _attend(layer.self_attn, queries, queries, queries)
        else:
            asked = queries + tokens
            queries = queries + _attend(layer.self_attn, asked, asked, queries)
        queries = layer.norm1(queries)
        to_image, to_token = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
        if index == 0:
            keys, back, values = (seen.projected + dense.through(seen.matrix)).chunk(3, dim=-1)
        else:
            placed = image + position
            keys, back = to_image.k_proj(placed), to_token.q_proj(placed)
            values = to_image.v_proj(image)
        answer = _mixed(to_image, to_image.q_proj(queries + tokens), keys, values)
        queries = layer.norm2(queries + answer)
        queries = layer.norm3(queries + layer.mlp(queries))
        told = to_token.k_proj(queries + tokens), to_token.v_proj(queries)
        image = layer.norm4(image + _mixed(to_token, back, *told))
    answer = _attend(
        transformer.final_attn_token_to_image, queries + tokens, image + position, image
    )
    return transformer.norm_final_attn(queries + answer), image


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Upstream's ``Attention`` of [B, N, C] tokens, fused."""
    return _mixed(attention, attention.q_proj(q), attention.k_proj(k), attention.v_proj(v))


def _mixed(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same, of tokens that are projected already."""
    q, k, v = (x.view(*x.shape[:2], attention.num_heads, -1).transpose(1, 2) for x in (q, k, v))
    mixed = functional.scaled_dot_product_attention(q, k, v)
    return cast(Tensor, attention.out_proj(mixed.transpose(1, 2).flatten(2)))


def _upscale(layers: Any, keys: Tensor) -> Tensor:
    """Image tokens [B, h*w, 256] to [B, h*w*16, 32]: two doublings as linear layers.

    A 2x2 transposed convolution of stride 2 has no overlap, so it is a linear layer per token;
    on a CPU that is several times faster.
    """
    first, norm, act, second, last = layers
    batch, length, _ = keys.shape
    x = _doubled(first, keys).reshape(batch, length, 4, -1)
    x = functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps)
    x = _doubled(second, act(x)).reshape(batch, length * 16, -1)
    return cast(Tensor, last(x))


def _doubled(conv: nn.ConvTranspose2d, tokens: Tensor) -> Tensor:
    weight = conv.weight.permute(2, 3, 1, 0).reshape(-1, conv.in_channels)
    bias = None if conv.bias is None else conv.bias.repeat(4)
    return functional.linear(tokens, weight, bias)
