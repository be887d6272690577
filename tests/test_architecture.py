"""The layer rules of the house: who may import whom, read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "infosam_studio"
ROOMS = ("annotation", "interchange", "segmentation", "adaptation", "ui", "commands")

# Which rooms a room may import, besides itself and the small modules at the top of the package.
MAY_IMPORT = {
    "annotation": set(),
    "interchange": {"annotation"},
    "segmentation": {"annotation"},
    "adaptation": {"annotation", "segmentation"},
    "ui": {"annotation", "interchange"},
    "commands": {"annotation", "interchange", "segmentation", "adaptation", "ui"},
}
TORCH = {"torch", "accelerate", "peft", "safetensors", "segment_anything", "transformers"}
QT = {"PySide6", "pyqtgraph", "qtawesome", "qtpy"}
MAY_NOT_LOAD = {
    "annotation": TORCH | QT,
    "interchange": TORCH | QT,
    "segmentation": QT | {"peft", "transformers", "accelerate"},
    "adaptation": QT,
    "ui": TORCH,
}
# `segment_anything` and `peft` import torchvision where they find one; we never do.
NEVER = {"torchvision", "scipy", "skimage", "matplotlib", "pandas", "sklearn"}


def source_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`ui/canvas/view.py` -> `infosam_studio.ui.canvas.view`."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Every module a file imports (also inside functions, unless `only_at_import`)."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in _at_import(tree) if only_at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            # `from infosam_studio import ui` names its module only in the list.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: no function bodies, no TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


def room_of(module: str) -> str | None:
    """The room a module of ours lies in; None for the top of the package and for libraries."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 and parts[1] in ROOMS else None


def is_worker(path: Path) -> bool:
    """The only files of the window that may import segmentation and adaptation."""
    inside = path.relative_to(PACKAGE).parts
    return inside[0] == "ui" and len(inside) > 1 and inside[1].startswith("workers")


@pytest.mark.parametrize("path", source_files(), ids=lambda path: name_of(path))
def test_imports_stay_in_their_layer(path: Path) -> None:
    room = room_of(name_of(path))
    libraries, rooms = set(), set()
    for module in imports(path):
        libraries.add(module.split(".")[0])
        other = room_of(module)
        if other is not None and other != room:
            rooms.add(other)
    assert not libraries & NEVER
    if room is None:
        return
    allowed = MAY_IMPORT[room] | ({"segmentation", "adaptation"} if is_worker(path) else set())
    assert rooms <= allowed, f"{room} may not import {sorted(rooms - allowed)}"
    forbidden = MAY_NOT_LOAD.get(room, set()) - (TORCH if is_worker(path) else set())
    assert not libraries & forbidden, f"{room} may not load {sorted(libraries & forbidden)}"


@pytest.mark.parametrize(
    "path", [p for p in source_files() if p.parent.name == "commands"], ids=lambda p: p.stem
)
def test_commands_import_lazily(path: Path) -> None:
    """`--help` and the start of the window must not wait for libraries that they do not use."""
    heavy = TORCH | QT | {"numpy", "cv2", "PIL", "tifffile"}
    for module in imports(path, only_at_import=True):
        assert module.split(".")[0] not in heavy


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def import_all(*rooms: str) -> str:
    names = [name_of(p) for p in source_files() if room_of(name_of(p)) in rooms]
    return "; ".join(f"import {name}" for name in names)


def test_annotation_and_interchange_load_neither_torch_nor_qt() -> None:
    loaded = loaded_by(import_all("annotation", "interchange"))
    assert not loaded & (TORCH | QT)


def test_segmentation_loads_neither_peft_nor_torchvision() -> None:
    loaded = loaded_by(import_all("segmentation"))
    assert "torch" in loaded
    assert not loaded & {"peft", "transformers", "accelerate", "torchvision", *QT}


def test_the_whole_window_loads_no_peft() -> None:
    """Importing peft takes seconds; only the adaptation process pays for it."""
    loaded = loaded_by(import_all("ui"))
    assert not loaded & {"peft", "transformers", "accelerate", "torchvision"}


def test_the_command_line_starts_without_libraries() -> None:
    loaded = loaded_by("from infosam_studio.cli import build_parser; build_parser()")
    assert not loaded & (TORCH | QT | {"numpy", "cv2"})


def test_cv2_is_imported_in_one_place() -> None:
    """Importing cv2 sets variables that mislead Qt; `annotation/_cv2.py` takes them back.

    Pre-training the starter model is a program of its own, never in one process with a window.
    """
    for path in source_files():
        if path.name != "_cv2.py" and path.parent.name != "pretraining":
            assert not any(module.split(".")[0] == "cv2" for module in imports(path)), path


def test_a_layer_break_would_be_noticed(tmp_path: Path) -> None:
    """The rule reads every form of import, also the lazy ones."""
    source = tmp_path / "example.py"
    source.write_text(
        "import torch.nn as nn\nfrom infosam_studio import ui\n"
        "def f():\n    from infosam_studio.adaptation.losses import info\n"
    )
    assert [room_of(m) for m in imports(source)] == [None, "ui", "adaptation"]
    assert "torch.nn" in set(imports(source))
    assert "infosam_studio.adaptation.losses.info" not in set(imports(source, only_at_import=True))


def test_no_other_top_level_folder() -> None:
    """The house has five rooms at the top; a sixth is a decision, not an accident."""
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git working tree")
    folders = {line.split("/")[0] for line in tracked.stdout.splitlines() if "/" in line}
    visible = {folder for folder in folders if not folder.startswith(".")}
    assert visible <= {"infosam_studio", "resources", "tests", "packaging"}
