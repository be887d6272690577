"""Where the files shipped with the app lie: models, icons, guide, samples, translations."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from infosam_studio.errors import StudioError


@cache
def resource_root() -> Path:
    """Return the folder that holds the shipped files.

    In a wheel (and in a frozen build) that is `infosam_studio/_resources`; in a working tree,
    also when installed as editable, the top-level `resources` folder.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_resources", package.parent / "resources"):
        if folder.is_dir():
            return folder
    raise StudioError(
        f"The files shipped with InfoSAM Studio are missing beside {package}: install it again."
    )


def resource_path(*parts: str) -> Path:
    """Return the path of a shipped file or folder, such as `resource_path("models", "x.json")`.

    The path is not checked: whoever opens it says what is missing.
    """
    return resource_root().joinpath(*parts)
