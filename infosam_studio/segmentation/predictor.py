"""SAM behind one object: encode an image once, answer prompts, swap adapters.

A predictor belongs to one thread. It never trains, and it never returns anything that torch's
inference mode has marked, so what it gives may be used in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from infosam_studio.annotation.tiled_view import TiledView
from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.segmentation import enlarge, fast_decoder, geometry
from infosam_studio.segmentation.adapter_folder import AdapterFolder, Undo, apply_to
from infosam_studio.segmentation.checkpoints import LoadedModel
from infosam_studio.segmentation.embedding_cache import DiskCache, Embedding, MemoryCache
from infosam_studio.segmentation.fast_attention import best_precision, prepare
from infosam_studio.segmentation.prompts import (
    EmbeddingKey,
    ImageIdentity,
    Prediction,
    Prompt,
    PromptError,
    Region,
)

__all__ = [
    "Embedding",
    "EmbeddingKey",
    "ImageIdentity",
    "Prediction",
    "Predictor",
    "Prompt",
    "PromptError",
]

Candidates = Literal["all", "best"] | Sequence[int]

# Prompts of one decoder call: each one holds a copy of the embedding and of its upscaling.
BATCH_CPU, BATCH_GPU = 8, 64
MOST_MASK_ROWS = 4096


class Predictor:
    """Answers prompts on images with one model and at most one adapter.

    ``precision`` is that of the encoder: "fp32", "bf16", or "auto" for the quicker one on this
    device; prompt encoder and decoder always run in fp32. ViT attention is replaced by an equal
    one that needs less time and memory (`fast_attention`). With ``round_fp16`` (the default)
    masks are decoded from the fp16-rounded embedding even when it was just computed, so that a
    cached one gives the same bits.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str | torch.device = "cpu",
        precision: str = "fp32",
        memory_bytes: int = 512 * 2**20,
        disk: DiskCache | None = None,
        round_fp16: bool = True,
    ) -> None:
        if precision == "auto":
            precision = best_precision(device)
        if precision not in ("fp32", "bf16"):
            raise StudioError(f"Precision {precision} is unknown: choose auto, fp32 or bf16.")
        self.model = model
        self.device = torch.device(device)
        self.precision = precision
        self.round_fp16 = round_fp16
        self.memory = MemoryCache(memory_bytes)
        self.disk = disk if round_fp16 else None
        self.sam = model.sam.to(self.device).eval().requires_grad_(False)
        self._memory_format = prepare(self.sam.image_encoder)
        self._undo: Undo | None = None
        self._dense_pe: Tensor | None = None

    @property
    def adapter_name(self) -> str | None:
        """The name of the adapter in use, or None for the base model."""
        return self._undo.folder.manifest.name if self._undo else None

    @property
    def adapter_folder(self) -> AdapterFolder | None:
        """The adapter in use, or None for the base model."""
        return self._undo.folder if self._undo else None

    @property
    def encoder_sha256(self) -> str:
        """Hash of the weights that act in the encoder; decoder-only adapters leave it alone."""
        return self._undo.encoder_sha256(self.model) if self._undo else self.model.encoder_sha256

    @property
    def mask_size(self) -> int:
        """Side m of the low-resolution masks that this model gives and takes."""
        return int(self.sam.prompt_encoder.mask_input_size[0])

    def key(self, identity: ImageIdentity, region: Region | None) -> EmbeddingKey:
        """The key under which this predictor would store an embedding now."""
        rounding = "" if self.round_fp16 else "-exact"
        return EmbeddingKey(identity, region, self.encoder_sha256, self.precision + rounding)

    def cached(
        self,
        identity: ImageIdentity,
        region: Region | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> Embedding | None:
        """The embedding from memory or disk, or None; with ``image_size`` (H, W) a region that
        covers the whole image is found under the image itself."""
        if image_size is not None:
            region = geometry.checked_region(region, image_size)
        key = self.key(identity, region)
        found = self.memory.get(key)
        if found is None and self.disk is not None:
            found = self.disk.get(key)
            if found is not None:
                self.memory.put(found)
        if found is not None:
            found.features = found.features.to(self.device)
        return found

    def encode(
        self,
        image: NDArray[np.uint8] | TiledView,
        identity: ImageIdentity,
        *,
        region: Region | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Embedding:
        """The embedding of an image uint8 [H,W,3] RGB, or of a region of it; cache first.

        ``cancelled`` is asked between the blocks of the encoder; where it answers True,
        `Cancelled` is raised and nothing is stored.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise PromptError(
                f"An image is uint8 [H,W,3]; this one is {image.dtype} {list(image.shape)}."
            )
        size = (int(image.shape[0]), int(image.shape[1]))
        region = geometry.checked_region(region, size)
        found = self.cached(identity, region)
        if found is not None:
            return found
        pixels = geometry.encoder_input(self.sam, image, region)
        features = self._encode(pixels.to(self.device), cancelled)
        input_size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        embedding = Embedding(self.key(identity, region), features, size, region, input_size)
        self.memory.put(embedding)
        if self.disk is not None:
            self.disk.put(embedding)
        return embedding

    def _encode(self, pixels: Tensor, cancelled: Callable[[], bool] | None) -> Tensor:
        low = self.precision == "bf16"
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=low),
            _stopping(self.sam.image_encoder, cancelled),
        ):
            normalised = self.sam.preprocess(pixels).contiguous(memory_format=self._memory_format)
            features: Tensor = self.sam.image_encoder(normalised)
        # Outside inference mode these make an ordinary tensor.
        features = features.float().contiguous()
        return features.half().float() if self.round_fp16 else features.clone()

    def predict(
        self,
        embedding: Embedding,
        prompt: Prompt,
        *,
        multimask: bool,
        candidates: Candidates = "all",
    ) -> Prediction:
        """Masks for one prompt: three candidates with ``multimask``, else one.

        ``candidates`` says which are enlarged to the image: all, the best by score, or these
        numbers; `enlarge` does it for another one later.
        """
        answers = self.predict_batch(
            embedding, [prompt], multimask=multimask, candidates=candidates
        )
        return answers[0]

    def predict_batch(
        self,
        embedding: Embedding,
        prompts: Sequence[Prompt],
        *,
        multimask: bool,
        candidates: Candidates = "all",
    ) -> list[Prediction]:
        """Masks for many prompts on one embedding, in the order given.

        Prompts with the same number of points and the same parts are decoded together, so no
        padding enters and each answer is that of `predict` up to rounding.
        """
        frame = _frame(embedding)
        local = [frame.localise(prompt) for prompt in prompts]
        answers: list[Prediction | None] = [None] * len(local)
        size = BATCH_CPU if self.device.type == "cpu" else BATCH_GPU
        for indices in _batches(local, size):
            batch = [local[index] for index in indices]
            low_res, scores = self.decode(embedding, batch, multimask=multimask)
            for row, index in enumerate(indices):
                answers[index] = self._prediction(frame, low_res[row], scores[row], candidates)
        return [answer for answer in answers if answer is not None]

    def decode(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution logits [B,K,m,m] and predicted IoUs [B,K] for prompts of one kind.

        All prompts must have the same number of points, and all or none a box and a mask.
        """
        low_res, scores, _ = self.decode_tokens(embedding, prompts, multimask=multimask)
        return low_res, scores

    def decode_tokens(
        self, embedding: Embedding, prompts: Sequence[Prompt], *, multimask: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`decode`, and the mask token [B,K,C] of every candidate: what the mask is of."""
        points, boxes, masks = self._prompt_tensors(_frame(embedding), prompts)
        with torch.inference_mode():
            sparse, dense = self.sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
            if self._dense_pe is None:
                self._dense_pe = self.sam.prompt_encoder.get_dense_pe()
            low_res, scores, tokens = fast_decoder.decode_tokens(
                self.sam.mask_decoder,
                features=embedding.features,
                position=self._dense_pe,
                sparse=sparse,
                dense=dense,
                multimask=multimask,
            )
        return low_res.clone(), scores.clone(), tokens.clone()

    def _prompt_tensors(
        self, frame: geometry.Frame, prompts: Sequence[Prompt]
    ) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None, Tensor | None]:
        """Points with labels, boxes and masks as the prompt encoder takes them."""
        first = prompts[0]
        if not len(first.points) and first.box is None and first.mask_logits is None:
            raise PromptError("A prompt needs at least one click, a box or a mask.")
        points = boxes = masks = None
        if len(first.points):
            coordinates = np.stack([frame.to_input(prompt.points) for prompt in prompts])
            labels = np.stack([prompt.labels for prompt in prompts])
            points = (self._tensor(coordinates), self._tensor(labels, torch.int))
        if first.box is not None:
            corners = np.stack([np.asarray(prompt.box).reshape(2, 2) for prompt in prompts])
            boxes = self._tensor(frame.to_input(corners).reshape(-1, 4))
        if first.mask_logits is not None:
            masks = self._tensor(np.stack([self._checked_logits(p) for p in prompts])[:, None])
        return points, boxes, masks

    def _checked_logits(self, prompt: Prompt) -> NDArray[np.float32]:
        logits = prompt.mask_logits
        if logits is None or logits.shape != (self.mask_size, self.mask_size):
            raise PromptError(
                f"A mask prompt for {self.model.info.name} is {self.mask_size}x{self.mask_size} "
                "logits: use those of an earlier prediction of the same model."
            )
        return logits

    def _tensor(self, values: NDArray[Any], dtype: torch.dtype = torch.float) -> Tensor:
        # First the type, then the device: Apple's GPUs know no float64.
        return torch.as_tensor(values).to(dtype).to(self.device)

    def _prediction(
        self, frame: geometry.Frame, low_res: Tensor, scores: Tensor, candidates: Candidates
    ) -> Prediction:
        ious = scores.float().cpu().numpy()
        shown = _shown(candidates, ious)
        masks = np.empty((len(shown), *frame.image_size), dtype=np.bool_)
        for row, index in enumerate(shown):
            masks[row] = self._enlarge(low_res[index], frame)
        return Prediction(masks, ious, low_res.float().cpu().numpy(), shown)

    def enlarge(self, embedding: Embedding, low_res: NDArray[np.float32]) -> NDArray[np.bool_]:
        """One low-resolution mask [m,m] of a prediction as bool [H,W] of the whole image."""
        return self._enlarge(self._tensor(low_res), _frame(embedding))

    def _enlarge(self, low_res: Tensor, frame: geometry.Frame) -> NDArray[np.bool_]:
        threshold = float(self.sam.mask_threshold)
        size = int(self.sam.image_encoder.img_size)
        if self.device.type == "cpu":
            return enlarge.to_image(low_res.float().numpy(), frame, size, threshold)
        with torch.inference_mode():
            mask = geometry.enlarge_mask(low_res, frame, size, threshold)
        result: NDArray[np.bool_] = mask.cpu().numpy()
        return result

    def part(
        self, embedding: Embedding, low_res: NDArray[np.float32]
    ) -> tuple[int, int, NDArray[np.bool_]]:
        """One low-resolution mask [m,m] as a rectangle that holds it: x, y and bool [h,w].

        For huge images, of which a mask of the whole would not fit; the pixels of `enlarge`.
        """
        return enlarge.to_part(
            np.asarray(low_res, np.float32),
            _frame(embedding),
            int(self.sam.image_encoder.img_size),
            float(self.sam.mask_threshold),
        )

    def logits_of_mask(self, embedding: Embedding, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """A finished mask, bool [H,W] of the whole image, as ``mask_logits`` of a prompt."""
        return geometry.reduce_mask(
            mask,
            _frame(embedding),
            img_size=int(self.sam.image_encoder.img_size),
            mask_size=self.mask_size,
        )

    def logits_of_part(
        self, embedding: Embedding, x0: int, y0: int, part: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """As `logits_of_mask` for a mask that is ``part`` at (x0, y0) and empty elsewhere.

        Huge rectangles are looked at in every so manieth row and column, at most 4096 of them.
        """
        left, top, right, bottom = _frame(embedding).box
        step = -(-max(right - left, bottom - top) // MOST_MASK_ROWS)
        height, width = -(-(bottom - top) // step), -(-(right - left) // step)
        whole = np.zeros((height, width), np.bool_)
        rows, row = _every(step, y0 - top, part.shape[0], bottom - top)
        columns, column = _every(step, x0 - left, part.shape[1], right - left)
        seen = part[rows, columns]
        whole[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
        frame = geometry.Frame((height, width), None, embedding.input_size)
        return geometry.reduce_mask(
            whole, frame, img_size=int(self.sam.image_encoder.img_size), mask_size=self.mask_size
        )

    def load_adapter(self, adapter: AdapterFolder | None) -> None:
        """Swap to an adapter, or back to the base model with None.

        The base weights are never changed, so going back gives the same bits. An adapter that
        does not fit raises `AdapterError` and leaves the one in use as it was.
        """
        previous = self._undo
        if previous is not None:
            previous.undo()
            self._undo = None
        try:
            if adapter is not None:
                self._undo = apply_to(self.sam, adapter, base=self.model.info)
        except StudioError:
            if previous is not None:
                self._undo = apply_to(self.sam, previous.folder, base=self.model.info)
            raise


def _frame(embedding: Embedding) -> geometry.Frame:
    return geometry.Frame(embedding.image_size, embedding.region, embedding.input_size)


def _every(step: int, start: int, count: int, total: int) -> tuple[slice, int]:
    """Which of ``count`` pixels from ``start`` on are every ``step``-th one of ``total``.

    And as which one of those the first is counted.
    """
    first = max(0, -(-start // step))
    begin = first * step - start
    return slice(begin, max(begin, min(count, total - start)), step), first


def _shown(candidates: Candidates, scores: NDArray[np.float32]) -> tuple[int, ...]:
    if candidates == "all":
        return tuple(range(len(scores)))
    if candidates == "best":
        return (int(np.argmax(scores)),)
    return tuple(int(index) for index in candidates)


def _batches(prompts: Sequence[Prompt], size: int) -> Iterator[list[int]]:
    """Indices of prompts that can be decoded together, at most ``size`` at a time."""
    groups: dict[tuple[int, bool, bool], list[int]] = {}
    for index, prompt in enumerate(prompts):
        kind = (len(prompt.points), prompt.box is None, prompt.mask_logits is None)
        groups.setdefault(kind, []).append(index)
    for indices in groups.values():
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


@contextmanager
def _stopping(encoder: nn.Module, cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Within this, every block of the encoder first asks whether it should still run."""
    if cancelled is None:
        yield
        return

    def ask(_module: nn.Module, _inputs: object) -> None:
        if cancelled():
            raise Cancelled

    handles = [block.register_forward_pre_hook(ask) for block in _blocks(encoder)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(encoder: nn.Module) -> Iterable[nn.Module]:
    """The members of every list and sequence of modules: blocks in each architecture."""
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            yield from module
