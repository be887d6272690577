"""Fetching one large file over HTTP: resumable, checked, atomic, and polite when it fails.

Standard library only. What has arrived lies in ``NAME.part`` beside the target; stopping keeps
it, the next call goes on from there. The target appears in one step, after its hash was right.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import selectors
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.segmentation.file_lock import exclusive
from infosam_studio.segmentation.network import Network, Progress, Speed

__all__ = ["DownloadError", "Network", "Progress", "discard", "download", "part_of"]

CHUNK = 2**18
MARGIN_BYTES = 64 * 2**20
POLL_S = 0.1
RETRY_STATUS = {408, 425, 429, 500, 502, 503, 504}


class DownloadError(StudioError):
    """A download that cannot go on, and what to do about it."""


class _TryAgain(Exception):
    """The connection failed in a way that often passes; ``wait_s`` where the server said so."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def part_of(target: Path) -> Path:
    """Where the bytes of an unfinished download lie."""
    return target.with_name(f"{target.name}.part")


def discard(target: Path) -> None:
    """Forget an unfinished download (cancelling it for good)."""
    part_of(target).unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    network: Network | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Fetch ``url`` to ``target``; an existing target is replaced once everything is right.

    With ``sha256`` an earlier part is continued, even from another server; without it only
    within this call. Raises `Cancelled` (the part stays for the next call) or `DownloadError`.
    """
    network = network or Network()
    address = network.address(url)
    if urlsplit(address).scheme not in ("http", "https"):
        raise DownloadError(f"{address} is no web address: it has to begin with https://.")
    held = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part_of(target).open("ab+") as stream, exclusive(stream) as mine:
            if not mine:
                raise DownloadError(
                    f"{target.name} is being downloaded by another window: wait for that one."
                )
            held = True
            job = _Job(address, target, stream, network, size, sha256, progress, cancelled)
            job.run()
    except StudioError:
        if held and part_of(target).stat().st_size == 0:
            discard(target)
        raise
    except OSError as error:
        raise _disk_error(target, error) from error
    # Windows renames only what nobody holds open, so this comes after closing.
    os.replace(part_of(target), target)
    return target


def _disk_error(target: Path, error: OSError) -> DownloadError:
    if error.errno == errno.ENOSPC:
        return DownloadError(
            f"The disk of {target.parent} is full: free some space, the download then goes on "
            "where it stopped."
        )
    return DownloadError(
        f"{target} cannot be written ({error.strerror or error}): choose another folder for models."
    )


@dataclass
class _Job:
    """One download while it runs; the part file is open and locked."""

    address: str
    target: Path
    stream: IO[bytes]
    network: Network
    size: int | None
    sha256: str | None
    progress: Callable[[Progress], None] | None
    cancelled: Callable[[], bool] | None
    total: int | None = None
    validator: str | None = None
    attempt: int = 1
    restarted: bool = False
    speed: Speed = field(default_factory=Speed)

    def run(self) -> None:
        """Fetch until everything is there and right; `_TryAgain` decides about repeating."""
        self.total = self.size
        if self.sha256 is None:
            self._restart()
        while True:
            before = self._done()
            try:
                if self.total is None or before != self.total:
                    self._fetch()
                self._check()
                return
            except _TryAgain as failure:
                if self._done() > before:
                    self.attempt = 1
                elif self.attempt >= self.network.retries:
                    raise DownloadError(self._gave_up(str(failure))) from failure
                self._wait(max(failure.wait_s, self.network.backoff_s * 2 ** (self.attempt - 1)))
                self.attempt += 1

    def _done(self) -> int:
        return self.stream.seek(0, os.SEEK_END)

    def _restart(self) -> None:
        self.stream.truncate(0)
        self.validator = None

    def _gave_up(self, reason: str) -> str:
        return (
            f"{self.target.name} could not be downloaded ({reason}): check the connection or set "
            "a proxy or mirror, then try again; what has arrived is kept."
        )

    def _ask_to_stop(self) -> None:
        if self.cancelled is not None and self.cancelled():
            self.stream.flush()
            raise Cancelled("The download was stopped; what has arrived is kept.")

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + min(seconds, 60.0)
        while (left := end - time.monotonic()) > 0:
            self._ask_to_stop()
            time.sleep(min(left, 0.05))

    def _fetch(self) -> None:
        """One connection: as much as it gives."""
        self._ask_to_stop()
        done = self._done()
        request = urllib.request.Request(self.address)
        request.add_header("User-Agent", "infosam-studio")
        request.add_header("Accept-Encoding", "identity")
        if done:
            request.add_header("Range", f"bytes={done}-")
            if self.validator:
                request.add_header("If-Range", self.validator)
        with self._open(request) as response:
            self._accept(response, done)
            self._receive(response)
        if self.total is not None and self._done() < self.total:
            raise _TryAgain("the connection was cut")

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return self.network.opener().open(request, timeout=self.network.timeout_s)
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except urllib.error.URLError as error:
            raise self._unreachable(error.reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise _TryAgain(_reason(error)) from error

    def _unreachable(self, reason: object) -> Exception:
        host = urlsplit(self.address).netloc
        if isinstance(reason, ssl.SSLCertVerificationError):
            return DownloadError(
                f"{host} could not prove who it is ({_reason(reason)}): check this machine's "
                "clock, the proxy or the mirror."
            )
        if isinstance(reason, socket.gaierror) and not self.speed.received:
            return DownloadError(
                f"{host} cannot be found, this machine seems to be offline: connect it, set a "
                "proxy or mirror, or add the file by its path."
            )
        return _TryAgain(_reason(reason))

    def _accept(self, response: Any, done: int) -> None:
        """Check what the server is about to send, and whether it goes on where we stopped."""
        if "text/html" in (response.headers.get("Content-Type") or "").lower():
            raise DownloadError(
                f"{self.address} answered with a web page instead of the file: check the proxy or "
                "mirror, or whether this network wants a login."
            )
        length = response.headers.get("Content-Length")
        expected = int(length) if length and length.isdigit() else None
        if response.status == 206:
            match = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
            if match is None or int(match[1]) != done:
                self._restart()
                raise _TryAgain("the server sent another part than the one asked for")
            found = int(match[2]) if match[2] != "*" else None
        else:
            self._restart()
            done, found = 0, expected
        self._expect(found)
        self.validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self.validator and self.validator.startswith("W/"):
            self.validator = None
        self._check_space((self.total or 0) - done)

    def _expect(self, found: int | None) -> None:
        if found is None:
            return
        if self.size is not None and found != self.size:
            raise DownloadError(
                f"{self.address} has {found} bytes instead of {self.size}, so it is another file: "
                "choose another mirror."
            )
        self.total = found

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.target.parent).free
        if needed > 0 and free < needed + MARGIN_BYTES:
            raise DownloadError(
                f"{self.target.name} needs {_megabytes(needed)} more but {self.target.parent} has "
                f"only {_megabytes(free)} free: make room or choose another folder for models."
            )

    def _receive(self, response: Any) -> None:
        self._report(force=True)
        buffered = True
        while True:
            try:
                if not buffered:
                    self._await(response)
                # read1 returns what is there and does not wait for more.
                piece = response.read1(CHUNK)
            except (OSError, http.client.HTTPException) as error:
                raise _TryAgain(_reason(error)) from error
            if not piece:
                break
            # Only the first bytes, and those of chunks, may wait where no selector sees them.
            buffered = response.chunked
            self.stream.write(piece)
            self.speed.add(len(piece))
            self._report()
            self._ask_to_stop()
        self.stream.flush()
        self._report(force=True)

    def _await(self, response: Any) -> None:
        """Wait for more bytes, ready to stop at any moment."""
        with selectors.DefaultSelector() as selector:
            selector.register(response, selectors.EVENT_READ)
            end = time.monotonic() + self.network.timeout_s
            while not selector.select(POLL_S):
                self._report()  # what came last, and how the time left grows
                self._ask_to_stop()
                if time.monotonic() > end:
                    raise TimeoutError

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        if error.code == 416:
            # The part is not what the server has: begin anew.
            self._restart()
            return _TryAgain("the server has another file than the part kept here")
        if error.code in RETRY_STATUS:
            wait = error.headers.get("Retry-After") or ""
            return _TryAgain(
                f"the server answered {error.code}", float(wait) if wait.isdigit() else 0.0
            )
        meaning = {404: "no such file", 403: "access refused", 401: "a login is asked for"}
        return DownloadError(
            f"{self.address} answered {error.code} ({meaning.get(error.code, error.reason)}): "
            "check the address or the mirror setting."
        )

    def _report(self, force: bool = False) -> None:
        if self.progress is None or not self.speed.due(force):
            return
        done, speed = self._done(), self.speed.bytes_per_s()
        left = (self.total - done) / speed if self.total is not None and speed else None
        self.progress(Progress(done, self.total, speed, left, self.attempt))

    def _check(self) -> None:
        """Compare hashes; a wrong one may come from a stale part, so it gets one new start."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        if self.sha256 is None or _hash(self.stream, self._ask_to_stop) == self.sha256:
            return
        self._restart()
        self.total = self.size
        if self.restarted:
            raise DownloadError(
                f"{self.target.name} arrived damaged twice (its SHA-256 is wrong), so nothing was "
                "kept: try again later or from another mirror."
            )
        self.restarted = True
        raise _TryAgain("the file arrived damaged")


def _hash(stream: IO[bytes], ask_to_stop: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    stream.seek(0)
    for block in _blocks(stream):
        ask_to_stop()
        digest.update(block)
    return digest.hexdigest()


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(2**22):
        yield block


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return "the server stopped answering"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:100]


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.0f} MB"
