"""`init`, `import`, `export`, `relocate`, `view`: projects, and labels in and out of them."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infosam_studio.commands.view_options import add_view_options, view_settings
from infosam_studio.errors import StudioError
from infosam_studio.interchange.formats import EXPORT_FORMATS, IMPORT_FORMATS

if TYPE_CHECKING:
    from infosam_studio.annotation.project import Project
    from infosam_studio.interchange.exporting import ExportOptions
    from infosam_studio.interchange.importing import ImportOptions
    from infosam_studio.interchange.reports import ImportReport, Problem

SHOWN_PROBLEMS = 10


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    _add_init(subparsers)
    _add_import(subparsers)
    _add_export(subparsers)
    relocate = subparsers.add_parser(
        "relocate", help="find moved images again, by their content, below another folder"
    )
    relocate.add_argument("project", metavar="PROJECT", type=Path)
    relocate.add_argument("folder", metavar="DIR", type=Path, help="where the images are now")
    relocate.set_defaults(handler=run_relocate)
    view = subparsers.add_parser(
        "view", help="choose which channels of the images are shown, and between which values"
    )
    view.add_argument("project", metavar="PROJECT", type=Path)
    view.add_argument(
        "--only", metavar="PATTERN", help="images whose path matches, as *.tif (default: all)"
    )
    add_view_options(view)
    view.set_defaults(handler=run_view)


def _add_init(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("init", help="make a project of a folder of images")
    parser.add_argument("project", metavar="PROJECT", type=Path, help="the folder to make")
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        required=True,
        help="the folder of images, or a text file with one path on each line",
    )
    parser.add_argument("--labels", metavar="PATH", type=Path, help="labels to take in")
    parser.add_argument("--format", choices=IMPORT_FORMATS, help="what the labels are")
    _add_reading_options(parser)
    add_view_options(parser)
    parser.set_defaults(handler=run_init)


def _add_import(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("import", help="take labels of another program in")
    parser.add_argument("project", metavar="PROJECT", type=Path)
    parser.add_argument("path", metavar="PATH", type=Path, help="the file or folder of labels")
    parser.add_argument("--format", choices=IMPORT_FORMATS, required=True)
    parser.add_argument(
        "--on-conflict",
        choices=("add", "replace", "skip"),
        default="add",
        help="for images that have objects already (default: add what is not there yet)",
    )
    _add_reading_options(parser)
    parser.set_defaults(handler=run_import)


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reading")
    group.add_argument(
        "--class",
        dest="class_name",
        metavar="NAME",
        default="object",
        help="the class of objects for which the labels name none (default: object)",
    )
    group.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="THEIRS=OURS",
        help="take a class in under another name; THEIRS= leaves it out",
    )
    group.add_argument(
        "--meaning",
        choices=("auto", "instances", "classes", "binary"),
        default="auto",
        help="png: what the values of the maps are",
    )
    group.add_argument(
        "--components", action="store_true", help="png: split classes into connected parts"
    )
    group.add_argument(
        "--fully-labelled", action="store_true", help="everything on these images is labelled"
    )


def _add_export(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("export", help="write the labels for other programs")
    parser.add_argument("project", metavar="PROJECT", type=Path)
    parser.add_argument("out", metavar="OUT", type=Path, help="the file or folder to write")
    parser.add_argument("--format", choices=EXPORT_FORMATS, required=True)
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--no-check", action="store_true", help="do not read the export back")
    parser.add_argument(
        "--geometry",
        choices=("auto", "rle", "polygon"),
        default="auto",
        help="coco, labelme: polygons where they are exact (auto), masks, or polygons always",
    )
    parser.add_argument(
        "--holes", choices=("bridge", "refuse"), default="bridge", help="yolo: objects with holes"
    )
    parser.add_argument(
        "--priority",
        choices=("small", "top", "large"),
        default="small",
        help="maps: which of overlapping objects owns a pixel",
    )
    parser.add_argument(
        "--class-order",
        metavar="A,B,…",
        default="",
        help="maps: classes that own shared pixels, the first above the second and so on",
    )
    parser.add_argument("--per", choices=("object", "class"), default="object", help="png-binary")
    parser.add_argument(
        "--copy-images", action="store_true", help="yolo, voc, labelme: with copies of the images"
    )
    parser.add_argument("--all-images", action="store_true", help="list unlabelled images too")
    parser.add_argument(
        "--suggestions", action="store_true", help="write suggestions not yet reviewed too"
    )
    parser.set_defaults(handler=run_export)


def run_init(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.annotation.file_lists import is_file_list, read_file_list
    from infosam_studio.console import progress_bar

    if (args.labels is None) != (args.format is None):
        raise StudioError("--labels and --format go together; name both or neither.")
    named = read_file_list(args.images) if is_file_list(args.images) else None
    if named is None and not args.images.is_dir():
        raise StudioError(
            f"{args.images} is not a folder; name the folder of images, or a .txt file that lists "
            "them."
        )
    if args.labels is not None and not args.labels.exists():
        raise StudioError(f"There is nothing at {args.labels}; name the file or folder of labels.")
    options, view = _import_options(args, "add"), view_settings(args)
    with _new_project(args, named) as project:
        if view.key():
            project.set_view(view)
        with progress_bar("Reading images") as bar:
            if named is None:
                project.scan(progress=bar)
            else:
                project.add_images(named, progress=bar)
        images = project.images()
        result: dict[str, Any] = {
            "summary": "",
            "project": str(project.folder),
            "images": len(images),
            "unreadable": [{"image": i.path, "reason": i.problem} for i in images if i.problem],
            "objects": 0,
            "classes": [],
        }
        note = ""
        if args.labels is not None:
            try:
                report = _take_in(project, args.labels, args.format, options)
            except StudioError as error:
                raise StudioError(f"The project is made, but without labels: {error}") from error
            result |= {k: v for k, v in report.to_json().items() if k not in ("summary", "images")}
            note = f": {report.summary}"
        result["classes"] = [c.name for c in project.classes()]
        result["summary"] = f"{len(images)} images in {project.folder}{note or '.'}"
    return result


def _new_project(args: argparse.Namespace, named: list[Path] | None) -> Project:
    from infosam_studio.annotation.project import Project

    if named is None:
        return Project.create(args.project, args.images)
    return Project.create_for_files(args.project, named)


def run_view(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.annotation.images import read_image
    from infosam_studio.annotation.project import Project

    settings = view_settings(args)
    with Project.open(args.project) as project:
        images = project.images()
        if args.only is not None:
            images = [i for i in images if fnmatch.fnmatch(i.path, args.only)]
            if not images:
                raise StudioError(f"No image of the project is called {args.only}.")
        # A choice that does not fit the first image is refused before it is kept.
        for image in [i for i in images if not i.problem][:1]:
            read_image(project.image_path(image), settings.on_page(image.page))
        chosen = None if args.only is None else [i.id for i in images]
        changed = project.set_view(settings, chosen)
    return {
        "summary": f"{changed} of {len(images)} images are shown otherwise now.",
        "images": len(images),
        "changed": changed,
        "view": settings.key(),
    }


def run_import(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.annotation.project import Project

    options = _import_options(args, args.on_conflict)
    with Project.open(args.project) as project:
        report = _take_in(project, args.path, args.format, options)
    return report.to_json()


def _take_in(project: Project, path: Path, format: str, options: ImportOptions) -> ImportReport:
    from infosam_studio.console import progress_bar
    from infosam_studio.interchange.registry import importer

    with progress_bar("Reading labels") as bar:
        report = importer(format)(project, path, options=options, progress=bar)
    show_problems(report.problems.items, report.problems.count)
    touched = report.objects or report.already_there or report.skipped_images
    if not touched and report.problems.count:
        first = report.problems.items[0]
        raise StudioError(
            f"No labels came in from {path}; {report.problems.count} items could not be read, "
            f"the first: {first.item}: {first.reason}."
        )
    return report


def show_problems(problems: Sequence[Problem], count: int) -> None:
    """A few of the problems on stderr; all of them are in the --json result."""
    if sys.stderr is None:
        return
    for problem in problems[:SHOWN_PROBLEMS]:
        print(f"{problem.item}: {problem.reason}", file=sys.stderr)
    if count > SHOWN_PROBLEMS:
        print(f"… and {count - SHOWN_PROBLEMS} more (see --json)", file=sys.stderr)


def _import_options(args: argparse.Namespace, conflict: str) -> ImportOptions:
    from infosam_studio.interchange.importing import ImportOptions

    names: dict[str, str | None] = {}
    for pair in args.map:
        theirs, equals, ours = pair.partition("=")
        if not equals or not theirs:
            raise StudioError(
                f"--map {pair} is not THEIRS=OURS; write for example --map cat=animal."
            )
        names[theirs] = ours.strip() or None
    return ImportOptions(
        conflict=conflict,
        class_names=names,
        default_class=args.class_name,
        meaning=args.meaning,
        components=args.components,
        fully_labelled=args.fully_labelled,
    )


def run_export(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.annotation.project import Project
    from infosam_studio.console import progress_bar
    from infosam_studio.interchange.registry import exporter

    with Project.open(args.project, read_only=True) as project:
        options = _export_options(args, [c.name for c in project.classes()])
        with progress_bar("Exporting") as bar:
            report = exporter(args.format)(project, args.out, options=options, progress=bar)
    show_problems(report.problems.items, report.problems.count)
    if report.different:
        raise StudioError(
            f"{args.out} was written, but {report.different} of {report.objects} objects read back "
            "differently; please report this with the file."
        )
    return report.to_json()


def _export_options(args: argparse.Namespace, classes: list[str]) -> ExportOptions:
    from infosam_studio.interchange.exporting import ExportOptions

    order = tuple(name.strip() for name in args.class_order.split(",") if name.strip())
    if unknown := [name for name in order if name not in classes]:
        raise StudioError(f"The project has no class {unknown[0]!r}; it has {', '.join(classes)}.")
    return ExportOptions(
        overwrite=args.force,
        check=not args.no_check,
        geometry=args.geometry,
        holes=args.holes,
        priority=args.priority,
        class_order=order,
        per=args.per,
        copy_images=args.copy_images,
        all_images=args.all_images,
        suggestions=args.suggestions,
    )


def run_relocate(args: argparse.Namespace) -> dict[str, Any]:
    from infosam_studio.annotation.project import Project
    from infosam_studio.console import progress_bar
    from infosam_studio.interchange.relocate import relocate

    with Project.open(args.project) as project, progress_bar("Looking for images") as bar:
        report = relocate(project, args.folder, progress=bar)
    return report.to_json()
