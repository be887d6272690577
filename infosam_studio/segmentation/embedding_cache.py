"""Image embeddings kept in memory and on disk, both as fp16 and both bounded in bytes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import zlib
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infosam_studio.annotation.cache_folder import PART, prune_folder
from infosam_studio.segmentation.prompts import EmbeddingKey, ImageIdentity, Region

log = logging.getLogger(__name__)

MAGIC = b"INFOSAM-EMBEDDING-1\n"
SUFFIX = ".embedding"
MAX_HEADER = 65_536


@dataclass
class Embedding:
    """One encoded image, or one encoded region of it.

    ``features`` float32 [1,256,h,w], values exactly representable in fp16 unless the predictor
    was told not to round; ``image_size`` (H, W) of the whole image; ``region``
    (x0, y0, x1, y1) in its pixels, or None for all of it; ``input_size`` (h, w) of the
    resized image inside the encoder's square input.
    """

    key: EmbeddingKey
    features: Tensor
    image_size: tuple[int, int]
    region: Region | None
    input_size: tuple[int, int]


class MemoryCache:
    """Least recently used embeddings go when the limit in bytes is passed."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._entries: OrderedDict[str, Embedding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """The embedding with float32 features on the CPU, or None."""
        digest = key.digest()
        stored = self._entries.get(digest)
        if stored is None:
            return None
        self._entries.move_to_end(digest)
        return _with_features(stored, stored.features.to(torch.float32, copy=True))

    def put(self, embedding: Embedding) -> None:
        """Keep an embedding; as fp16 where that loses nothing."""
        digest = embedding.key.digest()
        self._forget(digest)
        features = embedding.features.detach().cpu()
        half = features.half()
        lossless = torch.equal(half.float(), features)
        stored = _with_features(embedding, half if lossless else features.clone())
        if _size(stored) > self.limit_bytes:
            return
        self._entries[digest] = stored
        self.bytes += _size(stored)
        while self.bytes > self.limit_bytes:
            self._forget(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.bytes = 0

    def _forget(self, digest: str) -> None:
        stored = self._entries.pop(digest, None)
        if stored is not None:
            self.bytes -= _size(stored)


def _with_features(embedding: Embedding, features: Tensor) -> Embedding:
    return Embedding(
        embedding.key, features, embedding.image_size, embedding.region, embedding.input_size
    )


def _size(embedding: Embedding) -> int:
    return embedding.features.numel() * embedding.features.element_size()


class DiskCache:
    """One file per embedding: magic line, JSON header, fp16 values with a checksum.

    A torn, foreign or mismatched file counts as absent and is written anew. Files are written
    aside and renamed. The oldest by modification time go when the folder passes
    ``limit_bytes``; a hit renews that time. A full disk or a read-only folder only means that
    nothing is kept.
    """

    def __init__(self, folder: Path, limit_bytes: int = 4 * 2**30) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._written: int | None = None

    def path(self, key: EmbeddingKey) -> Path:
        """Where the embedding with this key lies, or would lie."""
        return self.folder / f"{key.digest()}{SUFFIX}"

    def get(self, key: EmbeddingKey) -> Embedding | None:
        """Read an embedding (float32 on the CPU), or None where there is no sound file."""
        path = self.path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        embedding = _parse(content, key)
        if embedding is None:
            log.info("ignoring a damaged or foreign cache file: %s", path.name)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return embedding

    def put(self, embedding: Embedding) -> None:
        """Write an embedding; values are rounded to fp16."""
        content = _serialise(embedding)
        if len(content) > self.limit_bytes:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(self.path(embedding.key), content)
            if self._written is None or self._written + len(content) > self.limit_bytes:
                self._written = self.prune()
            else:
                self._written += len(content)
        except OSError as error:
            log.warning("the embedding cache cannot be written: %s", error)

    def prune(self) -> int:
        """Delete the oldest files above the limit; returns the bytes that stay."""
        return prune_folder(self.folder, SUFFIX, self.limit_bytes)


def _write_atomically(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=PART, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _serialise(embedding: Embedding) -> bytes:
    values = embedding.features.detach().cpu().half().contiguous().numpy().tobytes()
    header = {
        "key": asdict(embedding.key),
        "shape": list(embedding.features.shape),
        "image_size": list(embedding.image_size),
        "input_size": list(embedding.input_size),
        "crc32": zlib.crc32(values),
    }
    text = json.dumps(header).encode()
    return MAGIC + len(text).to_bytes(4, "little") + text + values


def _parse(content: bytes, key: EmbeddingKey) -> Embedding | None:
    """The embedding in these bytes, or None where anything about them is not as written."""
    start = len(MAGIC) + 4
    if not content.startswith(MAGIC) or len(content) < start:
        return None
    length = int.from_bytes(content[len(MAGIC) : start], "little")
    if length > MAX_HEADER:
        return None
    try:
        header: dict[str, Any] = json.loads(content[start : start + length])
        values = content[start + length :]
        if zlib.crc32(values) != header["crc32"] or _key_of(header["key"]) != key:
            return None
        features = np.frombuffer(values, dtype=np.float16).reshape(header["shape"])
        height, width = header["image_size"]
        input_height, input_width = header["input_size"]
    except (ValueError, KeyError, TypeError):
        return None
    tensor = torch.from_numpy(features.astype(np.float32))
    return Embedding(key, tensor, (height, width), key.region, (input_height, input_width))


def _key_of(fields: dict[str, Any]) -> EmbeddingKey:
    region = fields["region"]
    return EmbeddingKey(
        image=ImageIdentity(**fields["image"]),
        region=None if region is None else tuple(region),
        encoder_sha256=fields["encoder_sha256"],
        precision=fields["precision"],
    )
