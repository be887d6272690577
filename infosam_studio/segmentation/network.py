"""How to reach the outside, and how quickly things arrive from there."""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass

REPORT_EVERY_S = 0.1
SMOOTHING_S = 5.0


@dataclass(frozen=True)
class Network:
    """How to reach the outside.

    ``proxy``: None takes the system's settings, "" none, else its address. ``mirror``: a base
    address under which the same files lie by the same names; hashes keep it honest.
    ``retries``: attempts without any progress before giving up, waiting ``backoff_s`` (doubled
    each time) in between; ``timeout_s``: silence after which a connection counts as lost.
    """

    proxy: str | None = None
    mirror: str | None = None
    retries: int = 5
    backoff_s: float = 1.0
    timeout_s: float = 30.0

    def address(self, url: str) -> str:
        """The address to ask: the publisher's, or the mirror's for the same file name."""
        if not self.mirror:
            return url
        return f"{self.mirror.rstrip('/')}/{url.rpartition('/')[2]}"

    def opener(self) -> urllib.request.OpenerDirector:
        """What opens addresses through the proxy that was asked for."""
        if self.proxy is None:
            return urllib.request.build_opener()
        proxies = {"http": self.proxy, "https": self.proxy} if self.proxy else {}
        return urllib.request.build_opener(urllib.request.ProxyHandler(proxies))


@dataclass(frozen=True)
class Progress:
    """Where a download stands; ``total`` and ``seconds_left`` are None where unknown."""

    done: int
    total: int | None
    bytes_per_s: float
    seconds_left: float | None
    attempt: int


class Speed:
    """Bytes per second, smoothed over a few seconds."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = [(time.monotonic(), 0)]
        self.received = 0
        self._reported = 0.0

    def add(self, count: int) -> None:
        self.received += count

    def due(self, force: bool) -> bool:
        """Whether it is time for another report."""
        now = time.monotonic()
        if not force and now - self._reported < REPORT_EVERY_S:
            return False
        self._reported = now
        self._marks.append((now, self.received))
        while len(self._marks) > 2 and now - self._marks[1][0] > SMOOTHING_S:
            self._marks.pop(0)
        return True

    def bytes_per_s(self) -> float:
        (then, before), (now, received) = self._marks[0], self._marks[-1]
        return (received - before) / (now - then) if now > then else 0.0
