"""The command line: the argparse tree and what turns a handler's answer into output and status.

Every subject has its file in `commands/`; those import what they need inside their handlers, so
that `--help` never loads torch or Qt.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infosam_studio import __version__
from infosam_studio.errors import StudioError

log = logging.getLogger(__name__)

COMMAND_MODULES = (
    "open",
    "project",
    "predict",
    "model",
    "models",
    "adapt",
    "adapters",
    "bench",
    "doctor",
)
DONE, FAILED, WRONG_USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0 done, 1 failed, 2 wrong usage."""
    parser, commands = build_parser()
    arguments = _with_default_command(list(sys.argv[1:] if argv is None else argv), commands)
    try:
        args = parser.parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help, the version or the usage
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    _start_logging(bool(getattr(args, "verbose", False)))
    try:
        return _run(args)
    except StudioError as error:
        return _failed(_one_line(str(error)))
    except KeyboardInterrupt:
        return _failed("Stopped.")
    except BrokenPipeError:
        # The reader of our output has gone; keep Python from complaining once more at exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # every failure is one line; the traceback goes to the log
        log.debug("The command failed.", exc_info=True)
        told = _one_line(str(error))
        return _failed(f"{type(error).__name__}: {told} (--verbose shows where it came from)")


def build_parser() -> tuple[argparse.ArgumentParser, frozenset[str]]:
    """The parser and the names of its commands; a part that is broken is left out, and logged."""
    parser = argparse.ArgumentParser(
        prog="infosam-studio",
        description="Click-driven segmentation labelling that adapts SAM to your images.",
        epilog="infosam-studio PATH opens a project, a folder of images or one image.",
    )
    parser.set_defaults(json=False, verbose=False)
    parser.add_argument("--version", action="version", version=f"infosam-studio {__version__}")
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=_CommandParser
    )
    for name in COMMAND_MODULES:
        try:
            module = importlib.import_module(f"infosam_studio.commands.{name}")
        except ModuleNotFoundError as error:
            log.debug("The commands of %s are not available: %s", name, error)
            continue
        module.add_parsers(subparsers)
    return parser, frozenset(subparsers.choices)


class _CommandParser(argparse.ArgumentParser):
    """A parser for one command (or one of its verbs) that knows --json and --verbose."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("conflict_handler", "resolve")
        super().__init__(*args, **kwargs)
        # No defaults here: those of a verb would undo what was said before it.
        quiet: dict[str, Any] = {"action": "store_true", "default": argparse.SUPPRESS}
        self.add_argument("--json", help="one JSON object on stdout", **quiet)
        self.add_argument("--verbose", help="more log lines on stderr", **quiet)


def _with_default_command(arguments: list[str], commands: frozenset[str]) -> list[str]:
    """Put `open` in front where no command is named: `infosam-studio [PATH]`.

    A bare word that is neither a command nor something on disk stays, so that the parser
    calls it a wrong command instead of a missing file.
    """
    if not arguments:
        return ["open"]
    first = arguments[0]
    if first in commands or first in ("-h", "--help", "--version"):
        return arguments
    if first.replace("-", "").isalnum() and not first.startswith("-") and not Path(first).exists():
        return arguments
    return ["open", *arguments]


def _run(args: argparse.Namespace) -> int:
    # Libraries print to stdout; with --json or --events only our own lines belong there.
    alone = bool(args.json) and not getattr(args, "events", False)
    with contextlib.redirect_stdout(sys.stderr) if alone else contextlib.nullcontext():
        result: int | Mapping[str, Any] = args.handler(args)
    if isinstance(result, int):
        return result
    _print_result(result, as_json=bool(args.json))
    return DONE


def _print_result(result: Mapping[str, Any], *, as_json: bool) -> None:
    from infosam_studio.console import human_lines, json_text

    if sys.stdout is None:  # a windowed build has no console
        return
    text = json_text(result) if as_json else "\n".join(human_lines(result))
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a console that knows only its own code page
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)


def _start_logging(verbose: bool) -> None:
    if sys.stderr is None:
        return
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    for chatty in ("PIL", "matplotlib", "tifffile"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _failed(line: str) -> int:
    if sys.stderr is not None:
        print(f"infosam-studio: {line}", file=sys.stderr)
    return FAILED


def _one_line(text: str) -> str:
    return " ".join(text.split())
