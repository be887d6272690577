"""Where projects lie, and on which drives."""

from __future__ import annotations

from pathlib import Path

import pytest
from annotation_helpers import write_images

from infosam_studio.annotation.places import (
    file_system,
    parse_mount_command,
    parse_mountinfo,
    project_folders,
    supports_wal,
)
from infosam_studio.annotation.project import Project, ProjectError

MOUNTINFO = """\
22 27 0:20 / /proc rw,nosuid shared:13 - proc proc rw
27 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
40 27 0:35 / /mnt/lab rw shared:9 - nfs4 server:/lab rw
41 27 0:36 / /mnt/my\\040share rw,relatime - cifs //server/share rw
42 40 254:2 / /mnt/lab/local rw - xfs /dev/vdb rw
43 27 0:37 / /home/x/sftp rw - fuse.sshfs x@y: rw
"""
MOUNT = """\
/dev/disk1s1 on / (apfs, local, journaled)
//x@server/data on /Volumes/data (smbfs, nodev, nosuid, mounted by x)
/dev/disk2 on /Volumes/My (old) Disk (hfs, local)
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/x/images", "ext4"),
        ("/mnt/lab/a/b", "nfs4"),
        ("/mnt/lab", "nfs4"),
        ("/mnt/laboratory", "ext4"),
        ("/mnt/lab/local/c", "xfs"),
        ("/mnt/my share/d", "cifs"),
        ("/home/x/sftp/y", "fuse.sshfs"),
    ],
)
def test_linux_mounts(folder: str, kind: str) -> None:
    assert file_system(Path(folder), parse_mountinfo(MOUNTINFO)) == kind


def test_macos_mounts() -> None:
    mounts = parse_mount_command(MOUNT)

    assert file_system(Path("/Users/x"), mounts) == "apfs"
    assert file_system(Path("/Volumes/data/a"), mounts) == "smbfs"
    assert file_system(Path("/Volumes/My (old) Disk/a"), mounts) == "hfs"
    assert file_system(Path("/a"), {}) == ""


def test_this_drive_takes_the_log(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", tmp_path) as project:
        assert supports_wal(tmp_path) == project._store.wal


def test_a_folder_of_images_gets_its_project_beside_it(images: Path) -> None:
    with Project.for_path(images) as project:
        assert project.folder == images.with_name("images.infosam")
        assert project.images_root == images
        assert project.adapters_dir == project.folder / "adapters"
        assert project.cache_dir == project.folder / "cache"
        assert project.images() == []
        project.scan()
    for again in (images, images / "2.png", project.folder, project.folder / "project.db"):
        with Project.for_path(again) as reopened:
            assert reopened.folder == project.folder
            assert len(reopened.images()) == 4
    assert sorted(p.name for p in images.iterdir()) == [f"{k}.png" for k in range(4)]


def test_where_nothing_can_be_made_beside_it_the_project_goes_to_the_user(tmp_path: Path) -> None:
    # No name for a project beside it: ".infosam" would make it longer than names may be.
    images = tmp_path / ("n" * 250)
    write_images(images, 1)
    with Project.for_path(images) as project:
        assert project.folder == project_folders(images)[1]
        assert "infosam-studio" in project.folder.parts
        assert len(project.folder.name) < 70
        project.scan()
    with Project.for_path(images) as again:
        assert again.folder == project.folder
        assert again.images_root == images
        assert len(again.images()) == 1
    other = tmp_path / ("n" * 251)
    assert project_folders(other)[1] != project.folder


def test_what_is_no_project_is_refused_with_a_sentence(tmp_path: Path, images: Path) -> None:
    with pytest.raises(ProjectError, match="does not exist"):
        Project.for_path(tmp_path / "nowhere")
    with pytest.raises(ProjectError, match="is not a project"):
        Project.open(images)
    (tmp_path / "lost.infosam").mkdir()
    with pytest.raises(ProjectError, match="backup"):
        Project.for_path(tmp_path / "lost.infosam")
    Project.create(tmp_path / "p", images).close()
    with pytest.raises(ProjectError, match="project already"):
        Project.create(tmp_path / "p", images)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProjectError, match="cannot be written"):
        Project.create(tmp_path / "file" / "p", images)


def test_the_files_of_a_half_made_project_do_not_disturb(images: Path) -> None:
    folder = images.with_name("images.infosam")
    folder.mkdir()
    (folder / "project.db.new").write_bytes(b"half")
    (folder / "project.lock").write_text('{"pid": 1, "host"')
    with Project.for_path(images) as project:
        assert project.scan().added
    assert not (folder / "project.db.new").exists()
