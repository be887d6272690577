"""Where a project lies: beside its images, or with the user where that cannot be written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath
from typing import Final

import platformdirs

from infosam_studio.annotation.store_errors import ProjectError

DATABASE: Final = "project.db"
SUFFIX: Final = ".infosam"

# File systems of other machines (and of a host, under a virtual machine): memory shared between
# processes, which the write-ahead log needs, does not work across them.
_NETWORK: Final = frozenset(
    {
        "9p",
        "acfs",
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "drvfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs3",
        "nfs4",
        "prl_fs",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "vmhgfs",
        "webdav",
        "fuse.davfs",
        "fuse.davfs2",
        "fuse.glusterfs",
        "fuse.gvfsd-fuse",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "fuse.vmhgfs-fuse",
    }
)


def is_project(folder: Path) -> bool:
    """Whether the folder is a project."""
    # Unlike pathlib's, this is no error where the name is longer than names may be.
    return os.path.isfile(folder / DATABASE)


def project_folders(images: Path) -> list[Path]:
    """Where the project of a folder of images may lie, the preferred place first."""
    images = images.resolve()
    beside = images.with_name(images.name + SUFFIX) if images.name else images / SUFFIX[1:]
    return [beside, _in_user_data(images)]


def _in_user_data(images: Path) -> Path:
    # The name alone would not do: many folders are called "images". A long one is cut, so that
    # there is always a name a file system accepts.
    number = hashlib.sha256(os.fsencode(images)).hexdigest()[:10]
    name = "".join(c if c.isalnum() or c in " ._-" else "_" for c in images.name[:40]) or "images"
    root = Path(platformdirs.user_data_dir("infosam-studio", appauthor=False))
    return root / "projects" / f"{name}-{number}{SUFFIX}"


def make_writable(folder: Path) -> bool:
    """Make the folder and see, by trying, whether files can be made in it."""
    made = not os.path.exists(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return False


def find_project(path: Path) -> tuple[Path, Path | None]:
    """The project folder for what the user opened, and the images root where it is to be made.

    ``path`` is a project, a folder of images, or an image (which stands for its folder).
    ProjectError where there is nothing at ``path``.
    """
    if not os.path.exists(path):
        raise ProjectError(f"{path} does not exist; choose a folder of images or a project.")
    if path.is_file():
        path = path.parent if path.name != DATABASE else path
    folder = path.parent if path.is_file() else path
    if is_project(folder):
        return folder, None
    if folder.name.endswith(SUFFIX):
        raise ProjectError(
            f"{folder} holds no {DATABASE}; restore it from a backup, or choose the folder of "
            "images to begin anew."
        )
    places = project_folders(folder)
    for place in places:
        if is_project(place):
            return place, None
    return find_place(places[0], places[1])[0], folder


def find_place(folder: Path, otherwise: Path | None = None) -> tuple[Path, bool]:
    """Where a project that should lie in ``folder`` lies or can be made, and whether it is there.

    ProjectError where neither that folder nor the user's data folder can be written.
    """
    places = [folder, otherwise or _in_user_data(folder)]
    for place in places:
        if is_project(place):
            return place, True
    for place in places:
        if make_writable(place):
            return place, False
    raise ProjectError(
        f"Neither {places[0]} nor {places[1]} can be written; free some space or allow writing "
        "in one of them."
    )


if sys.platform == "win32":

    def supports_wal(folder: Path) -> bool:
        """Whether SQLite's write-ahead log may be used in the folder: not on a network drive."""
        import ctypes

        drive = folder.resolve().drive
        remote = 4  # DRIVE_REMOTE
        kind = ctypes.windll.kernel32.GetDriveTypeW(drive + "\\")
        return not drive.startswith("\\\\") and kind != remote

else:

    def supports_wal(folder: Path) -> bool:
        """Whether SQLite's write-ahead log may be used in the folder: not on a network drive."""
        try:
            mounts = _mounts()
        except (OSError, subprocess.SubprocessError):
            return True
        return file_system(folder.resolve(), mounts) not in _NETWORK

    def _mounts() -> dict[str, str]:
        linux = Path("/proc/self/mountinfo")
        if linux.exists():
            return parse_mountinfo(linux.read_text("utf-8", "replace"))
        listing = subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, check=True, timeout=5
        )
        return parse_mount_command(listing.stdout)


def parse_mountinfo(text: str) -> dict[str, str]:
    """Linux: mount point → file system, from the text of /proc/self/mountinfo."""
    mounts = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) > 4 and right:
            point = fields[4].encode("latin-1", "replace").decode("unicode_escape")
            mounts[point] = right.split()[0]
    return mounts


def parse_mount_command(text: str) -> dict[str, str]:
    """macOS: mount point → file system, from what `mount` prints."""
    mounts = {}
    for line in text.splitlines():
        _, _, rest = line.partition(" on ")
        point, _, options = rest.rpartition(" (")
        if point:
            mounts[point] = options.split(",")[0].rstrip(")")
    return mounts


def file_system(folder: Path, mounts: dict[str, str]) -> str:
    """The file system of the innermost mount point above the folder, "" where none is known."""
    here = PurePosixPath(folder.as_posix())
    for candidate in (here, *here.parents):
        found = mounts.get(str(candidate))
        if found is not None:
            return found
    return ""
