"""What all exporters share: which objects go out, where they land, and the check afterwards.

A format is a `Writer`: it writes a consistent snapshot of the project to a place aside, reads
that back and compares it with the project pixel by pixel; only then is it renamed into place.
"""

from __future__ import annotations

import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from infosam_studio.annotation.model import ClassRecord, ImageRecord, ObjectRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange import runs
from infosam_studio.interchange.reports import (
    ExportReport,
    IsCancelled,
    Progress,
    counted,
    never,
    no_progress,
    stop_if,
)
from infosam_studio.interchange.target import Target

PRIORITIES = ("small", "top", "large")


@dataclass(frozen=True)
class ExportOptions:
    """How to write; every format uses the options that mean something to it.

    `geometry`: "auto" (polygons, exact RLE or mask where they cannot say it), "rle" or
    "polygon" (holes bridged). `holes`: "bridge" them, or "refuse" objects that have some.
    `priority`: which object owns a shared pixel: the "small" above the large, the "top" one as
    drawn, or the "large"; classes named in `class_order` come first, in that order.
    `per`: one binary file per "object" or per "class". `copy_images` puts copies of the images
    beside the labels where the format has a place for them. `all_images` lists untouched
    images too. `suggestions` takes along what has not been reviewed yet.
    """

    overwrite: bool = False
    check: bool = True
    geometry: str = "auto"
    holes: str = "bridge"
    priority: str = "small"
    class_order: tuple[str, ...] = ()
    per: str = "object"
    copy_images: bool = False
    all_images: bool = False
    suggestions: bool = False


DEFAULT_EXPORT = ExportOptions()


class Writer(Protocol):
    """One format: `folder` says whether it makes a folder or a file."""

    folder: bool

    def write(self, job: Job) -> None: ...

    def check(self, job: Job) -> None: ...


@dataclass
class Job:
    """One export under way: what to write, where to, and what has been found out."""

    project: Project
    place: Path
    options: ExportOptions
    report: ExportReport
    progress: Progress
    cancelled: IsCancelled
    images: list[ImageRecord]
    classes: list[ClassRecord]
    steps: int = 0
    total: int = 0
    names: dict[int, str] = field(default_factory=dict)
    # Objects left out by the format (too many, holes refused): the check does not miss them.
    left_out: set[int] = field(default_factory=set)

    def labelled(self) -> Iterator[tuple[ImageRecord, list[ObjectRecord]]]:
        """Every image of the export with its objects, bottom to top, counting progress."""
        for image in self.images:
            stop_if(self.cancelled)
            yield image, self.objects_of(image)
            self.steps += 1
            self.progress(self.steps, self.total)

    def objects_of(self, image: ImageRecord) -> list[ObjectRecord]:
        """The image's objects that go out: reviewed ones, with pixels, of the image's size."""
        wanted = [
            o
            for o in self.project.objects(image.id)
            if (self.options.suggestions or o.source != "suggestion") and o.id not in self.left_out
        ]
        sound = [o for o in wanted if (o.mask.height, o.mask.width) == (image.height, image.width)]
        return sorted((o for o in sound if area(o)), key=lambda o: (o.z, o.id))

    def leave_out(self, image: ImageRecord, item: ObjectRecord, reason: str) -> None:
        """Report that an object cannot go into this format."""
        if item.id not in self.left_out:
            self.left_out.add(item.id)
            self.report.problems.add(f"{image.path}, object {item.id}", reason)

    def class_of(self, item: ObjectRecord) -> ClassRecord:
        found = next((c for c in self.classes if c.id == item.class_id), None)
        return found or ClassRecord(item.class_id, f"class {item.class_id}", "#808080")


def run_export(
    writer: Writer,
    project: Project,
    out: Path,
    *,
    format: str,
    options: ExportOptions = DEFAULT_EXPORT,
    progress: Progress = no_progress,
    cancelled: IsCancelled = never,
) -> ExportReport:
    """Write the project's labels to `out` and check them; all or nothing.

    Raises `ExportExists` where something would be overwritten without being asked for,
    `StudioError` where it cannot be written, `Cancelled` where asked to stop.
    """
    _check_options(options)
    report = ExportReport(format, out)
    with (
        project.snapshot() as view,
        Target(
            out,
            folder=writer.folder,
            overwrite=options.overwrite,
            protected=_protected(project),
        ) as target,
    ):
        job = _job(view, target.work, options, report, progress, cancelled)
        writer.write(job)
        report.images = len(job.images)
        if options.check:
            report.different = 0
            writer.check(job)
        stop_if(cancelled)
        target.commit()
        if target.left_over:
            report.notes.append(_left_alone(target))
    report.seconds = time.monotonic() - report.started
    return report


def _left_alone(target: Target) -> str:
    were = "was" if target.left_over == 1 else "were"
    text = f"{counted(target.left_over, 'other file')} in the folder {were} left alone"
    if target.alike:  # of images that have no labels any more, or are called otherwise
        text += f", {target.alike:,} of them like the new ones (of an earlier export?)"
    return text


def _job(
    view: Project,
    place: Path,
    options: ExportOptions,
    report: ExportReport,
    progress: Progress,
    cancelled: IsCancelled,
) -> Job:
    counts = view.object_counts()
    images = []
    for image in view.images():
        if not image.width or not image.height:
            if counts.get(image.id):
                report.problems.add(image.path, "the image cannot be read")
        elif options.all_images or counts.get(image.id) or image.state in ("done", "empty"):
            images.append(image)
    job = Job(view, place, options, report, progress, cancelled, images, view.classes())
    if not options.suggestions:
        job.images = [i for i in images if _reviewed(job, i)]
    job.total = len(job.images) * (2 if options.check else 1)
    return job


def _reviewed(job: Job, image: ImageRecord) -> bool:
    """Whether an image has more to say than suggestions nobody has looked at."""
    if job.options.all_images or image.state in ("done", "empty"):
        return True
    return any(o.source != "suggestion" for o in job.project.objects(image.id))


def _protected(project: Project) -> frozenset[Path]:
    own = [project.folder.absolute(), project.images_root.absolute()]
    own += [project.folder.absolute() / name for name in ("project.db", "adapters", "cache")]
    return frozenset([*own, *(project.image_path(i).absolute() for i in project.images())])


def _check_options(options: ExportOptions) -> None:
    for value, allowed in (
        (options.geometry, ("auto", "rle", "polygon")),
        (options.holes, ("bridge", "refuse")),
        (options.priority, PRIORITIES),
        (options.per, ("object", "class")),
    ):
        if value not in allowed:
            raise StudioError(f"{value!r} is not one of {', '.join(allowed)}.")


def area(item: ObjectRecord) -> int:
    """Pixels of an object."""
    return runs.pixel_count(runs.toggles(item.mask))


def label_names(images: Sequence[ImageRecord], taken: Iterable[str] = ()) -> dict[int, str]:
    """A name without ending for every image's label file, posix, unique, folders kept.

    The stem of the image; its whole name where two images share a stem (also where they differ
    in upper and lower case alone); `_p0003` at the end for a page of a multi-page file. None is
    one of those `taken`.
    """
    pages: dict[str, int] = defaultdict(int)
    for image in images:
        pages[image.path] += 1
    short: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in images:
        short[_name(image, pages, whole=False).casefold()].append(image)
    names: dict[int, str] = {}
    used = {name.casefold() for name in taken}
    for group in short.values():
        for image in group:
            name = _name(image, pages, whole=len(group) > 1)
            base, number = name, 2
            while name.casefold() in used:
                name, number = f"{base}_{number}", number + 1
            used.add(name.casefold())
            names[image.id] = name
    return names


def _name(image: ImageRecord, pages: dict[str, int], *, whole: bool) -> str:
    path = PurePosixPath(image.path)
    parts = [p for p in path.parts[:-1] if p not in ("..", "/") and not p.endswith(":")]
    if path.is_absolute() or re.match(r"^[a-zA-Z]:", image.path):
        parts = []
    suffix = f"_p{image.page:04d}" if image.page or pages[image.path] > 1 else ""
    return "/".join([*parts, (path.name if whole else path.stem) + suffix])


def by_priority(job: Job, objects: Iterable[ObjectRecord]) -> list[ObjectRecord]:
    """Objects in the order in which they are painted: what comes later owns shared pixels."""
    ranks = {name: rank for rank, name in enumerate(job.options.class_order)}
    last = len(ranks)

    def order(item: ObjectRecord) -> tuple[int, int, int, int]:
        rank = -ranks.get(job.class_of(item).name, last)
        size = area(item)
        by_size = {"small": -size, "large": size, "top": 0}[job.options.priority]
        return (rank, by_size, item.z, item.id)

    return sorted(objects, key=order)


def visible(painted: Sequence[ObjectRecord]) -> list[runs.Toggles]:
    """What is left of each object under those painted after it, in the same order."""
    whole = [runs.toggles(item.mask) for item in painted]
    if runs.are_apart(whole):
        return whole
    left: list[runs.Toggles] = []
    cover = runs.EMPTY
    for mask in reversed(whole):
        left.append(runs.subtract(mask, cover))
        cover = runs.union([mask, cover])
    left.reverse()
    return left


def count_overlaps(job: Job, painted: Sequence[ObjectRecord], left: Sequence[runs.Toggles]) -> None:
    """Count the objects that lose pixels to others in a map where a pixel has one owner."""
    for item, edges in zip(painted, left, strict=True):
        kept = runs.pixel_count(edges)
        if kept < area(item):
            job.report.overlaps += 1
            job.report.hidden += kept == 0


def copy_image(job: Job, image: ImageRecord, place: Path) -> None:
    """Put a copy of an image's file into the export; what cannot be copied is reported."""
    if image.page:
        job.report.problems.add(image.path, "a page of a file cannot be copied as an image")
        return
    try:
        source = job.project.image_path(image).open("rb")
    except OSError as error:
        job.report.problems.add(image.path, f"the image cannot be copied: {error.strerror}")
        return
    with source, make_parent(place).open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def make_parent(path: Path) -> Path:
    """The path itself, after making the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
