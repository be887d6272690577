"""What the nearer look is worth to suggested masks: IoU before and after, on real images.

    python -m tests.benchmarks.bench_sharpening [--domain nuclei] [--labelled 6] [--images 4]

Training images of a domain, so that nothing is chosen on test images: the first ones teach with
their true masks, others (from number 20 on) are searched with the base model. Counted are the
suggestions of at least 50 % that agree with a true object by IoU 0.5 or more before the look.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infosam_studio.annotation import masks
from infosam_studio.segmentation.checkpoints import load_checkpoint
from infosam_studio.segmentation.clicks import mask_iou
from infosam_studio.segmentation.predictor import Predictor
from infosam_studio.segmentation.suggesting import Suggestion
from infosam_studio.segmentation.survey import Search
from tests.benchmarks.bench_suggest import SHOWN, embed, study_of
from tests.benchmarks.domain_project import DomainProject, Mask

SEARCHED_FROM = 20


def best_iou(one: Suggestion, truth: list[Mask]) -> float:
    """With the true object that agrees most."""
    mask = masks.decode(one.mask)
    return max((mask_iou(mask, other) for other in truth), default=0.0)


def figures(ious: list[float]) -> dict[str, float]:
    """Mean IoU, and the share of masks that are good."""
    values = np.array(ious)
    good = float((values >= 0.85).mean())
    return {"mean_iou": round(float(values.mean()), 3), "share_of_0.85": round(good, 3)}


def measure(data: Path, domain: str, labelled: int, images: int) -> dict[str, Any]:
    """Both figures for one domain."""
    torch.set_num_threads(1)
    predictor = Predictor(load_checkpoint("starter"), precision="auto")
    before: list[float] = []
    after: list[float] = []
    with tempfile.TemporaryDirectory(prefix="sharpening.") as place:
        work = DomainProject(data, domain, Path(place) / "project")
        study = study_of(work, predictor, work.items[:labelled], several=True)
        for item in work.items[SEARCHED_FROM : SEARCHED_FROM + images]:
            look = partial(embed, work, predictor, item)
            search = Search(study.knowledge, (item.record.height, item.record.width))
            while search.done < search.steps and search.step(predictor, look):
                pass
            found = [one for one in search.suggestions() if one.confidence >= SHOWN]
            while search.step(predictor, look):
                pass
            sharp = {one.point: one for one in search.suggestions()}
            truth = item.truth()
            for one in found:
                iou = best_iou(one, truth)
                if iou >= 0.5 and one.point in sharp:
                    before.append(iou)
                    after.append(best_iou(sharp[one.point], truth))
        work.close()
    told = {"before": figures(before), "after": figures(after)}
    return {"domain": domain, "images": images, "suggestions": len(before), **told}


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser()
    named = os.environ.get("INFOSAM_STUDIO_DATA")
    parser.add_argument("--data", type=Path, default=Path(named) if named else None)
    parser.add_argument("--domain", default="nuclei")
    parser.add_argument("--labelled", type=int, default=6)
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    if args.data is None:
        parser.error("say where the images are: --data FOLDER or INFOSAM_STUDIO_DATA")
    print(json.dumps(measure(args.data, args.domain, args.labelled, args.images), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
