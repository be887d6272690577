"""`open [PATH]`: the window."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from infosam_studio.errors import StudioError


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("open", help="open the window (the default command)")
    parser.add_argument(
        "path",
        nargs="?",
        type=Path,
        help="a project, a folder of images, one image, or a .txt list",
    )
    parser.add_argument("--tour", action="store_true", help="show the guided tour")
    parser.set_defaults(handler=run_open)


def run_open(args: argparse.Namespace) -> int:
    if args.path is not None and not args.path.exists():
        raise StudioError(
            f"There is nothing at {args.path}; name a project, a folder of images or an image, "
            "or see infosam-studio --help for the commands."
        )
    from infosam_studio.ui.app import main

    return int(main(args.path, tour=args.tour))
