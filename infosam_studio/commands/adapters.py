"""``adapters``: the versions of a project."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

VERBS = {
    "use": (("name",), "put a version in use (none: the base model)"),
    "rename": (("name", "new"), "rename a version"),
    "delete": (("name",), "delete a version"),
    "export": (("name", "out"), "copy a version to a folder or a .zip"),
    "import": (("path",), "take in an adapter folder or a .zip of one"),
}


def add_parsers(subparsers: Any) -> None:
    """Add ``adapters`` to the command line."""
    parser = subparsers.add_parser(
        "adapters",
        help="list, use, rename, delete, export and import the versions of a project",
        description="Without a verb, lists the versions of a project.",
    )
    parser.add_argument("project", type=Path, metavar="PROJECT", help="project folder")
    parser.set_defaults(handler=adapters, verb=None)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb, (names, text) in VERBS.items():
        part = verbs.add_parser(verb, help=text)
        for name in names:
            kind = Path if name in ("out", "path") else str
            part.add_argument(name, metavar=name.upper(), type=kind)
        part.set_defaults(handler=adapters, verb=verb)


def adapters(args: argparse.Namespace) -> dict[str, Any]:
    """Run one verb; every answer names the version now in use."""
    from infosam_studio.adaptation import versions
    from infosam_studio.annotation.project import Project

    only_reads = args.verb in (None, "export")
    with Project.for_path(args.project, read_only=only_reads) as project:
        out = _ACTIONS[args.verb](project, args) if args.verb else _listed(project)
        return {**out, "in_use": versions.in_use(project)}


def _listed(project: Any) -> dict[str, Any]:
    from infosam_studio.adaptation import versions

    found = [version.to_json() for version in versions.versions(project)]
    used = versions.in_use(project)
    names = ", ".join(v["name"] + (" (in use)" if v["in_use"] else "") for v in found)
    text = names or "No versions yet."
    return {
        "summary": text if used or not found else f"{text}; the base is in use",
        "adapters": found,
    }


def _use(project: Any, args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation import versions

    before = versions.use(project, args.name)
    return {"summary": f"{args.name} is in use now.", "before": before}


def _rename(project: Any, args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation import versions

    versions.rename(project, args.name, args.new)
    return {"summary": f"{args.name} is called {args.new} now.", "name": args.new}


def _delete(project: Any, args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation import versions

    versions.delete(project, args.name)
    return {"summary": f"{args.name} is deleted.", "name": args.name}


def _export(project: Any, args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation import versions

    path = versions.export(project, args.name, args.out)
    return {"summary": f"{args.name} was copied to {path}.", "path": str(path)}


def _import(project: Any, args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.adaptation import versions

    name = versions.import_version(project, args.path)
    return {"summary": f"The version {name} is here now.", "name": name}


_ACTIONS = {
    "use": _use,
    "rename": _rename,
    "delete": _delete,
    "export": _export,
    "import": _import,
}
