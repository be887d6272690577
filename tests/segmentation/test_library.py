"""The model list: published, downloaded, added by path, verified, removed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from infosam_studio.errors import Cancelled
from infosam_studio.segmentation import catalogue, library
from infosam_studio.segmentation.checkpoints import load_checkpoint, registry
from infosam_studio.segmentation.downloads import DownloadError
from infosam_studio.segmentation.network import Network
from infosam_studio.segmentation.starter import build_starter
from infosam_studio.segmentation.weight_files import CheckpointError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFOSAM_STUDIO_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the starter architecture, in Meta's kind of file."""
    path = tmp_path_factory.mktemp("downloads") / "mobile_sam.pt"
    torch.manual_seed(5)
    torch.save(build_starter().state_dict(), path)
    return path


@pytest.fixture
def published(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """The registry's mobile_sam is this file for a while, served on a mirror."""
    content = weights.read_bytes()
    info = replace(
        catalogue.BUILT_IN[0],
        architecture="starter",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    monkeypatch.setattr(catalogue, "BUILT_IN", (info, *catalogue.BUILT_IN[1:]))
    monkeypatch.setitem(library.PUBLISHED, "mobile_sam", info)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(weights.parent)))
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield Network(proxy="", mirror=f"http://127.0.0.1:{server.server_address[1]}", backoff_s=0.01)
    server.shutdown()
    server.server_close()


def state(name: str) -> str:
    return next(entry.state for entry in library.entries() if entry.info.name == name)


def test_offline_lists_what_could_be_there() -> None:
    listed = {entry.info.name: (entry.state, entry.origin) for entry in library.entries()}
    assert listed["sam_vit_h"] == ("absent", "published")
    assert listed["starter"][1] == "shipped"
    for entry in library.entries():
        assert entry.info.licence == "Apache-2.0"
        assert entry.info.description


def test_get_verify_and_remove(published: Network, folder: Path) -> None:
    reports: list[int] = []
    info = library.get(
        "mobile_sam", network=published, progress=lambda now: reports.append(now.done)
    )
    assert info.path == folder / "mobile_sam.pt"
    assert reports[-1] == info.size_bytes
    assert state("mobile_sam") == "ready"
    assert library.get("mobile_sam", network=Network(mirror="http://127.0.0.1:9")) == info
    assert library.verify("mobile_sam") == library.Verdict("mobile_sam", True)
    assert load_checkpoint("mobile_sam").info.sha256 == info.sha256
    content = bytearray(info.path.read_bytes())
    content[len(content) // 2] ^= 1
    info.path.write_bytes(content)
    verdict = library.verify("mobile_sam")
    assert not verdict.ok
    assert "SHA-256 differs" in verdict.problem
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        load_checkpoint("mobile_sam")
    library.remove("mobile_sam")
    assert state("mobile_sam") == "absent"
    assert not info.path.exists()
    assert "not there" in library.verify("mobile_sam").problem


def test_a_stopped_download_shows_and_goes_on(published: Network, folder: Path) -> None:
    with pytest.raises(Cancelled):
        library.get("mobile_sam", network=published, cancelled=lambda: folder.exists())
    (folder / "mobile_sam.pt.part").write_bytes(b"x" * 1000)
    entry = next(e for e in library.entries() if e.info.name == "mobile_sam")
    assert (entry.state, entry.partial_bytes) == ("partial", 1000)
    library.discard_part("mobile_sam")
    assert state("mobile_sam") == "absent"
    library.get("mobile_sam", network=published)
    assert state("mobile_sam") == "ready"


def test_a_mirror_without_the_file(published: Network) -> None:
    with pytest.raises(DownloadError, match="404"):
        library.get("sam_vit_b", network=published)
    assert state("sam_vit_b") == "absent"


def test_add_uses_the_file_where_it_lies(weights: Path, folder: Path) -> None:
    info = library.add("cells", weights)
    assert (info.architecture, info.path) == ("starter", weights)
    assert registry()["cells"] == info
    assert not (folder / weights.name).exists()
    assert library.verify("cells").ok
    assert load_checkpoint("cells").info.name == "cells"
    with pytest.raises(CheckpointError, match="already"):
        library.add("cells", weights)
    library.remove("cells")
    assert "cells" not in registry()
    assert weights.exists()


def test_a_name_for_a_file(published: Network, weights: Path, tmp_path: Path) -> None:
    """The published one for that very file, else a free one made from its own."""
    assert library.name_for(weights) == "mobile_sam"
    other = tmp_path / "Zellen, neu (2).pth"
    other.write_bytes(b"x")
    assert library.name_for(other) == "Zellen_neu_2"
    taken = tmp_path / "starter.pth"
    taken.write_bytes(b"x")
    assert library.name_for(taken) == "starter-2"
    with pytest.raises(CheckpointError, match=r"gone\.pth cannot be read"):
        library.name_for(tmp_path / "gone.pth")


def test_add_with_a_copy(weights: Path, folder: Path, tmp_path: Path) -> None:
    original = tmp_path / "mine.pt"
    original.write_bytes(weights.read_bytes())
    info = library.add("mine", original, copy=True, licence="CC-BY-4.0")
    assert info.path == folder / "mine.pt"
    assert info.licence == "CC-BY-4.0"
    original.unlink()
    assert library.verify("mine").ok
    library.remove("mine")
    assert not (folder / "mine.pt").exists()


def test_a_file_that_moved_away_is_missing_not_forgotten(weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "moving.pt"
    file.write_bytes(weights.read_bytes())
    library.add("moving", file)
    file.rename(tmp_path / "elsewhere.pt")
    assert state("moving") == "missing"
    assert str(file) in library.verify("moving").problem
    with pytest.raises(CheckpointError, match="is gone"):
        library.get("moving")
    (tmp_path / "elsewhere.pt").rename(file)
    assert state("moving") == "ready"


def test_a_published_name_takes_only_the_published_file(
    weights: Path, published: Network, tmp_path: Path
) -> None:
    del published
    other = tmp_path / "other.pt"
    torch.save(build_starter().state_dict(), other)
    with pytest.raises(CheckpointError, match="not the published mobile_sam"):
        library.add("mobile_sam", other)
    info = library.add("mobile_sam", weights)
    assert info.path == weights
    assert state("mobile_sam") == "ready"
    library.remove("mobile_sam")
    assert weights.exists()


def test_what_cannot_be_added(weights: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.pth"
    page.write_text("<html></html>")
    with pytest.raises(CheckpointError, match="web page"):
        library.add("page", page)
    with pytest.raises(CheckpointError, match="holds a starter model, not vit_b"):
        library.add("wrong", weights, architecture="vit_b")
    for name in ("starter", "", "../up", "a b", "x" * 65):
        with pytest.raises(CheckpointError, match="name of a model"):
            library.add(name, weights)
    with pytest.raises(CheckpointError, match="cannot be read"):
        library.add("none", tmp_path / "none.pth")
    assert catalogue.read_index() == {}


def test_the_starter_stays() -> None:
    with pytest.raises(CheckpointError, match="belongs to the app"):
        library.remove("starter")
    for act in (library.get, library.remove, library.verify):
        with pytest.raises(CheckpointError, match="no model nonsense"):
            act("nonsense")


def test_the_shipped_starter_is_what_its_manifest_says() -> None:
    if registry()["starter"].path is None:
        pytest.skip("the starter model is not in this working tree")
    assert library.verify("starter") == library.Verdict("starter", True)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"version": 99}', '{"version": 1, "models": {"a": 3}}']
)
def test_a_damaged_list_is_no_obstacle(weights: Path, folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "library.json").write_text(content)
    assert state("sam_vit_b") == "absent"
    library.add("mine", weights)
    assert json.loads((folder / "library.json").read_text())["models"].keys() == {"mine"}


def test_a_folder_that_cannot_be_written(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("INFOSAM_STUDIO_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(CheckpointError, match="INFOSAM_STUDIO_MODELS"):
        library.add("mine", weights)
