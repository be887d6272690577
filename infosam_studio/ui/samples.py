"""The sample images that come with the app, copied to a folder of the user's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import platformdirs

from infosam_studio.resource_files import resource_path


def samples_folder() -> Path:
    """Where the user's copy lies."""
    documents = Path(platformdirs.user_documents_dir())
    base = documents if documents.is_dir() else Path(platformdirs.user_data_dir("infosam-studio"))
    return base / "InfoSAM Studio samples"


def copy_samples(folder: Path | None = None) -> Path:
    """Copy the samples to ``folder`` where they are missing; returns the folder."""
    target = folder if folder is not None else samples_folder()
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(resource_path("samples", "images").iterdir()):
        copy = target / source.name
        if not copy.exists():
            shutil.copyfile(source, copy)
    return target
