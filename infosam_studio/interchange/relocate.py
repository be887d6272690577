"""Finding a project's images again after their folder was moved or renamed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from infosam_studio.annotation.images import content_hash, list_images
from infosam_studio.annotation.model import ImageRecord
from infosam_studio.annotation.project import Project
from infosam_studio.errors import StudioError
from infosam_studio.interchange.reports import (
    IsCancelled,
    Progress,
    counted,
    never,
    no_progress,
    stop_if,
)


@dataclass
class RelocationReport:
    """Which images were found below the new folder, and which are still missing."""

    folder: Path
    found: int = 0
    added: int = 0
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        parts = [f"{counted(self.found, 'image')} found in {self.folder}"]
        if self.added:
            parts.append(f"{self.added} new")
        if self.missing:
            parts.append(f"{len(self.missing)} still missing")
        return ", ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        return {
            "summary": self.summary,
            "found": self.found,
            "added": self.added,
            "missing": self.missing,
            "seconds": round(self.seconds, 3),
        }


def relocate(
    project: Project,
    folder: Path,
    *,
    progress: Progress = no_progress,
    cancelled: IsCancelled = never,
) -> RelocationReport:
    """Look for the project's images below `folder`, by content, and read them there from now on.

    Labels stay with their images whatever those are called now. Raises `StudioError`, with
    nothing changed, where none of the project's images is there.
    """
    started = time.monotonic()
    if not folder.is_dir():
        raise StudioError(f"{folder} is not a folder; name the folder where the images are now.")
    images = project.images()
    if not any(True for _ in _known_files(folder, images, cancelled)):
        raise StudioError(
            f"None of the project's {counted(len(images), 'image')} is in {folder}; "
            "name another folder."
        )
    before = {i.id for i in images}
    project.set_images_root(folder)
    scanned = project.scan(progress=progress, cancelled=cancelled)
    after = project.images()
    missing = [i.path for i in after if i.id in before and not project.image_path(i).is_file()]
    report = RelocationReport(folder, len(before) - len(missing), len(scanned.added), missing)
    report.seconds = time.monotonic() - started
    return report


def _known_files(folder: Path, images: list[ImageRecord], cancelled: IsCancelled) -> Iterator[Path]:
    """Files below the folder with the content of one of the images, likely names first."""
    hashes = {i.sha256 for i in images if i.sha256}
    names = {PurePosixPath(i.path).name for i in images}
    files = list_images(folder)
    for path in sorted(files, key=lambda p: p.name not in names):
        stop_if(cancelled)
        try:
            if content_hash(path) in hashes:
                yield path
        except OSError:
            continue
