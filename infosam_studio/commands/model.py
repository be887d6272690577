"""`evaluate` and `segment`: measuring a model on labels, and letting it suggest some."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.errors import StudioError

if TYPE_CHECKING:
    from infosam_studio.adaptation.evaluation import EvaluateOptions
    from infosam_studio.annotation.model import ImageRecord
    from infosam_studio.annotation.project import Project

EVALUATION_KEYS = (
    "model",
    "adapter",
    "images",
    "objects",
    "miou_at",
    "noc85",
    "noc90",
    "box_miou",
    "seconds",
)


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    _add_evaluate(subparsers)
    _add_segment(subparsers)


def _add_evaluate(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("evaluate", help="how many clicks a model needs on the labels")
    parser.add_argument("project", metavar="PROJECT", type=Path)
    parser.add_argument("--model", metavar="M", help="a model's name or file")
    parser.add_argument("--adapter", metavar="N|FOLDER|none", help="default: the one in use")
    parser.add_argument("--split", choices=("all", "train", "val"), default="all")
    parser.add_argument("--clicks", metavar="K", type=_positive, default=8)
    parser.add_argument("--max-objects", metavar="N", type=_positive)
    parser.add_argument("--seed", metavar="S", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.set_defaults(handler=run_evaluate)


def _add_segment(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "segment",
        help="objects like the accepted ones on every unlabelled image, as suggestions to review",
    )
    parser.add_argument("project", metavar="PROJECT", type=Path)
    parser.add_argument("--model", metavar="M", help="a model's name or file")
    parser.add_argument("--adapter", metavar="N", help="default: the one in use; none: the base")
    parser.add_argument("--points", metavar="N", type=_positive, default=24, help="a side")
    parser.add_argument(
        "--everything",
        action="store_true",
        help="whatever there is, also where accepted objects could be the example",
    )
    parser.add_argument("--min-score", metavar="S", type=float, help="default: 0.5, on a grid 0.7")
    parser.add_argument("--max-images", metavar="N", type=_positive)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.set_defaults(handler=run_segment)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("has to be 1 or more")
    return value


def run_evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation.evaluation import EvaluateOptions, evaluate_project
    from infosam_studio.console import progress_bar

    options: EvaluateOptions = EvaluateOptions(
        project=args.project,
        model=args.model,
        adapter=args.adapter,
        split=args.split,
        clicks=args.clicks,
        max_objects=args.max_objects,
        seed=args.seed,
        device=args.device,
    )
    with progress_bar("Evaluating") as bar:
        result = evaluate_project(options, tick=bar)
    return {key: result[key] for key in EVALUATION_KEYS}


def run_segment(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation.evaluation import is_single_mask
    from infosam_studio.adaptation.versions import open_predictor, resolve_adapter
    from infosam_studio.annotation.project import Project
    from infosam_studio.console import progress_bar
    from infosam_studio.segmentation.everything import EverythingOptions
    from infosam_studio.segmentation.project_suggestions import ProjectSuggester

    started = time.monotonic()
    options = EverythingOptions(points_per_side=args.points)
    with Project.open(args.project) as project:
        images = unlabelled(project)[: args.max_images]
        if not images:
            raise StudioError("Every image has labels already, so there is nothing to suggest.")
        folder = resolve_adapter(project, args.adapter)
        predictor = open_predictor(project, args.model, folder, device=args.device)
        suggester = ProjectSuggester(
            project,
            predictor,
            single_mask=is_single_mask(folder),
            class_id=_usual_class(project),
            options=options,
            grid=args.everything,
            min_score=args.min_score,
        )
        found, failed = 0, []
        with progress_bar("Segmenting") as bar:
            for number, image in enumerate(images):
                bar(number, len(images))
                try:
                    found += suggester.add(image)
                except StudioError as error:
                    failed.append({"image": image.path, "reason": str(error)})
        if len(failed) == len(images):
            raise StudioError(failed[0]["reason"])
    return {
        "summary": f"{found} suggestions on {len(images) - len(failed)} images to review.",
        "model": predictor.model.info.name,
        "adapter": predictor.adapter_name,
        "images": len(images) - len(failed),
        "suggestions": found,
        "like_accepted": suggester.knowledge is not None,
        "failed": failed,
        "seconds": round(time.monotonic() - started, 3),
    }


def unlabelled(project: Project) -> list[ImageRecord]:
    """The readable images that nobody has worked on."""
    counts = project.object_counts(suggestions=False)
    return [
        image
        for image in project.images()
        if image.state == "untouched" and not counts.get(image.id) and not image.problem
    ]


def _usual_class(project: Project) -> int:
    """The class with the most objects; a project without classes gets "object"."""
    counts = project.class_counts()
    classes = project.classes()
    if not classes:
        return project.add_class("object").id
    return max(classes, key=lambda c: (counts.get(c.id, 0), -c.id)).id
