"""The embedding cache: bounded, atomic, and deaf to damaged or foreign files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from infosam_studio.segmentation.embedding_cache import DiskCache, Embedding, MemoryCache
from infosam_studio.segmentation.prompts import EmbeddingKey, ImageIdentity

BYTES = 256 * 4 * 4 * 2


def embedding(number: int, *, rounded: bool = True) -> Embedding:
    torch.manual_seed(number)
    features = torch.randn(1, 256, 4, 4)
    if rounded:
        features = features.half().float()
    key = EmbeddingKey(ImageIdentity(f"{number:064x}", number, "w"), (1, 2, 30, 40), "e" * 64, "p")
    return Embedding(key, features, (50, 60), (1, 2, 30, 40), (200, 256))


def test_keys_differ_in_every_field() -> None:
    who = ImageIdentity("a", 0, "")
    keys = [
        EmbeddingKey(who, None, "e", "fp32"),
        EmbeddingKey(ImageIdentity("b", 0, ""), None, "e", "fp32"),
        EmbeddingKey(ImageIdentity("a", 1, ""), None, "e", "fp32"),
        EmbeddingKey(ImageIdentity("a", 0, "v"), None, "e", "fp32"),
        EmbeddingKey(who, (0, 0, 1, 1), "e", "fp32"),
        EmbeddingKey(who, None, "f", "fp32"),
        EmbeddingKey(who, None, "e", "bf16"),
    ]
    digests = {key.digest() for key in keys}
    assert len(digests) == len(keys)
    assert all(len(digest) == 64 for digest in digests)
    assert keys[0].digest() == EmbeddingKey(ImageIdentity("a"), None, "e", "fp32").digest()


def test_memory_is_bounded_and_forgets_the_least_recently_used() -> None:
    cache = MemoryCache(3 * BYTES)
    items = [embedding(number) for number in range(4)]
    for item in items[:3]:
        cache.put(item)
    assert cache.get(items[0].key) is not None
    cache.put(items[3])
    assert (len(cache), cache.bytes) == (3, 3 * BYTES)
    assert cache.get(items[1].key) is None
    for number in (0, 2, 3):
        found = cache.get(items[number].key)
        assert found is not None
        assert found.features.dtype == torch.float32
        assert torch.equal(found.features, items[number].features)
        assert found.image_size == (50, 60)
        assert found.region == (1, 2, 30, 40)
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_memory_keeps_exact_values_that_fp16_would_lose() -> None:
    cache = MemoryCache(10 * BYTES)
    item = embedding(1, rounded=False)
    cache.put(item)
    cache.put(item)
    found = cache.get(item.key)
    assert found is not None
    assert torch.equal(found.features, item.features)
    assert cache.bytes == 2 * BYTES
    MemoryCache(BYTES // 2).put(item)


def test_what_memory_returns_cannot_change_what_it_holds() -> None:
    cache = MemoryCache(10 * BYTES)
    for rounded in (True, False):
        item = embedding(2, rounded=rounded)
        cache.put(item)
        found = cache.get(item.key)
        assert found is not None
        found.features.zero_()
        again = cache.get(item.key)
        assert again is not None
        assert torch.equal(again.features, item.features)


def test_disk_gives_back_the_same_values(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "new" / "folder")
    item = embedding(3)
    assert cache.get(item.key) is None
    cache.put(item)
    found = DiskCache(tmp_path / "new" / "folder").get(item.key)
    assert found is not None
    assert torch.equal(found.features, item.features)
    assert (found.key, found.image_size, found.region, found.input_size) == (
        item.key,
        item.image_size,
        item.region,
        item.input_size,
    )
    assert cache.path(item.key).stat().st_size < BYTES + 1000
    assert [path.name for path in cache.folder.iterdir()] == [cache.path(item.key).name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:10],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:-5] + b"xxxxx",
        lambda content: b"PNG" + content,
        lambda content: content[:20] + b"\xff\xff\xff\xff" + content[24:],
        lambda content: content.replace(b'"shape"', b'"shame"'),
        lambda content: content.replace(b'"shape": [1, 256', b'"shape": [1, 257'),
    ],
)
def test_damaged_files_are_ignored_and_rewritten(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    cache = DiskCache(tmp_path)
    item = embedding(4)
    cache.put(item)
    path = cache.path(item.key)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(item.key) is None
    cache.put(item)
    assert cache.get(item.key) is not None


def test_a_file_of_another_key_is_foreign(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    one, other = embedding(5), embedding(6)
    cache.put(one)
    cache.path(one.key).rename(cache.path(other.key))
    assert cache.get(other.key) is None


def test_disk_limit_removes_the_oldest_used(tmp_path: Path) -> None:
    items = [embedding(number) for number in range(6)]
    DiskCache(tmp_path).put(items[0])
    size = DiskCache(tmp_path).path(items[0].key).stat().st_size
    cache = DiskCache(tmp_path, limit_bytes=4 * size + 100)
    (tmp_path / "notes.txt").write_text("not ours")
    for age, item in enumerate(items[:4]):
        cache.put(item)
        os.utime(cache.path(item.key), (1_000 + age, 1_000 + age))
    assert cache.get(items[0].key) is not None
    cache.put(items[4])
    cache.put(items[5])
    kept = [number for number in range(6) if cache.path(items[number].key).exists()]
    assert kept == [0, 3, 4, 5]
    assert (tmp_path / "notes.txt").exists()
    assert DiskCache(tmp_path, limit_bytes=0).prune() == 0
    assert not list(tmp_path.glob("*.embedding"))


def test_abandoned_parts_go_and_recent_ones_stay(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path)
    old, new = tmp_path / ".a.part", tmp_path / ".b.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 10_000,) * 2)
    cache.put(embedding(7))
    assert not old.exists()
    assert new.exists()


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    cache = DiskCache(blocked / "cache")
    cache.put(embedding(8))
    assert cache.get(embedding(8).key) is None
