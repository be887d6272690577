"""The same prompts answered by another version (inference thread only)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from infosam_studio.errors import StudioError
from infosam_studio.ui.inference_messages import Ask, Compare, Compared, Region
from infosam_studio.ui.workers_prompts import candidates_of, to_prompt

if TYPE_CHECKING:
    from infosam_studio.segmentation.predictor import Embedding, Predictor

Logits = dict[int, tuple[np.ndarray, int]]


def compare(
    predictor: Predictor, wish: Compare, embed: Callable[[Region | None], Embedding]
) -> Compared:
    """Answer the asks one after the other with the version wished for, then put the live one back.

    ``embed`` gives the current image's embedding for the version in place when it is called. The
    live version is back, bit for bit, when this returns, also where the other one failed.
    """
    from infosam_studio.segmentation.adapter_folder import AdapterFolder
    from infosam_studio.segmentation.next_image import version

    try:
        folder = AdapterFolder.read(wish.folder) if wish.folder is not None else None
        logits: Logits = {}
        with version(predictor, folder):
            for ask in wish.asks:
                embedding = embed(ask.region)
                prompt = to_prompt(ask, _fed_back(logits, ask), predictor, embedding)
                result = predictor.predict(
                    embedding, prompt, multimask=ask.multimask, candidates=()
                )
                logits[ask.serial] = (np.asarray(result.low_res), result.best)
    except (StudioError, OSError, RuntimeError, MemoryError) as problem:
        return Compared(wish.serial, wish.image_id, None, problem=str(problem))
    found = candidates_of(predictor, embedding, result, (result.best,))[0]
    return Compared(wish.serial, wish.image_id, found.crop, found.score)


def _fed_back(logits: Logits, ask: Ask) -> np.ndarray | None:
    if ask.after is None or ask.after not in logits:
        return None
    low_res, best = logits[ask.after]
    chosen = best if ask.after_candidate is None else min(ask.after_candidate, len(low_res) - 1)
    return np.asarray(low_res[chosen])
