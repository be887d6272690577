"""The inference thread: the only place in the window's process where torch runs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Qt, QThread, Signal, Slot

from infosam_studio.errors import Cancelled, StudioError
from infosam_studio.ui.draft import Candidate
from infosam_studio.ui.inference_inbox import Inbox
from infosam_studio.ui.inference_messages import (
    Answer,
    Ask,
    Command,
    EncodeState,
    Hover,
    HoverAnswer,
    ImageJob,
    LoadModel,
    ModelState,
    Region,
    SetRegion,
    UseAdapter,
)
from infosam_studio.ui.workers_side import SideWork

if TYPE_CHECKING:
    from infosam_studio.annotation.tiled_view import TiledView
    from infosam_studio.segmentation.predictor import Embedding, Predictor

log = logging.getLogger(__name__)

PredictorMaker = Callable[[str, Path | None], Any]
"""Makes a predictor from a checkpoint's name and the cache folder, on the inference thread."""

REMEMBERED_LOGITS = 256
BIG_IMAGE = 2_000_000
KEPT_REGIONS = 12


def make_predictor(name: str, cache_dir: Path | None) -> Predictor:
    """Load checkpoint ``name`` on the best device of this machine."""
    import torch

    from infosam_studio.segmentation.checkpoints import load_checkpoint
    from infosam_studio.segmentation.embedding_cache import DiskCache
    from infosam_studio.segmentation.predictor import Predictor

    device = "cpu"
    if torch.cuda.is_available():
        device = "cuda"
    elif torch.backends.mps.is_available():
        device = "mps"
    disk = None
    if cache_dir is not None:
        disk = DiskCache(cache_dir / "embeddings", 4 * 2**30)
    model = load_checkpoint(name, device)
    return Predictor(model, device=device, precision="auto", disk=disk)


class InferenceWorker(SideWork, QObject):
    """Lives on the inference thread and does one thing at a time, the most urgent first."""

    answered = Signal(object)
    hovered = Signal(object)
    encode_state = Signal(object)
    model_state = Signal(object)
    compared = Signal(object)
    background = Signal(object)
    more = Signal()

    def __init__(self, inbox: Inbox, maker: PredictorMaker, cache_dir: Path | None) -> None:
        super().__init__()
        self._inbox = inbox
        self._maker = maker
        self.cache_dir = cache_dir
        self._predictor: Predictor | None = None
        self._model_name = ""
        self._folder: Path | None = None
        self._job: ImageJob | None = None
        self._embedding: Embedding | None = None
        self._regions: OrderedDict[Region, Embedding] = OrderedDict()
        self._pixels: tuple[int, np.ndarray | TiledView] | None = None
        self._logits: OrderedDict[int, tuple[np.ndarray, int, Region | None]] = OrderedDict()
        self._reported = 0.0
        self.more.connect(self.work, Qt.ConnectionType.QueuedConnection)

    @Slot()
    def work(self) -> None:
        """Do the most urgent thing there is, then come back for the next."""
        if self._inbox.closed:
            return
        try:
            busy = self._one_thing()
        except Cancelled:
            return  # the window is closing
        except Exception:
            log.exception("inference thread")
            raise
        if busy and not self._inbox.closed:
            self.more.emit()

    def _one_thing(self) -> bool:
        command = self._inbox.take_model()
        if command is not None:
            self._change_model(command)
            return True
        fresh, job = self._inbox.take_current()
        if fresh:
            self._job, self._embedding = job, None
            self._regions.clear()
            self._pixels = None
        if self._job is not None and self._embedding is None and self._predictor is not None:
            self._encode_current(self._job)
            return True
        if self._decode_waiting() or self.compare_waiting():
            return True
        looked_at = self._inbox.take_region()
        if looked_at is not None:
            self._encode_region(looked_at)
            return True
        ahead = self._inbox.take_prefetch() if self._predictor is not None else None
        if ahead is not None:
            self._prefetch(ahead)
            return True
        return self.background_waiting()

    # model and adapter -------------------------------------------------------------------

    def _change_model(self, command: LoadModel | UseAdapter) -> None:
        """Load a model or swap the adapter; what fails leaves what was in use as it was."""
        started = time.perf_counter()
        name = command.name if isinstance(command, LoadModel) else self._model_name
        self.model_state.emit(ModelState("loading", name))
        problem = ""
        try:
            if isinstance(command, LoadModel):
                problem = self._load_model(command)
            else:
                self._apply_adapter(command.folder)
        except StudioError as error:
            problem = str(error)
        except (OSError, RuntimeError, ImportError, MemoryError) as error:
            log.exception("loading %s", name)
            problem = f"{name} cannot be loaded: {error}"
        predictor = self._predictor
        if predictor is None:
            self.model_state.emit(ModelState("failed", name, problem=problem))
            return
        self._logits.clear()
        self.model_state.emit(
            ModelState(
                "ready",
                self._model_name,
                predictor.adapter_name,
                str(predictor.device),
                problem=problem,
                seconds=time.perf_counter() - started,
                input_size=int(predictor.sam.image_encoder.img_size),
                folder=self._folder,
            )
        )

    def _load_model(self, command: LoadModel) -> str:
        """An adapter that cannot be used must not keep the base model from working."""
        self._predictor = self._maker(command.name, self.cache_dir)
        self._model_name, self._folder, self._embedding = command.name, None, None
        self._regions.clear()
        if command.adapter is not None:
            try:
                self._apply_adapter(command.adapter)
            except StudioError as problem:
                return f"{problem} The base model is used instead."
        return ""

    def _apply_adapter(self, folder: Path | None) -> None:
        from infosam_studio.segmentation.adapter_folder import AdapterFolder

        if self._predictor is None:
            return
        before = self._predictor.encoder_sha256
        self._predictor.load_adapter(AdapterFolder.read(folder) if folder is not None else None)
        self._folder = folder
        if self._predictor.encoder_sha256 != before:
            self._embedding = None
            self._regions.clear()

    # encoding ----------------------------------------------------------------------------

    def _encode_current(self, job: ImageJob) -> None:
        self.encode_state.emit(EncodeState(job.image_id, "encoding"))
        started = time.perf_counter()
        try:
            self._embedding = self._encode(job, self._inbox.interrupts)
        except Cancelled:
            self.encode_state.emit(EncodeState(job.image_id, "cancelled"))
            return
        except (StudioError, OSError, RuntimeError, MemoryError) as problem:
            self._job = None
            self.encode_state.emit(EncodeState(job.image_id, "failed", problem=str(problem)))
            return
        seconds = time.perf_counter() - started
        self.encode_state.emit(EncodeState(job.image_id, "ready", seconds))

    def _encode_region(self, wish: SetRegion) -> None:
        """Encode what is looked at before anybody clicks there."""
        if self._job is None or self._job.image_id != wish.image_id or wish.region is None:
            return
        with contextlib.suppress(Cancelled):
            self._embedding_for(wish.region, self._make_room)

    def _prefetch(self, job: ImageJob) -> None:
        try:
            self._encode(job, self._make_room)
        except Cancelled:
            self._inbox.put_back_prefetch(job)
            return
        except (StudioError, OSError, RuntimeError, MemoryError) as problem:
            log.info("not encoded ahead: %s: %s", job.path.name, problem)
            return
        self.encode_state.emit(EncodeState(job.image_id, "ready", current=False))

    def _make_room(self) -> bool:
        """Between two encoder blocks: answer clicks and hovers now, stop for anything bigger."""
        if self._inbox.interrupts():
            return True
        while self._decode_waiting():
            pass
        return self._inbox.interrupts()

    def _encode(
        self, job: ImageJob, cancelled: Callable[[], bool], region: Region | None = None
    ) -> Embedding:
        from infosam_studio.annotation.images import read_image
        from infosam_studio.annotation.pyramid_store import is_large
        from infosam_studio.segmentation.predictor import ImageIdentity

        assert self._predictor is not None
        identity = ImageIdentity(job.sha256, job.view.page, job.view.key())
        known = self._predictor.cached(identity, region, (job.height, job.width))
        if known is not None:
            return known
        if self._pixels is not None and self._pixels[0] == job.image_id:
            pixels = self._pixels[1]
        elif job.pixels is not None:
            pixels = job.pixels
        elif is_large(job.width, job.height):
            raise StudioError(f"{job.path.name} is encoded once its tiles are there.")
        else:
            pixels = read_image(job.path, job.view)
        if job is self._job:
            self._pixels = (job.image_id, pixels)  # for its regions
        return self._predictor.encode(pixels, identity, region=region, cancelled=cancelled)

    # decoding ----------------------------------------------------------------------------

    def _ready(self, image_id: int) -> bool:
        job = self._job
        return job is not None and job.image_id == image_id and self._embedding is not None

    def _decode_waiting(self) -> bool:
        """Answer one click or hover; False where none waits."""
        command = self._inbox.take_decode(self._ready)
        if command is None or self._predictor is None:
            return False
        if isinstance(command, Ask):
            self._answer(command)
        else:
            self._answer_hover(command)
        return True

    def _answer(self, ask: Ask) -> None:
        from infosam_studio.ui.workers_correcting import corrected_candidates, corrects
        from infosam_studio.ui.workers_prompts import candidates_of, more_candidates, to_prompt

        assert self._predictor is not None
        started = time.perf_counter()
        embedding = self._embedding_for(ask.region)
        if embedding is None:
            return
        prompt = to_prompt(ask, self._fed_back(ask), self._predictor, embedding)
        if ask.more or corrects(ask):
            if ask.more:
                found, logits, best = more_candidates(self._predictor, embedding, prompt)
            else:
                found, logits, best = corrected_candidates(ask, self._predictor, embedding, prompt)
            self._remember(ask, logits, 0)
            self._tell(ask, found, started, best=best)
            return
        predictor = self._predictor
        result = predictor.predict(embedding, prompt, multimask=ask.multimask, candidates=())
        best = int(np.argmax(result.scores))
        self._remember(ask, np.asarray(result.low_res), best)
        # Enlarging a candidate of a big image takes longer than deciding it: the best one first.
        if embedding.image_size[0] * embedding.image_size[1] > BIG_IMAGE and len(result.scores) > 1:
            self._tell(ask, candidates_of(predictor, embedding, result, (best,)), started)
        self._tell(ask, candidates_of(predictor, embedding, result), started)

    def _tell(
        self,
        ask: Ask,
        candidates: tuple[Candidate, ...],
        started: float,
        *,
        best: int | None = None,
    ) -> None:
        if best is None:
            best = max(range(len(candidates)), key=lambda index: candidates[index].score)
        milliseconds = (time.perf_counter() - started) * 1000
        adapter = self._predictor.adapter_name if self._predictor else None
        self.answered.emit(
            Answer(ask.serial, ask.image_id, candidates, best, milliseconds, adapter, ask.region)
        )

    def _answer_hover(self, hover: Hover) -> None:
        from infosam_studio.segmentation.prompts import Prompt
        from infosam_studio.ui.workers_prompts import candidates_of

        assert self._predictor is not None
        embedding = self._embedding_for(hover.region)
        if embedding is None:
            return
        point = np.array([[hover.x, hover.y]], np.float32)
        prompt = Prompt(points=point, labels=np.array([1], np.int32))
        result = self._predictor.predict(embedding, prompt, multimask=True, candidates=())
        best = int(np.argmax(result.scores))
        found = candidates_of(self._predictor, embedding, result, (best,))[0]
        self.hovered.emit(HoverAnswer(hover.image_id, hover.x, hover.y, found.crop, found.score))

    def _embedding_for(
        self, region: Region | None, cancelled: Callable[[], bool] | None = None
    ) -> Embedding | None:
        """The current image's embedding, of ``region`` where one is asked for."""
        if region is None or self._job is None:
            return self._embedding
        known = self._regions.get(region)
        if known is not None:
            return known
        image_id, started = self._job.image_id, time.perf_counter()
        self.encode_state.emit(EncodeState(image_id, "encoding", region=region))
        try:
            stop = cancelled or (lambda: self._inbox.closed)
            embedding = self._encode(self._job, stop, region)
        except Cancelled:
            self.encode_state.emit(EncodeState(image_id, "cancelled", region=region))
            raise
        except (StudioError, OSError, RuntimeError, MemoryError) as problem:
            log.warning("region %s: %s", region, problem)
            return self._embedding
        self._regions[region] = embedding
        while len(self._regions) > KEPT_REGIONS:
            self._regions.popitem(last=False)
        seconds = time.perf_counter() - started
        self.encode_state.emit(EncodeState(image_id, "ready", seconds, region=region))
        return embedding

    def _remember(self, ask: Ask, low_res: np.ndarray, best: int) -> None:
        self._logits[ask.serial] = (low_res, best, ask.region)
        while len(self._logits) > REMEMBERED_LOGITS:
            self._logits.popitem(last=False)

    def _fed_back(self, ask: Ask) -> np.ndarray | None:
        """Logits [m,m] of the step before, None where there are none of the same region."""
        if ask.after is None or ask.after not in self._logits:
            return None
        low_res, best, region = self._logits[ask.after]
        if region != ask.region:
            return None
        chosen = best if ask.after_candidate is None else ask.after_candidate
        return np.asarray(low_res[min(chosen, len(low_res) - 1)])


class Inference(QObject):
    """The window's side: `submit` from the main thread, answers arrive as signals there."""

    answered = Signal(object)
    hovered = Signal(object)
    encode_state = Signal(object)
    model_state = Signal(object)
    compared = Signal(object)
    background = Signal(object)
    _wake = Signal()

    def __init__(
        self,
        *,
        maker: PredictorMaker = make_predictor,
        cache_dir: Path | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._inbox = Inbox()
        self._thread = QThread(self)
        self._thread.setObjectName("inference")
        self._worker = InferenceWorker(self._inbox, maker, cache_dir)
        self._worker.moveToThread(self._thread)
        self._wake.connect(self._worker.work, Qt.ConnectionType.QueuedConnection)
        self._worker.answered.connect(self.answered)
        self._worker.hovered.connect(self.hovered)
        self._worker.encode_state.connect(self.encode_state)
        self._worker.model_state.connect(self.model_state)
        self._worker.compared.connect(self.compared)
        self._worker.background.connect(self.background)
        self._thread.start()

    def submit(self, command: Command) -> None:
        """Hand a command to the inference thread; returns at once."""
        self._inbox.put(command)
        self._wake.emit()

    def close(self) -> None:
        """Stop after the encoder block or click in progress."""
        self.blockSignals(True)  # answers still under way have nobody to go to
        self._inbox.close()
        self._thread.quit()
        self._thread.wait()
