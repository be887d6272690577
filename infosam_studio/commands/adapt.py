"""``adapt``: fine-tune the model of a project on its labels."""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.errors import Cancelled, StudioError

if TYPE_CHECKING:
    from infosam_studio.adaptation.adapt import AdaptResult
    from infosam_studio.adaptation.plan import AdaptOptions
    from infosam_studio.events import Control, Emit

# No room, no more allowed, or a file beyond what is allowed.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def add_parsers(subparsers: Any) -> None:
    """Add ``adapt`` to the command line."""
    parser = subparsers.add_parser(
        "adapt",
        help="adapt the model to the labels of a project",
        description="Fine-tune the model on the labelled objects of a project. A gate compares "
        "the new version with the one in use, in clicks per object, and puts it in use only "
        "where it is better.",
    )
    parser.add_argument("project", type=Path, metavar="PROJECT", help="project folder")
    parser.add_argument("--model", metavar="M", help="base checkpoint (default: the project's)")
    parser.add_argument("--recipe", choices=("studio", "paper"), default="studio")
    parser.add_argument(
        "--method",
        choices=("auto", "infosam", "lora", "decoder"),
        default="auto",
        help="auto: what did best in the study for this speed (see the guide)",
    )
    parser.add_argument("--speed", choices=("instant", "full"), default=None)
    parser.add_argument("--name", metavar="N", help="name of the new version (default: v1, v2 …)")
    parser.add_argument("--minutes", type=float, metavar="X", help="time for the whole run")
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over the objects")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda|mps")
    parser.add_argument("--train-images", type=int, metavar="N", help="use N training images only")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--no-gate", action="store_true", help="do not compare; stay unused")
    parser.add_argument("--events", action="store_true", help="JSON lines on stdout, see events.py")
    parser.add_argument("--threads", type=int, metavar="N", help="never use more threads")
    parser.add_argument(
        "--pause-below", type=float, metavar="PERCENT", help="wait while the battery is lower"
    )
    parser.set_defaults(handler=adapt)


def adapt(args: argparse.Namespace) -> int | dict[str, Any]:
    """Run ``adapt``; with ``--events`` the result is the last line."""
    from infosam_studio.adaptation.machine import process_started

    started = process_started()
    if args.events:
        return _with_events(args, started)
    from infosam_studio.console import progress_bar
    from infosam_studio.events import Control

    with progress_bar("Adapting") as bar:
        told = _Told(bar)
        result = _run(_options(args), told, Control(), started)
    if os.environ.get("RANK", "0") != "0":
        return 0  # under accelerate launch the first process answers for all
    return {"summary": _summary(result), **result.to_json()}


def _options(args: argparse.Namespace) -> AdaptOptions:
    from infosam_studio.adaptation.plan import AdaptOptions

    speed = args.speed or ("full" if args.recipe == "paper" else "instant")
    return AdaptOptions(
        project=args.project,
        model=args.model,
        recipe=args.recipe,
        method=args.method,
        speed=speed,
        name=args.name,
        minutes=args.minutes,
        epochs=args.epochs,
        seed=args.seed,
        device=args.device,
        train_images=args.train_images,
        resume=args.resume,
        gate=not args.no_gate,
        threads=args.threads,
        pause_below=args.pause_below,
    )


def _run(options: AdaptOptions, emit: Emit, control: Control, started: float) -> AdaptResult:
    from infosam_studio.adaptation.adapt import run_adapt

    result = run_adapt(options, emit, control, started=started)
    _put_in_use(options, result)
    return result


def _put_in_use(options: AdaptOptions, result: AdaptResult) -> None:
    """A promoted version is used from now on; under the app, the app does it."""
    from infosam_studio.adaptation import versions
    from infosam_studio.annotation.project import Project, ProjectLocked, ProjectReadOnly
    from infosam_studio.events import CHILD_VARIABLE

    follower = os.environ.get("RANK", "0") != "0"
    if not result.promoted or follower or os.environ.get(CHILD_VARIABLE) == "1":
        return
    with (
        contextlib.suppress(ProjectLocked, ProjectReadOnly),
        Project.for_path(options.project) as project,
    ):
        versions.use(project, result.adapter)


def _with_events(args: argparse.Namespace, started: float) -> int:
    from infosam_studio.events import (
        Control,
        Event,
        EventWriter,
        claim_stdout,
        leave,
        watch_parent,
    )

    writer = EventWriter(claim_stdout())
    control = Control()
    stopped_event = Event("failed", {"text": str(Cancelled()), "cancelled": True})
    watch_parent(control, lambda: writer(stopped_event))
    try:
        result = _run(_options(args), writer, control, started)
    except Exception as error:
        stopped = isinstance(error, Cancelled)
        writer(Event("failed", {"text": _sentence(error), "cancelled": stopped}))
        if stopped:
            leave()
        raise
    writer(Event("finished", result.to_json()))
    return 0


def _sentence(error: Exception) -> str:
    """Why a run has failed, for the person in front of the window."""
    if isinstance(error, StudioError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in FULL:
        place = f" ({error.filename})" if error.filename else ""
        return f"The disk is full{place}: free some space and try again."
    if "torch" in sys.modules:
        from infosam_studio.adaptation.training import is_out_of_memory

        if is_out_of_memory(error):
            return (
                "There is not enough memory to adapt this model: close other programs, use speed "
                "instant, or take a smaller model."
            )
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


class _Told:
    """Events for a person at a terminal: a bar, and warnings as log lines."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def __call__(self, event: Any) -> None:
        if event.kind == "progress" and event.data.get("of"):
            self._bar(event.data["step"], event.data["of"])
        elif event.kind == "warning":
            logging.getLogger(__name__).warning("%s", event.data["text"])


def _summary(result: AdaptResult) -> str:
    if result.decision is None:
        return f"Version {result.adapter} was made and not compared."
    state = "is in use now" if result.promoted else "stays unused"
    return f"Version {result.adapter} {state}. {result.decision.reason}"
