"""`--window` and `--channels`: what person and model see of deep or many-channelled images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infosam_studio.annotation.view_settings import ViewSettings


def add_view_options(parser: argparse.ArgumentParser) -> None:
    """Add the two options."""
    group = parser.add_argument_group("images of 16 bits or many channels")
    group.add_argument(
        "--window",
        metavar="LOW:HIGH",
        default="auto",
        help="values shown black and white, as 100:4000 or as percentiles 1%%:99%% (default: auto)",
    )
    group.add_argument(
        "--channels",
        metavar="A,B,C",
        default="auto",
        help="2: grey; 3,2,1: red, green and blue; 1=#00ff00,4=#ff00ff: mixed (counted from 1)",
    )


def view_settings(args: argparse.Namespace) -> ViewSettings:
    """What the options say; StudioError where they say nothing sensible."""
    from infosam_studio.annotation.view_settings import combined, parse_channels, parse_window

    return combined(parse_window(args.window), parse_channels(args.channels))
