"""`models`: which checkpoints there are here, getting, adding, checking and removing them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.errors import StudioError

if TYPE_CHECKING:
    from infosam_studio.segmentation.library import Entry
    from infosam_studio.segmentation.speeds import Measured

ARCHITECTURES = ("starter", "mobile_sam", "vit_b", "vit_l", "vit_h")
BUSY = " Other programs kept the processor busy, so the figures are too high: measure again later."


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("models", help="base weights: list, get, add, verify, remove")
    parser.set_defaults(handler=run_list)
    actions = parser.add_subparsers(metavar="[list | get | add | verify | remove | measure]")
    actions.add_parser("list", help="what there is (the default)").set_defaults(handler=run_list)

    get = actions.add_parser("get", help="download a published model, or go on with a stopped one")
    get.add_argument("name", metavar="NAME")
    get.add_argument("--mirror", metavar="URL", help="where the same files lie under their names")
    get.add_argument("--proxy", metavar="URL", help="default: the system's")
    get.set_defaults(handler=run_get)

    add = actions.add_parser("add", help="use a file that is here already")
    add.add_argument("name", metavar="NAME")
    add.add_argument("file", metavar="FILE", type=Path)
    add.add_argument("--architecture", choices=ARCHITECTURES, help="default: by the file's keys")
    add.add_argument("--copy", action="store_true", help="copy it into the models' folder")
    add.set_defaults(handler=run_add)

    verify = actions.add_parser("verify", help="read every file again and compare its hash")
    verify.add_argument("names", metavar="NAME", nargs="*", help="default: all that are here")
    verify.set_defaults(handler=run_verify)

    measure = actions.add_parser("measure", help="how quick each model is here, and which suits")
    measure.set_defaults(handler=run_measure)

    remove = actions.add_parser("remove", help="forget a model; files of your own stay")
    remove.add_argument("name", metavar="NAME")
    remove.set_defaults(handler=run_remove)


def run_list(_args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.segmentation import speeds
    from infosam_studio.segmentation.catalogue import models_folder
    from infosam_studio.segmentation.library import entries

    found = entries()
    measured = speeds.known()
    ready = [entry.info.name for entry in found if entry.state == "ready"]
    hint = "infosam-studio models get NAME brings another one."
    if measured is None:
        hint += " infosam-studio models measure says how quick each would be here."
    return {
        "summary": f"Ready: {', '.join(ready) or 'none'}. {hint}",
        "folder": models_folder(),
        "measured": measured.date if measured else None,
        "models": [_row(entry, measured) for entry in found],
    }


def _row(entry: Entry, measured: Measured | None) -> dict[str, Any]:
    speed = measured.of(entry.info.architecture) if measured else None
    return {
        "name": entry.info.name,
        "state": entry.state,
        "size_mb": round(entry.info.size_bytes / 10**6, 1),
        "encode_s": round(speed.encode_s, 2) if speed else None,
        "click_ms": round(1000 * speed.click_s) if speed else None,
        "licence": entry.info.licence,
        "architecture": entry.info.architecture,
        "description": entry.info.description,
        "path": None if entry.info.path is None else str(entry.info.path),
        "sha256": entry.info.sha256,
    }


def run_measure(_args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.segmentation import speeds

    measured = speeds.measure()
    advice = measured.advice()
    busy = BUSY if measured.busy else ""
    return {
        "summary": f"{advice.reason} Adaptation: {measured.adaptation(advice.model)}.{busy}",
        "device": measured.device,
        "busy": measured.busy,
        "model": advice.model,
        "now": advice.now,
        "adaptation": advice.adaptation,
        "reason": advice.reason,
        "models": [
            {
                "name": name,
                "encode_s": round(speed.encode_s, 3),
                "click_ms": round(1000 * speed.click_s, 1),
                "adaptation": measured.adaptation(name),
            }
            for name, speed in measured.speeds.items()
        ],
    }


def run_get(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.console import progress_bar
    from infosam_studio.segmentation.library import get
    from infosam_studio.segmentation.network import Network, Progress

    with progress_bar(f"Getting {args.name} (kB)") as bar:

        def told(progress: Progress) -> None:
            bar(progress.done // 1000, (progress.total or 0) // 1000)

        network = Network(proxy=args.proxy, mirror=args.mirror)
        info = get(args.name, network=network, progress=told)
    return {"summary": f"{info.name} is in {info.path}.", "name": info.name, "path": info.path}


def run_add(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.segmentation.library import add

    info = add(args.name, args.file, architecture=args.architecture, copy=args.copy)
    return {
        "summary": f"{info.name} is a {info.architecture} model, in {info.path}.",
        "name": info.name,
        "architecture": info.architecture,
        "path": info.path,
        "sha256": info.sha256,
    }


def run_verify(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.segmentation.library import entries, verify

    names = args.names or [e.info.name for e in entries() if e.state in ("ready", "missing")]
    verdicts = [verify(name) for name in names]
    bad = [v for v in verdicts if not v.ok]
    if bad:
        raise StudioError(" ".join(v.problem for v in bad))
    return {
        "summary": f"All is well with {', '.join(names) or 'no models'}.",
        "models": [{"name": v.name, "ok": v.ok} for v in verdicts],
    }


def run_remove(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.segmentation.library import remove

    remove(args.name)
    return {"summary": f"{args.name} is forgotten.", "name": args.name}
