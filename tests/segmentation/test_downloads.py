"""Downloads against a local HTTP server that resumes, cuts, stalls, lies and refuses."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from infosam_studio.errors import Cancelled
from infosam_studio.segmentation.downloads import (
    DownloadError,
    Network,
    Progress,
    discard,
    download,
    part_of,
)

CONTENT = np.random.default_rng(1).bytes(1_500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Network(proxy="", backoff_s=0.01, timeout_s=2.0)


class Asked(NamedTuple):
    path: str
    range: str | None
    if_range: str | None


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``behave`` may take a request over and return True."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[Asked] = []
        self.behave: Callable[[Handler, int], bool] = lambda handler, number: False
        self.ranges = True
        self.etag = '"one"'

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of these tests."""

    def url(self, path: str = "/weights.pth") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        return

    def do_GET(self) -> None:
        headers = self.headers
        self.server.asked.append(Asked(self.path, headers["Range"], headers["If-Range"]))
        self.close_connection = True
        if not self.server.behave(self, len(self.server.asked)):
            self.give(CONTENT)

    def start(self) -> int:
        """Where the request wants to go on, if it may."""
        wanted = self.headers["Range"]
        current = self.headers["If-Range"] in (None, self.server.etag)
        if not wanted or not self.server.ranges or not current:
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def give(self, content: bytes, *, stop_at: int | None = None) -> None:
        """Answer with the content, or a part of it, cut off after ``stop_at`` bytes."""
        start = self.start()
        if start >= len(content):
            self.answer(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        self.wfile.write(content[start : start + stop_at if stop_at is not None else None])

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server()
    thread = threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "weights.pth"


def fetch(server: Server, target: Path, **options: Any) -> Path:
    settings: dict[str, Any] = {"sha256": SHA256, "size": len(CONTENT), "network": QUICK}
    return download(server.url(), target, **(settings | options))


def complete(target: Path) -> bool:
    return target.read_bytes() == CONTENT and not part_of(target).exists()


def test_a_plain_download_reports_progress(server: Server, target: Path) -> None:
    seen: list[Progress] = []
    assert fetch(server, target, progress=seen.append) == target
    assert complete(target)
    assert [seen[0].done, seen[-1].done, seen[-1].total] == [0, len(CONTENT), len(CONTENT)]
    assert [item.done for item in seen] == sorted(item.done for item in seen)
    assert seen[-1].bytes_per_s > 0
    assert server.asked == [Asked("/weights.pth", None, None)]
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]


def test_stopping_keeps_the_part_and_the_next_call_goes_on(server: Server, target: Path) -> None:
    stop = threading.Event()

    def slowly(handler: Handler, _number: int) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:400_000])
        handler.wfile.flush()
        stop.set()
        time.sleep(1.5)
        return True

    server.behave = slowly
    began = time.monotonic()
    with pytest.raises(Cancelled):
        fetch(
            server,
            target,
            cancelled=lambda: stop.is_set() and part_of(target).stat().st_size > 300_000,
        )
    assert time.monotonic() - began < 1.4
    kept = part_of(target).stat().st_size
    assert 300_000 < kept <= 400_000
    assert not target.exists()
    server.behave = lambda handler, number: False
    fetch(server, target)
    assert complete(target)
    assert server.asked[-1].range == f"bytes={kept}-"


def test_cancelling_for_good(server: Server, target: Path) -> None:
    with pytest.raises(Cancelled):
        fetch(server, target, cancelled=lambda: True)
    discard(target)
    assert list(target.parent.iterdir()) == []
    discard(target)


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_connections_are_resumed_or_begun_anew(
    server: Server, target: Path, ranges: bool
) -> None:
    server.ranges = ranges

    def cut(handler: Handler, number: int) -> bool:
        if number <= 3:
            handler.give(CONTENT, stop_at=300_000 * (1 if ranges else number))
        return number <= 3

    server.behave = cut
    fetch(server, target)
    assert complete(target)
    wanted = [asked.range for asked in server.asked]
    assert wanted == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"][: len(wanted)]


def test_a_stalled_connection_is_given_up_and_resumed(server: Server, target: Path) -> None:
    def stall(handler: Handler, number: int) -> bool:
        if number > 1:
            return False
        handler.give(CONTENT, stop_at=200_000)
        handler.wfile.flush()
        time.sleep(1.0)
        return True

    server.behave = stall
    fetch(server, target, network=Network(proxy="", backoff_s=0.01, timeout_s=0.3))
    assert complete(target)
    assert server.asked[1].range == "bytes=200000-"


def test_what_came_before_a_stall_is_told_while_it_lasts(server: Server, target: Path) -> None:
    half = len(CONTENT) // 2
    over = threading.Event()

    def stall(handler: Handler, _number: int) -> bool:
        handler.give(CONTENT, stop_at=half)
        return over.wait(30)

    server.behave = stall
    seen: list[Progress] = []

    def told() -> bool:
        return bool(seen) and seen[-1].done >= half

    with pytest.raises(Cancelled):
        fetch(server, target, progress=seen.append, cancelled=told)
    over.set()
    assert seen[-1].done == half
    assert seen[-1].attempt == seen[0].attempt  # told before the connection was given up


def test_a_slow_connection_is_waited_for(server: Server, target: Path) -> None:
    def drip(handler: Handler, _number: int) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for start in range(0, len(CONTENT), 200_000):
            handler.wfile.write(CONTENT[start : start + 200_000])
            handler.wfile.flush()
            time.sleep(0.1)
        return True

    server.behave = drip
    seen: list[Progress] = []
    fetch(server, target, progress=seen.append, network=Network(proxy="", timeout_s=0.5))
    assert complete(target)
    assert len(server.asked) == 1
    assert len({item.done for item in seen}) > 3
    assert any(item.seconds_left for item in seen)


def test_busy_servers_are_asked_again(server: Server, target: Path) -> None:
    def busy(handler: Handler, number: int) -> bool:
        if number <= 2:
            handler.answer(503, Retry_After="0")
        return number <= 2

    server.behave = busy
    seen: list[Progress] = []
    fetch(server, target, progress=seen.append)
    assert complete(target)
    assert len(server.asked) == 3
    assert seen[0].attempt == 3


def test_giving_up_after_repeated_failure(server: Server, target: Path) -> None:
    def broken(handler: Handler, _number: int) -> bool:
        handler.answer(500)
        return True

    server.behave = broken
    with pytest.raises(DownloadError, match=r"answered 500.*try again"):
        fetch(server, target, network=Network(proxy="", retries=3, backoff_s=0.01))
    assert len(server.asked) == 3
    assert not target.exists()


@pytest.mark.parametrize(("status", "message"), [(404, "no such file"), (403, "access refused")])
def test_refusals_are_final(server: Server, target: Path, status: int, message: str) -> None:
    def refuse(handler: Handler, _number: int) -> bool:
        handler.answer(status, b"<html>no</html>", Content_Type="text/html")
        return True

    server.behave = refuse
    with pytest.raises(DownloadError, match=f"{status} .{message}"):
        fetch(server, target)
    assert len(server.asked) == 1
    assert not list(target.parent.iterdir())


def test_a_login_page_is_not_taken_for_the_file(server: Server, target: Path) -> None:
    def portal(handler: Handler, _number: int) -> bool:
        handler.answer(200, b"<html>please log in</html>", Content_Type="text/html; charset=x")
        return True

    server.behave = portal
    with pytest.raises(DownloadError, match="web page"):
        fetch(server, target, size=None)
    assert not list(target.parent.iterdir())


def test_corruption_is_noticed_and_fetched_anew(server: Server, target: Path) -> None:
    damaged = CONTENT[:700_000] + b"\0\0\0\0" + CONTENT[700_004:]

    def damage(handler: Handler, number: int) -> bool:
        handler.give(damaged if number == 1 else CONTENT)
        return True

    server.behave = damage
    fetch(server, target)
    assert complete(target)
    assert len(server.asked) == 2
    assert server.asked[1].range is None


def test_lasting_corruption_leaves_nothing(server: Server, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"the old one")

    def damage(handler: Handler, _number: int) -> bool:
        handler.give(b"x" + CONTENT[1:])
        return True

    server.behave = damage
    with pytest.raises(DownloadError, match="damaged twice"):
        fetch(server, target)
    assert target.read_bytes() == b"the old one"
    assert list(target.parent.iterdir()) == [target]


def test_a_foreign_part_is_replaced(server: Server, target: Path) -> None:
    target.parent.mkdir()
    for foreign in (b"z" * 900_000, b"z" * len(CONTENT), b"z" * (len(CONTENT) + 5)):
        part_of(target).write_bytes(foreign)
        fetch(server, target)
        assert complete(target)


def test_a_complete_part_is_only_checked(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(server, target)
    assert complete(target)
    assert server.asked == []


def test_without_a_hash_a_file_that_changed_meanwhile_is_begun_anew(
    server: Server, target: Path
) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(b"left over from some other day")

    def change(handler: Handler, number: int) -> bool:
        if number == 1:
            handler.give(b"old" * 400_000, stop_at=500_000)
            handler.server.etag = '"two"'
            return True
        return False

    server.behave = change
    fetch(server, target, sha256=None, size=None)
    assert complete(target)
    assert server.asked[0].range is None
    assert server.asked[1] == Asked("/weights.pth", "bytes=500000-", '"one"')


def test_a_file_of_another_size_is_refused(server: Server, target: Path) -> None:
    with pytest.raises(DownloadError, match="another file"):
        fetch(server, target, size=len(CONTENT) + 1)
    assert not target.exists()


def test_mirror_and_proxy(server: Server, target: Path) -> None:
    network = Network(proxy="", mirror=server.url("/mirror/"))
    publisher = "https://example.org/deep/weights.pth"
    download(publisher, target, sha256=SHA256, network=network)
    assert server.asked[-1].path == "/mirror/weights.pth"
    target.unlink()
    download(
        "http://example.org/deep/weights.pth",
        target,
        sha256=SHA256,
        network=Network(proxy=server.url("")),
    )
    assert server.asked[-1].path == "http://example.org/deep/weights.pth"
    assert complete(target)


def test_redirects_are_followed(server: Server, target: Path) -> None:
    def move(handler: Handler, number: int) -> bool:
        if number == 1:
            handler.answer(302, Location=handler.server.url("/elsewhere"))
        return number == 1

    server.behave = move
    fetch(server, target)
    assert complete(target)
    assert server.asked[-1].path == "/elsewhere"


def test_no_room_is_said_before_anything_is_written(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage("."))
    monkeypatch.setattr(shutil, "disk_usage", lambda _p: usage(10**9, 10**9, 1_000_000))
    with pytest.raises(DownloadError, match="only 1 MB free"):
        fetch(server, target)
    assert not part_of(target).exists()


def test_a_disk_that_fills_up(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match="full"):
        fetch(server, target)
    monkeypatch.undo()
    fetch(server, target)
    assert complete(target)


def test_two_downloads_of_one_file_do_not_mix(server: Server, target: Path) -> None:
    waiting, go_on = threading.Event(), threading.Event()

    def hold(handler: Handler, _number: int) -> bool:
        waiting.set()
        go_on.wait(10)
        return False

    server.behave = hold
    first = threading.Thread(target=fetch, args=(server, target))
    first.start()
    assert waiting.wait(10)
    with pytest.raises(DownloadError, match="another window"):
        fetch(server, target)
    go_on.set()
    first.join(10)
    assert complete(target)


@pytest.mark.parametrize("address", ["file:///etc/hostname", "ftp://x/y", "weights.pth"])
def test_only_the_web_is_asked(target: Path, address: str) -> None:
    with pytest.raises(DownloadError, match="https"):
        download(address, target, network=QUICK)


def test_offline_is_one_sentence(target: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download(
            "http://127.0.0.1:9/weights.pth",
            target,
            network=Network(proxy="", retries=2, backoff_s=0.01),
        )
    assert "weights.pth could not be downloaded" in str(caught.value)
    with pytest.raises(DownloadError, match="offline"):
        download("http://no-such-host.invalid/weights.pth", target, network=QUICK)


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch(server, tmp_path / "file" / "weights.pth")
