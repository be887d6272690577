"""The tools of the canvas by name, and the one that is active."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal

from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.tools.base import Tool


class Toolset(QObject):
    """Holds every tool; `use` makes one active."""

    changed = Signal(object)

    def __init__(self, view: CanvasView) -> None:
        super().__init__(view)
        self._view = view
        self._tools: dict[str, Tool] = {}

    def add(self, tool: Tool) -> None:
        """Make a tool available under its name."""
        self._tools[tool.name] = tool

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def __getitem__(self, name: str) -> Tool:
        return self._tools[name]

    def all(self) -> list[Tool]:
        """Every tool."""
        return list(self._tools.values())

    @property
    def active(self) -> Tool:
        """The tool that has the pointer."""
        assert self._view.tool is not None
        return self._view.tool

    def use(self, name: str) -> None:
        """Hand the pointer to tool ``name``."""
        tool = self._tools[name]
        if self._view.tool is not tool:
            self._view.set_tool(tool)
            self.changed.emit(tool)
