"""What the inference thread does besides clicks: another version's masks, and work in the
background, one small step whenever nothing else waits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.ui.inference_messages import Background, Compare, Progress

if TYPE_CHECKING:
    from infosam_studio.segmentation.predictor import Embedding
    from infosam_studio.ui.inference_messages import Region

log = logging.getLogger(__name__)


class SideWork:
    """Part of the inference worker; what it uses of it is named here."""

    _inbox: Any
    _predictor: Any
    _job: Any
    compared: Any
    background: Any

    def compare_waiting(self) -> bool:
        """Show what another version would answer; False where nobody asks."""
        wish = self._inbox.take_compare()
        if wish is None:
            return False
        if self._predictor is not None and self._is_shown(wish):
            from infosam_studio.ui.workers_compare import compare

            self.compared.emit(compare(self._predictor, wish, self._embed_here))
        return True

    def _is_shown(self, wish: Compare) -> bool:
        return self._job is not None and self._job.image_id == wish.image_id

    def _embed_here(self, region: Region | None) -> Embedding:
        encode: Any = self._encode  # type: ignore[attr-defined]
        found: Embedding = encode(self._job, lambda: self._inbox.closed, region)
        return found

    def background_waiting(self) -> bool:
        """One step of the work in the background; False where there is none."""
        command = self._inbox.take_background() if self._predictor is not None else None
        if command is None:
            return False
        job = command.job
        if job.cancelled:
            self.background.emit(Progress(job, finished=True))
            return True
        try:
            told = job.step(self._predictor, self._make_room)  # type: ignore[attr-defined]
        except Cancelled:
            told = None  # something more urgent came: this step is made again later
        except (StudioError, OSError, RuntimeError, MemoryError, ValueError) as problem:
            log.exception("background work")
            told = Progress(job, finished=True, problem=str(problem))
        if told is not None:
            self.background.emit(told)
        if told is None or not told.finished:
            self._inbox.put_back_background(Background(job))
        return True
