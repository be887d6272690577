"""The versions of the model in the open project: which is in use, swapping, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.errors import StudioError
from infosam_studio.ui.document import Document
from infosam_studio.ui.inference_messages import LoadModel, ModelState, UseAdapter
from infosam_studio.ui.workers_images import Done, TaskThread
from infosam_studio.ui.workers_inference import Inference
from infosam_studio.ui.workers_versions import (
    IN_USE,
    MODEL,
    VersionRow,
    VersionTask,
    present_checkpoints,
)

# What was in use before, the newest last: rolling back goes from the end to the beginning.
EARLIER = "adapters_before"
KEPT_EARLIER = 20


class Versions(QObject):
    """The list is read on a thread; which version is in use is a setting of the project."""

    changed = Signal()
    listed = Signal()
    told = Signal(str, str)

    def __init__(
        self, document: Document, inference: Inference, model: str, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._document, self._inference, self.model = document, inference, model
        self.rows: list[VersionRow] = []
        self.bases: list[str] = []
        self._tasks = TaskThread("versions", self)
        self._tasks.done.connect(self._take)
        inference.model_state.connect(self._model_state)

    @property
    def in_use(self) -> str | None:
        """The version in use, None for the base model."""
        name = self._document.project.setting(IN_USE)
        return str(name) if name else None

    def folder_of(self, name: str | None) -> Path | None:
        """The folder of a version."""
        return self._document.project.adapters_dir / name if name else None

    def row(self, name: str | None) -> VersionRow | None:
        """What is known about a version."""
        return next((one for one in self.rows if one.name == name), None)

    def names(self) -> list[str]:
        """The versions that lie on the disk now, damaged ones too."""
        folder = self._document.project.adapters_dir
        if not folder.is_dir():
            return []
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[:1] != ".")

    # using and going back ----------------------------------------------------------------

    def use(self, name: str | None) -> None:
        """Swap to a version (None: the base model) between two predictions."""
        before = self.in_use
        if name != before and self._swap(name):
            self._set_earlier([*self._earlier(), before][-KEPT_EARLIER:])

    def roll_back(self) -> str | None:
        """Use the version that was in use before; returns what is in use now."""
        earlier, here = self._earlier(), self.in_use
        there = {None, *self.names()}
        while earlier:
            name = earlier.pop()
            if name in there and name != here:
                if self._swap(name):
                    self._set_earlier(earlier)
                return self.in_use
        if here is not None and self._swap(None):
            self._set_earlier([])
        return self.in_use

    def before(self) -> str | None:
        """The version that rolling back would use, None for the base model."""
        there = {None, *self.names()}
        found = [name for name in self._earlier() if name in there and name != self.in_use]
        return found[-1] if found else None

    @property
    def can_roll_back(self) -> bool:
        """Whether there is anything to go back to."""
        return self.in_use is not None or bool(self._earlier())

    def _swap(self, name: str | None) -> bool:
        if not self._keep(IN_USE, name):
            return False
        row = self.row(name)
        if row is not None and row.checkpoint and row.checkpoint != self.model:
            # A version brings the base model it was made for.
            self.model = row.checkpoint
            self._keep(MODEL, self.model)
            self._inference.submit(LoadModel(self.model, self.folder_of(name)))
        else:
            self._inference.submit(UseAdapter(self.folder_of(name)))
        self.changed.emit()
        return True

    @Slot(object)
    def _model_state(self, state: ModelState) -> None:
        """What the inference thread really uses counts, also where a swap has failed."""
        if state.phase != "ready":
            return
        if not self.bases:
            self.refresh_bases()
            self._change("" if self._document.project.read_only else "tidy")
        name = state.folder.name if state.folder is not None else None
        if name == self.in_use and state.name == self.model:
            return
        self.model = state.name
        if not self._document.project.read_only:
            self._keep(IN_USE, name)
            self._keep(MODEL, self.model)
        self.changed.emit()

    def load_model(self, name: str) -> None:
        """Load another base model, without any version on it."""
        self._inference.submit(LoadModel(name))

    def _earlier(self) -> list[str | None]:
        stored = self._document.project.setting(EARLIER)
        return list(stored) if isinstance(stored, list) else []

    def _set_earlier(self, names: Sequence[str | None]) -> None:
        self._keep(EARLIER, list(names))

    def _keep(self, key: str, value: Any) -> bool:
        if self._document.project.read_only:
            return key in (IN_USE, MODEL) and self._complain()
        try:
            self._document.project.set_setting(key, value)
        except StudioError as problem:
            self.told.emit(str(problem), "error")
            return False
        return True

    def _complain(self) -> bool:
        self.told.emit("This project is read-only: versions cannot be changed here.", "warning")
        return False

    # changing ----------------------------------------------------------------------------

    def refresh_bases(self) -> None:
        """Look again which base models are on this machine."""
        self._tasks.submit(("bases", ()), present_checkpoints)

    def refresh(self) -> None:
        """Read the list of versions again."""
        self._change("")

    def rename(self, name: str, new: str) -> None:
        """Give a version another name."""
        if new != name:
            self._change("rename", name, new)

    def annotate(self, name: str, text: str) -> None:
        """Keep a remark with a version."""
        self._change("annotate", name, text)

    def delete(self, name: str) -> None:
        """Delete a version; where it is in use, the base model takes over first."""
        if self.in_use == name and not self._swap(None):
            return
        self._change("delete", name)

    def export(self, name: str, out: Path) -> None:
        """Copy a version to a folder, or to a zip where ``out`` ends so."""
        self._change("export", name, out)

    def import_version(self, source: Path) -> None:
        """Take in a version from a folder or zip."""
        self._change("import_version", source)

    def _change(self, action: str, *arguments: Any) -> None:
        task = VersionTask(self._document.project, action, *arguments)
        self._tasks.submit((action, arguments), task)

    @Slot(object)
    def _take(self, done: Done) -> None:
        action, arguments = done.key
        if done.error is not None:
            self.told.emit(str(done.error), "error")
            return
        if action == "bases":
            self.bases = done.result
            self.changed.emit()
            return
        self.rows, result = done.result
        if action == "rename" and self.in_use == arguments[1]:
            # The same weights under another name: objects made from now on carry it.
            self._inference.submit(UseAdapter(self.folder_of(arguments[1])))
        told = {
            "export": f"Exported to {result}.",
            "import_version": f"Imported as {result}. It is not in use yet.",
            "delete": f"{arguments[0] if arguments else ''} is deleted.",
        }
        if action in told:
            self.told.emit(told[action], "info")
        self.changed.emit()
        self.listed.emit()

    def close(self) -> None:
        """End the thread."""
        self._tasks.close()
