"""What all importers share: conflicts, class mapping, one transaction, one undo step.

An importer is a *reader*: a generator that yields `Found` objects and reports what it cannot
read. It knows nothing of the project but the list of images; `run_import` writes what it yields
in one transaction and one undo step, and `preview` counts it without writing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from infosam_studio.annotation.masks import Rle
from infosam_studio.annotation.model import ClassRecord, ImageRecord, ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange import runs
from infosam_studio.interchange.keeping import keep, newest_step
from infosam_studio.interchange.matching import ImageIndex, NoMatch
from infosam_studio.interchange.merging import refuse_unfinished
from infosam_studio.interchange.reports import (
    ImportReport,
    IsCancelled,
    Problems,
    Progress,
    counted,
    never,
    no_progress,
    stop_if,
)

CONFLICTS = ("add", "replace", "skip")
CHUNK = 500
MAX_CLASSES = 10_000
DEFAULT_CLASS = "object"


@dataclass(frozen=True)
class ImportOptions:
    """How to read and how to merge.

    `conflict` for images that have objects already: "add" (what is there identically is not
    added again), "replace" them, or "skip" the image. `class_names` maps a class of the file to
    a class of the project, or to None to leave it out. `meaning` is for PNG label maps ("auto",
    "instances", "classes", "binary"), `components` splits classes and binary masks into
    connected parts. `state` is given to images that get objects and were untouched.
    """

    conflict: str = "add"
    class_names: Mapping[str, str | None] = field(default_factory=dict)
    default_class: str = DEFAULT_CLASS
    meaning: str = "auto"
    components: bool = False
    state: str = "done"
    fully_labelled: bool = False


DEFAULT_IMPORT = ImportOptions()


@dataclass(frozen=True)
class Found:
    """One object of a label file, on an image of the project."""

    image: ImageRecord
    class_name: str
    mask: Rle
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class ReadContext:
    """What a reader gets: the images, the options, and where to report."""

    images: ImageIndex
    options: ImportOptions
    problems: Problems
    classes: dict[str, ClassRecord]
    progress: Progress = no_progress
    cancelled: IsCancelled = never
    notes: list[str] = field(default_factory=list)
    # Fields of the file that have no place in the project, kept for the export in that format.
    kept: dict[str, Any] = field(default_factory=dict)

    def find(self, item: str, name: object, page: int = 0) -> ImageRecord | None:
        """The image of a file name, or None after a report."""
        try:
            return self.images.find(name, page)
        except NoMatch as error:
            self.problems.add(item, str(error))
            return None

    def find_label_file(self, relative: str) -> ImageRecord | None:
        """The image of a label file's name, or None after a report."""
        try:
            return self.images.find_label_file(relative)
        except NoMatch as error:
            self.problems.add(relative, str(error))
            return None

    def fits(self, item: str, image: ImageRecord, width: object, height: object) -> bool:
        """Whether labels of this size belong on the image; reports where not."""
        if (width, height) == (image.width, image.height):
            return True
        if not image.width:
            self.problems.add(item, "the image cannot be read, so its labels have no place")
            return False
        hint = ""
        if (width, height) == (image.height, image.width):
            hint = " (made without the photo's orientation)"
        self.problems.add(
            item,
            f"the labels are for {_short(width)} x {_short(height)} pixels, "
            f"the image has {image.width} x {image.height}{hint}",
        )
        return False

    def declare(self, name: str, *, color: str | None = None, supercategory: str = "") -> None:
        """Remember colour and supercategory of a class for when its first object comes."""
        if name not in self.classes and len(self.classes) < MAX_CLASSES:
            self.classes[name] = ClassRecord(0, name, color or "", supercategory)


class Reader(Protocol):
    def __call__(self, source: Path, context: ReadContext) -> Iterator[Found]: ...


def clean_name(value: object, fallback: str) -> str:
    """A class name fit for display and storage: one line, no control characters."""
    if value is None or isinstance(value, dict | list):
        return fallback
    text = "".join(c if c.isprintable() else " " for c in str(value)[:200])
    return " ".join(text.split()) or fallback


def run_import(
    reader: Reader,
    project: Project,
    source: Path,
    *,
    format: str,
    options: ImportOptions = DEFAULT_IMPORT,
    progress: Progress = no_progress,
    cancelled: IsCancelled = never,
) -> ImportReport:
    """Read `source` into the project as one transaction and one undo step.

    Items that cannot be read are in the report's `problems`; the others come in. Raises
    `StudioError` where nothing of the file can be read, `Cancelled` where asked to stop; the
    project is then as it was.
    """
    _check_options(project, options)
    _check_source(source)
    report = ImportReport(format, source)
    context = _context(project, options, report.problems, progress, cancelled)
    before = newest_step(project)
    with project.bulk(f"Import {source.name}"):
        writer = _Writer(project, context, report)
        for found in reader(source, context):
            stop_if(cancelled)
            writer.add(found)
        writer.finish()
        if any(context.kept.values()):
            keep(project, format, context.kept, before=before)
    report.notes.extend(context.notes)
    if context.images.outside:
        paths = counted(context.images.outside, "path")
        report.notes.append(f"{paths} outside the images' folder matched by the end")
    report.seconds = time.monotonic() - report.started
    return report


@dataclass(frozen=True)
class Preview:
    """What an import would find: objects per class, images, problems."""

    images: int
    objects: int
    classes: dict[str, int]
    conflicts: int  # images among them that have objects already
    problems: Problems


def preview(
    reader: Reader,
    project: Project,
    source: Path,
    *,
    options: ImportOptions = DEFAULT_IMPORT,
    progress: Progress = no_progress,
    cancelled: IsCancelled = never,
) -> Preview:
    """Read `source` without writing anything, for the class mapping and the choice on conflict."""
    _check_source(source)
    problems = Problems()
    context = _context(project, options, problems, progress, cancelled)
    classes: dict[str, int] = {}
    images: set[int] = set()
    for found in reader(source, context):
        stop_if(cancelled)
        images.add(found.image.id)
        classes[found.class_name] = classes.get(found.class_name, 0) + 1
    counts = project.object_counts()
    conflicts = sum(1 for i in images if counts.get(i))
    return Preview(len(images), sum(classes.values()), classes, conflicts, problems)


def _context(
    project: Project,
    options: ImportOptions,
    problems: Problems,
    progress: Progress,
    cancelled: IsCancelled,
) -> ReadContext:
    index = ImageIndex(project.images())
    return ReadContext(index, options, problems, {}, progress, cancelled)


def _check_options(project: Project, options: ImportOptions) -> None:
    if options.conflict not in CONFLICTS:
        raise StudioError(f"The choice on conflict is one of {', '.join(CONFLICTS)}.")
    if project.read_only:
        raise StudioError(f"{project.folder} is open for reading only; labels cannot come in.")


def _check_source(source: Path) -> None:
    if not source.exists():
        raise StudioError(f"There is nothing at {source}; name the file or folder of labels.")
    if not source.is_dir() and not source.is_file():  # reading a pipe would wait for ever
        raise StudioError(f"{source} is neither a file nor a folder; name the labels themselves.")
    refuse_unfinished(source)


class _Writer:
    """Writes found objects in chunks, inside the transaction of the import."""

    def __init__(self, project: Project, context: ReadContext, report: ImportReport) -> None:
        self._project = project
        self._context = context
        self._options = context.options
        self._report = report
        self._classes = {c.name: c.id for c in project.classes()}
        self._had_objects = project.object_counts()
        self._before: dict[int, set[tuple[int, str]]] = {}
        self._images: dict[int, ImageRecord] = {}
        self._pending: list[ObjectRecord] = []
        self._skipped: set[int] = set()

    def add(self, found: Found) -> None:
        name = found.class_name
        wanted = self._options.class_names.get(name, name)
        if wanted is None or not self._enter(found.image):
            return
        if not len(runs.toggles(found.mask)):
            self._context.problems.add(
                found.image.path, "an object without a pixel inside the image"
            )
            return
        class_id = self._class_id(wanted, name)
        if (class_id, found.mask.counts) in self._before.get(found.image.id, ()):
            self._report.already_there += 1
            return
        self._pending.append(
            ObjectRecord(
                id=0,
                image_id=found.image.id,
                class_id=class_id,
                mask=found.mask,
                source="import",
                extra=found.extra,
            )
        )
        self._images.setdefault(found.image.id, found.image)
        self._report.objects += 1
        self._report.classes[wanted] = self._report.classes.get(wanted, 0) + 1
        if len(self._pending) >= CHUNK:
            self._flush()

    def _enter(self, image: ImageRecord) -> bool:
        """Settle the conflict on an image's first object; False where the image is left alone."""
        if image.id in self._skipped:
            return False
        if image.id in self._before or not self._had_objects.get(image.id):
            return True
        if self._options.conflict == "skip":
            self._skipped.add(image.id)
            self._report.skipped_images += 1
            return False
        there = self._project.objects(image.id)
        self._before[image.id] = set()
        if self._options.conflict == "replace":
            self._project.delete_objects([o.id for o in there], name="Replace objects")
            self._report.replaced += len(there)
        else:
            self._before[image.id] = {(o.class_id, o.mask.counts) for o in there}
        return True

    def _class_id(self, name: str, original: str) -> int:
        found = self._classes.get(name)
        if found is None:
            if len(self._classes) >= MAX_CLASSES:
                raise StudioError(
                    f"The labels have over {MAX_CLASSES:,} classes; is this a label file?"
                )
            declared = self._context.classes.get(original)
            color = declared.color if declared and declared.color else None
            group = declared.supercategory if declared else ""
            found = self._project.add_class(name, color, supercategory=group).id
            self._classes[name] = found
        return found

    def _flush(self) -> None:
        self._project.add_objects(self._pending, name="Import objects")
        self._pending = []

    def finish(self) -> None:
        if self._pending:
            self._flush()
        for image in self._images.values():
            fields: dict[str, Any] = {}
            if image.state == "untouched" and self._options.state != "untouched":
                fields["state"] = self._options.state
            if self._options.fully_labelled and not image.fully_labelled:
                fields["fully_labelled"] = True
            if fields:
                self._project.update_image(image.id, **fields)
        self._report.images = len(self._images)


def _short(value: object) -> str:
    text = (
        str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else "?"
    )
    return text if len(text) <= 12 else text[:11] + "…"
