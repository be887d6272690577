"""All tools of a canvas."""

from __future__ import annotations

from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.document import Document
from infosam_studio.ui.drafting import Drafting
from infosam_studio.ui.editing import Editing
from infosam_studio.ui.tools.base import Tool
from infosam_studio.ui.tools.brush import BrushRing, BrushTool, EraserTool
from infosam_studio.ui.tools.polygon import PolygonTool
from infosam_studio.ui.tools.prompt import BoxTool, PromptTool
from infosam_studio.ui.tools.strokes import CutTool, LassoTool, ScribbleTool
from infosam_studio.ui.workers_inference import Inference


def make_tools(
    view: CanvasView,
    layers: CanvasLayers,
    document: Document,
    drafting: Drafting,
    editing: Editing,
    inference: Inference,
) -> list[Tool]:
    """One of each, in the order of the tool rail."""
    ring = BrushRing()
    view.scene().addItem(ring)
    return [
        PromptTool(view, layers, document, drafting, inference),
        BoxTool(view, layers, document, drafting, inference),
        LassoTool(view, layers, drafting),
        ScribbleTool(view, layers, drafting),
        BrushTool(view, layers, editing, ring),
        EraserTool(view, layers, editing, ring),
        PolygonTool(view, layers, editing),
        CutTool(view, layers, editing),
    ]
