"""Every format as a function, for the command line and the window alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange import importing
from infosam_studio.interchange.coco_read import read_coco
from infosam_studio.interchange.coco_write import CocoWriter
from infosam_studio.interchange.exporting import (
    DEFAULT_EXPORT,
    ExportOptions,
    Writer,
    run_export,
)
from infosam_studio.interchange.formats import EXPORT_FORMATS, IMPORT_FORMATS
from infosam_studio.interchange.geojson import GeojsonWriter, read_geojson
from infosam_studio.interchange.importing import (
    DEFAULT_IMPORT,
    ImportOptions,
    Preview,
    Reader,
    run_import,
)
from infosam_studio.interchange.isat import read_isat
from infosam_studio.interchange.label_tiff import LabelTiffWriter, read_label_tiff
from infosam_studio.interchange.labelme import LabelmeWriter, read_labelme
from infosam_studio.interchange.png_read import read_png
from infosam_studio.interchange.png_write import BinaryWriter, InstanceWriter, SemanticWriter
from infosam_studio.interchange.reports import (
    ExportReport,
    ImportReport,
    IsCancelled,
    Progress,
    never,
    no_progress,
)
from infosam_studio.interchange.voc import VocWriter, read_voc
from infosam_studio.interchange.yolo import YoloWriter, read_yolo


@dataclass(frozen=True)
class Exporter:
    """A format that labels leave in: `exporter(project, out, ...)` writes and checks it.

    `folder` says whether `out` is a folder or a file; `title` is for people.
    """

    name: str
    title: str
    writer: Writer

    @property
    def folder(self) -> bool:
        return self.writer.folder

    def __call__(
        self,
        project: Project,
        out: Path,
        *,
        options: ExportOptions = DEFAULT_EXPORT,
        progress: Progress = no_progress,
        cancelled: IsCancelled = never,
    ) -> ExportReport:
        return run_export(
            self.writer,
            project,
            out,
            format=self.name,
            options=options,
            progress=progress,
            cancelled=cancelled,
        )


@dataclass(frozen=True)
class Importer:
    """A format that labels come in: `importer(project, source, ...)`; `preview` only looks."""

    name: str
    title: str
    reader: Reader

    def __call__(
        self,
        project: Project,
        source: Path,
        *,
        options: ImportOptions = DEFAULT_IMPORT,
        progress: Progress = no_progress,
        cancelled: IsCancelled = never,
    ) -> ImportReport:
        return run_import(
            self.reader,
            project,
            source,
            format=self.name,
            options=options,
            progress=progress,
            cancelled=cancelled,
        )

    def preview(
        self,
        project: Project,
        source: Path,
        *,
        options: ImportOptions = DEFAULT_IMPORT,
        progress: Progress = no_progress,
        cancelled: IsCancelled = never,
    ) -> Preview:
        """What the import would find, with nothing written."""
        return importing.preview(
            self.reader, project, source, options=options, progress=progress, cancelled=cancelled
        )


_WRITERS: Mapping[str, Writer] = {
    "coco": CocoWriter(),
    "png": InstanceWriter(),
    "png-semantic": SemanticWriter(),
    "png-binary": BinaryWriter(),
    "yolo": YoloWriter(),
    "voc": VocWriter(),
    "labelme": LabelmeWriter(),
    "geojson": GeojsonWriter(),
    "tiff": LabelTiffWriter(),
}
_READERS: Mapping[str, Reader] = {
    "coco": read_coco,
    "png": read_png,
    "yolo": read_yolo,
    "voc": read_voc,
    "labelme": read_labelme,
    "isat": read_isat,
    "geojson": read_geojson,
    "tiff": read_label_tiff,
}
EXPORTERS: Final[Mapping[str, Exporter]] = {
    name: Exporter(name, title, _WRITERS[name]) for name, title in EXPORT_FORMATS.items()
}
IMPORTERS: Final[Mapping[str, Importer]] = {
    name: Importer(name, title, _READERS[name]) for name, title in IMPORT_FORMATS.items()
}


def exporter(name: str) -> Exporter:
    """The exporter of that name; raises `StudioError` where there is none."""
    if name not in EXPORTERS:
        raise StudioError(f"There is no format {name!r}; use one of {', '.join(EXPORTERS)}.")
    return EXPORTERS[name]


def importer(name: str) -> Importer:
    """The importer of that name; raises `StudioError` where there is none."""
    if name not in IMPORTERS:
        raise StudioError(f"There is no format {name!r}; use one of {', '.join(IMPORTERS)}.")
    return IMPORTERS[name]
