"""The queue before the inference thread: what comes first, what overtakes, what is dropped."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from infosam_studio.ui.inference_messages import (
    Ask,
    Background,
    Command,
    Compare,
    Hover,
    ImageJob,
    LoadModel,
    SetCurrent,
    SetRegion,
    UseAdapter,
)


class Inbox:
    """Thread-safe. Order: model and adapter, the current image, clicks, hover, another version's
    mask, what is looked at, prefetch, work in the background.

    Clicks wait in order and are never dropped; of hovers, current images and prefetch lists
    only the newest counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._model: deque[LoadModel | UseAdapter] = deque()
        self._asks: deque[Ask] = deque()
        self._hover: Hover | None = None
        self._current: ImageJob | None = None
        self._current_new = False
        self._prefetch: deque[ImageJob] = deque()
        self._region: SetRegion | None = None
        self._compare: Compare | None = None
        self._background: deque[Background] = deque()
        self._closed = False

    def put(self, command: Command) -> None:
        """Called from the window; returns at once."""
        with self._lock:
            if isinstance(command, LoadModel | UseAdapter):
                self._model.append(command)
            elif isinstance(command, Ask):
                self._asks.append(command)
            elif isinstance(command, Hover):
                self._hover = command
            elif isinstance(command, Compare):
                self._compare = command
            elif isinstance(command, Background):
                self._background.append(command)
            elif isinstance(command, SetRegion):
                self._region = command if command.region is not None else None
            else:
                self._set_current(command)

    def _set_current(self, command: SetCurrent) -> None:
        self._current, self._current_new = command.job, True
        self._prefetch = deque(command.prefetch)
        self._hover = self._region = None
        kept = command.job.image_id if command.job else None
        self._asks = deque(ask for ask in self._asks if ask.image_id == kept)

    def close(self) -> None:
        """The thread is to end: whatever runs stops at its next check."""
        with self._lock:
            self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    def take_model(self) -> LoadModel | UseAdapter | None:
        """The next model or adapter to load."""
        with self._lock:
            return self._model.popleft() if self._model else None

    def take_current(self) -> tuple[bool, ImageJob | None]:
        """Whether another image came to the canvas, and which."""
        with self._lock:
            fresh, self._current_new = self._current_new, False
            return fresh, self._current

    def take_decode(self, ready: Callable[[int], bool]) -> Ask | Hover | None:
        """The next click, else the newest hover, of an image for which ``ready`` says yes."""
        with self._lock:
            for ask in self._asks:
                if ready(ask.image_id):
                    self._asks.remove(ask)
                    return ask
            hover, self._hover = self._hover, None
            return hover if hover is not None and ready(hover.image_id) else None

    def take_region(self) -> SetRegion | None:
        """The newest part of the image that is looked at."""
        with self._lock:
            region, self._region = self._region, None
            return region

    def take_compare(self) -> Compare | None:
        """The newest wish to see another version's mask."""
        with self._lock:
            wish, self._compare = self._compare, None
            return wish

    def take_background(self) -> Background | None:
        """The work to go on with when nothing else waits."""
        with self._lock:
            return self._background.popleft() if self._background else None

    def put_back_background(self, command: Background) -> None:
        """Work that is not finished goes on before other work begins."""
        with self._lock:
            self._background.appendleft(command)

    def take_prefetch(self) -> ImageJob | None:
        """The next image to encode ahead."""
        with self._lock:
            return self._prefetch.popleft() if self._prefetch else None

    def put_back_prefetch(self, job: ImageJob) -> None:
        """An overtaken image stays the next to be encoded ahead."""
        with self._lock:
            self._prefetch.appendleft(job)

    def interrupts(self) -> bool:
        """Whether something waits that an encoding in progress has to make room for."""
        with self._lock:
            return self._closed or self._current_new or bool(self._model)
