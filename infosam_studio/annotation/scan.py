"""Bringing image files into a project, and finding them again when they were moved or replaced.

Files are known by their content (SHA-256), so a moved or renamed file keeps its labels.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from infosam_studio.annotation.images import ImageInfo, content_hash, list_images, probe_image
from infosam_studio.annotation.store import Store

Progress = Callable[[int, int], object]
Cancelled = Callable[[], bool]

MISSING = "the file is missing"
_FLUSH_SECONDS = 0.25  # how long found images wait before they are in the project
# New images are shown as the project's images are (`Project.set_view`).
_INSERT = (
    "INSERT OR IGNORE INTO images (path, page, sha256, width, height, problem, file_size, "
    "file_mtime, view) VALUES (?, ?, ?, ?, ?, ?, ?, ?, "
    "COALESCE((SELECT json_extract(value, '$') FROM settings WHERE key = 'view'), ''))"
)


@dataclass(frozen=True)
class FileFacts:
    """What was found out about one file; ``sha256`` is "" where it could not be read."""

    path: str
    sha256: str
    size: int
    mtime: int
    info: ImageInfo


@dataclass
class ScanReport:
    """What a scan changed, as paths relative to the images root."""

    added: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    found_again: list[str] = field(default_factory=list)


def relative_path(path: Path, root: Path) -> str:
    """The path as the project keeps it: posix, relative to ``root`` where that is possible."""
    try:
        text = Path(os.path.relpath(path, root)).as_posix()
    except ValueError:  # another drive on Windows
        text = path.absolute().as_posix()
    # A name that is no valid text (bytes from another system) cannot be kept in a database.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def absolute_path(path: str, root: Path) -> Path:
    """The file a kept path means."""
    return root / PurePosixPath(path)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def examine(path: Path, root: Path) -> FileFacts:
    """Look at one file: its header and its content's hash; never raises."""
    name = relative_path(path, root)
    info = probe_image(path)
    size = mtime = -1
    digest = ""
    try:
        stat = path.stat()
        size, mtime = stat.st_size, stat.st_mtime_ns
        digest = content_hash(path)
    except OSError as error:
        info = ImageInfo(path, problem=info.problem or f"it cannot be read ({error.strerror})")
    if not _is_text(str(path)):
        info = ImageInfo(path, problem="its name is not valid text; rename the file")
    return FileFacts(name, digest, size, mtime, info)


def add_files(
    store: Store,
    root: Path,
    paths: Iterable[Path],
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> list[str]:
    """Add the files that are not in the project yet; the kept paths of all files looked at.

    Images are committed several times a second while the work goes on, so the list of images
    can fill; stopping early keeps what was added so far.
    """
    wanted = list(paths)
    known = {row["path"] for row in store.rows("SELECT DISTINCT path FROM images")}
    seen: list[str] = []
    found: list[FileFacts] = []
    flushed = time.monotonic()
    for number, path in enumerate(wanted):
        if cancelled is not None and cancelled():
            break
        name = relative_path(path, root)
        seen.append(name)
        if name not in known:
            found.append(examine(path, root))
        if found and time.monotonic() - flushed > _FLUSH_SECONDS:
            _insert(store, found)
            found, flushed = [], time.monotonic()
        if progress is not None:
            progress(number + 1, len(wanted))
    _insert(store, found)
    return seen


def _insert(store: Store, found: list[FileFacts]) -> None:
    if found:
        with store.transaction() as db:
            db.executemany(_INSERT, [row for facts in found for row in _rows(facts)])


def _rows(facts: FileFacts) -> Iterator[tuple[object, ...]]:
    info = facts.info
    for page in range(info.pages):
        width, height = info.page_sizes[page] if info.page_sizes else (info.width, info.height)
        yield (
            facts.path,
            page,
            facts.sha256,
            width,
            height,
            info.problem,
            facts.size,
            facts.mtime,
        )


def scan(
    store: Store,
    root: Path,
    *,
    listed: bool = False,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> ScanReport:
    """Compare the project with the files below ``root``: new, moved, replaced, missing ones.

    With ``listed`` the project's images were named one by one, so no others are taken in.
    """
    report = ScanReport()
    known = _known_files(store)
    unlooked = listed and all(absolute_path(name, root).is_file() for name in known)
    below = [] if unlooked else list_images(root)
    present = {relative_path(path, root): path for path in below}
    for name in known.keys() - present.keys():
        path = absolute_path(name, root)
        if path.is_file():  # outside the root, or of a kind that is not listed by itself
            present[name] = path
    lost = {name: known[name] for name in known if name not in present}
    new = [path for name, path in present.items() if name not in known]
    _check_known(store, root, {n: known[n] for n in known if n in present}, present, report)
    new = _match_moved(store, root, new, lost, report, cancelled)
    if not listed:
        names = add_files(store, root, new, progress=progress, cancelled=cancelled)
        report.added += names
    with store.transaction() as db:
        for name, row in lost.items():
            if row["problem"] != MISSING:
                report.missing.append(name)
                db.execute("UPDATE images SET problem = ? WHERE path = ?", (MISSING, name))
    return report


def _known_files(store: Store) -> dict[str, sqlite3.Row]:
    rows = store.rows(
        "SELECT path, sha256, file_size, file_mtime, problem FROM images GROUP BY path"
    )
    return {row["path"]: row for row in rows}


def _check_known(
    store: Store,
    root: Path,
    known: dict[str, sqlite3.Row],
    present: dict[str, Path],
    report: ScanReport,
) -> None:
    """Look again at files whose size or time changed, or which were missing."""
    for name, row in known.items():
        stat = present[name].stat()
        same = (stat.st_size, stat.st_mtime_ns) == (row["file_size"], row["file_mtime"])
        # What an optional part of the installation reads may be readable by now.
        hopeless = row["problem"] is None or "pip install" not in row["problem"]
        if same and row["problem"] != MISSING and hopeless:
            continue
        facts = examine(present[name], root)
        if row["problem"] == MISSING:
            report.found_again.append(name)
        if facts.sha256 != row["sha256"]:
            report.replaced.append(name)
        with store.transaction() as db:
            _replace(db, facts)


def _replace(db: sqlite3.Connection, facts: FileFacts) -> None:
    """Bring a file's rows up to date; labels stay, with a problem where they cannot fit."""
    pages = {row[1]: row for row in _rows(facts)}
    rows = db.execute(
        "SELECT id, page, width, height, "
        "EXISTS (SELECT 1 FROM objects WHERE image_id = images.id) AS labelled "
        "FROM images WHERE path = ?",
        (facts.path,),
    ).fetchall()
    for row in rows:
        fresh = pages.get(row["page"])
        problem = facts.info.problem
        width, height = (row["width"], row["height"]) if fresh is None else fresh[3:5]
        if fresh is None:
            problem = problem or "the file has fewer pages now"
        elif row["labelled"] and (width, height) != (row["width"], row["height"]):
            problem = problem or (
                f"the file was replaced by one of {width} x {height} pixels, which the labels of "
                f"{row['width']} x {row['height']} do not fit"
            )
            width, height = row["width"], row["height"]
        db.execute(
            "UPDATE images SET sha256 = ?, width = ?, height = ?, problem = ?, file_size = ?, "
            "file_mtime = ? WHERE id = ?",
            (facts.sha256, width, height, problem, facts.size, facts.mtime, row["id"]),
        )
    db.executemany(_INSERT, list(pages.values()))


def _match_moved(
    store: Store,
    root: Path,
    new: list[Path],
    lost: dict[str, sqlite3.Row],
    report: ScanReport,
    cancelled: Cancelled | None,
) -> list[Path]:
    """Give missing files the new paths of files with their content; the files left over."""
    by_size: defaultdict[int, list[str]] = defaultdict(list)
    for name, row in lost.items():
        if row["sha256"]:
            by_size[row["file_size"]].append(name)
    left = []
    for path in new:
        candidates = by_size.get(path.stat().st_size, [])
        if not candidates or (cancelled is not None and cancelled()):
            left.append(path)
            continue
        facts = examine(path, root)
        old = next((n for n in candidates if lost[n]["sha256"] == facts.sha256), None)
        if old is None:
            left.append(path)
            continue
        candidates.remove(old)
        del lost[old]
        report.moved.append((old, facts.path))
        with store.transaction() as db:
            db.execute("UPDATE images SET path = ? WHERE path = ?", (facts.path, old))
            _replace(db, facts)
    return left
