"""Everything that belongs to one open project: document, canvas, tools, panels, threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QSettings, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QVBoxLayout, QWidget

from infosam_studio.annotation.project import Project
from infosam_studio.annotation.pyramid_store import is_large
from infosam_studio.annotation.regions import choose_region
from infosam_studio.annotation.tiled_view import TiledView
from infosam_studio.ui.actions import Actions
from infosam_studio.ui.adapting import Adapting
from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.minimap import Minimap
from infosam_studio.ui.canvas.parked import ParkedLayer
from infosam_studio.ui.canvas.picture import LargePicture, Picture
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.document import Document
from infosam_studio.ui.drafting import Drafting
from infosam_studio.ui.editing import Editing
from infosam_studio.ui.inference_messages import (
    Answer,
    EncodeState,
    LoadModel,
    ModelState,
    SetCurrent,
    SetRegion,
)
from infosam_studio.ui.loop import Loop
from infosam_studio.ui.options_bar import OptionsBar
from infosam_studio.ui.panels.card import gain_in_clicks
from infosam_studio.ui.panels.channels import ChannelsBox
from infosam_studio.ui.panels.classes import ClassesPanel
from infosam_studio.ui.panels.frame import Panel
from infosam_studio.ui.panels.history import HistoryPanel
from infosam_studio.ui.panels.images import ImagesPanel
from infosam_studio.ui.panels.labour import LabourPanel
from infosam_studio.ui.panels.look import LookPanel
from infosam_studio.ui.panels.model import ModelPanel
from infosam_studio.ui.panels.objects import ObjectsPanel
from infosam_studio.ui.rewinding import Rewinding
from infosam_studio.ui.showing import Showing
from infosam_studio.ui.status import StatusLine
from infosam_studio.ui.thumbnails import Thumbnails
from infosam_studio.ui.toast import Toast
from infosam_studio.ui.tools.base import Tool
from infosam_studio.ui.tools.brush import BrushTool
from infosam_studio.ui.tools.making import make_tools
from infosam_studio.ui.tools.prompt import PromptTool
from infosam_studio.ui.toolset import Toolset
from infosam_studio.ui.workers_adapt import Ended
from infosam_studio.ui.workers_inference import Inference, PredictorMaker, make_predictor

ENCODE_AHEAD = 4
READ_AHEAD = 2
LOOK_AFTER_MS = 180
DEFAULT_MODEL = "starter"


class Workbench(QObject):
    """Built when a project opens, closed with it."""

    picture_shown = Signal(object)
    mask_shown = Signal(object)
    image_ready = Signal(int)
    model_ready = Signal(object)

    def __init__(
        self,
        project: Project,
        window: QWidget,
        status: StatusLine,
        settings: QSettings,
        actions: Actions,
        *,
        maker: PredictorMaker = make_predictor,
    ) -> None:
        super().__init__(window)
        self.settings = settings
        self.status = status
        self.document = Document(project, self)
        cache = None if project.read_only else project.cache_dir
        self.inference = Inference(maker=maker, cache_dir=cache, parent=self)
        self._look_timer = QTimer(self)
        self._look_timer.setSingleShot(True)
        self._look_timer.setInterval(LOOK_AFTER_MS)
        self._opened = (0, "")
        self._encoded_later: SetCurrent | None = None
        self.thumbnails = Thumbnails(self)
        self.thumbnails.cache_dir = cache
        self.drafting = Drafting(self.document, self.inference, self)
        self.page = QWidget(window)
        self.view = CanvasView()
        self.options = OptionsBar()
        self.toast = Toast(self.view)
        self._lay_out()
        self.layers = CanvasLayers(self.view, self.document, self.drafting)
        self.parked = ParkedLayer(self.view, self.layers, self.document, self.drafting)
        self.showing = Showing(
            self.document, self.view, self.layers, status, self.toast, cache, self
        )
        self.minimap = Minimap(self.view, settings)
        actions["minimap"].setChecked(self.minimap.wanted)
        self.showing.shown.connect(self.minimap.show_picture)
        self.editing = Editing(self.document, self.drafting, self.layers, self)
        self.editing.told.connect(self._note)
        self.tools = Toolset(self.view)
        self._add_tools()
        self.images = ImagesPanel(self.document, self.thumbnails, window)
        self.objects = ObjectsPanel(self.document, window)
        self.classes = ClassesPanel(self.document, window)
        self.rewinding = Rewinding(self.document, self.toast, self)
        self.history = HistoryPanel(self.document, self.rewinding, window)
        self.look = LookPanel(self.layers, settings, window)
        self.channels = ChannelsBox(self.document, self.look)
        self.look.add_section("Channels and window", self.channels)
        self.labour = LabourPanel(self.document, window)
        chosen = project.setting("model") or settings.value("model", DEFAULT_MODEL)
        self.model = str(chosen)
        self.adapting = Adapting(self.document, self.inference, self.model, self)
        self.model_panel = ModelPanel(self.adapting, actions["adapt"], window)
        self.loop = Loop(self, actions, window)
        self._connect()
        self.model_phase = "loading"
        self.ready_image: int | None = None
        self.inference.submit(LoadModel(self.model, self.adapting.folder_of(self.adapting.in_use)))

    def _lay_out(self) -> None:
        column = QVBoxLayout(self.page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.options)
        column.addWidget(self.view, 1)

    def _add_tools(self) -> None:
        for tool in make_tools(
            self.view, self.layers, self.document, self.drafting, self.editing, self.inference
        ):
            self.tools.add(tool)
            if isinstance(tool, BrushTool):
                tool.size_changed.connect(self.options.show_brush_size)

    def _connect(self) -> None:
        self.document.current_changed.connect(self._open_current)
        self.document.image_changed.connect(self._view_changed)
        self.document.images_changed.connect(self._view_changed)
        self.document.failed.connect(self._complain)
        self.drafting.refused.connect(self._note)
        self.drafting.changed.connect(self._show_draft)
        self.drafting.answered.connect(self._show_answer)
        self.showing.shown.connect(self._picture_shown)
        self.inference.model_state.connect(self._model_state)
        self.inference.encode_state.connect(self._encode_state)
        self.view.zoomed.connect(self.status.show_zoom)
        self.view.moved.connect(self._look_timer.start)
        self._look_timer.timeout.connect(self.look_closer)
        self.view.pointer_moved.connect(self.status.show_pointer)
        self.options.candidate_chosen.connect(self.drafting.choose)
        self.options.accept_wanted.connect(self.drafting.accept)
        self.options.cancel_wanted.connect(self.drafting.cancel)
        self.options.hover_toggled.connect(self._set_hover)
        self.options.brush_resized.connect(self._set_brush_size)
        self.tools.changed.connect(self._tool_changed)
        self.adapting.told.connect(self.tell)
        self.adapting.finished.connect(self._adapted)
        self.drafting.accepted.connect(self.adapting.automatic.object_accepted)
        self.look.adjusted.connect(self.showing.adjust)
        self.images.state_wanted.connect(self.set_image_state)
        self.objects.refine_wanted.connect(self.drafting.refine)
        self.objects.zoom_wanted.connect(self.zoom_to_selected)
        self.objects.delete_wanted.connect(self.delete_selected)

    def upper_panels(self) -> tuple[Panel, ...]:
        """The stack at the top right: what is on this image."""
        return (self.objects, self.loop.panel, self.history)

    def lower_panels(self) -> tuple[Panel, ...]:
        """The stack at the bottom right: what holds for all images."""
        return (self.classes, self.model_panel, self.look, self.labour)

    def right_panels(self) -> tuple[Panel, ...]:
        """The docks on the right, from the top."""
        return (*self.upper_panels(), *self.lower_panels())

    # start and end -----------------------------------------------------------------------

    def start(self, first: Path | None) -> None:
        """Show the image asked for, or the one with the unfinished object, or the first to do."""
        self.tools.use("prompt")
        self.options.hover.setChecked(self.settings.value("hover", "true") == "true")
        self.document.open_image(self._first_image(first))
        self.view.setFocus()
        if self.drafting.restored_image is not None:
            self.toast.tell("Your unfinished object is back where you left it.")

    def _first_image(self, wanted: Path | None) -> int | None:
        records = self.document.images()
        if wanted is not None:
            for record in records:
                if self.document.project.image_path(record) == wanted.absolute():
                    return record.id
        if self.drafting.restored_image is not None:
            return self.drafting.restored_image
        last = self.document.project.setting("last_image")
        if any(record.id == last for record in records):
            return int(last)
        good = [record for record in records if not record.problem]
        return good[0].id if good else None

    def close(self) -> None:
        """Keep the unfinished object, end the threads, close the project."""
        self.rewinding.close()
        self.drafting.save()
        project = self.document.project
        if not project.read_only and self.document.current_id is not None:
            project.set_setting("last_image", self.document.current_id)
        self.loop.close()
        self.adapting.close()
        self.inference.close()
        self.showing.close()
        self.thumbnails.close()
        self.channels.close_thread()
        project.close()

    # images ------------------------------------------------------------------------------

    @Slot()
    def _open_current(self) -> None:
        record = self.document.current
        self._opened = (record.id, record.view) if record is not None else (0, "")
        if record is None or record.problem:
            self.showing.want(None)
            self.inference.submit(SetCurrent(None))
            if record is not None:
                self.toast.tell(str(record.problem), kind="warning")
            return
        following = [self.document.image(one) for one in self.images.following(ENCODE_AHEAD)]
        jobs = tuple(self.document.job(one) for one in following if one and not one.problem)
        job = self.document.job(record)
        self.ready_image = None
        self.status.show_region(None)
        large = is_large(job.width, job.height)
        # Huge images are encoded from their tiles, so these have to be there first.
        self.inference.submit(SetCurrent(None) if large else SetCurrent(job, jobs))
        self._encoded_later = SetCurrent(job, jobs) if large else None
        self.showing.want(job, jobs[:READ_AHEAD])

    @Slot()
    def _view_changed(self) -> None:
        """Read and encode the current image again where other channels are to be shown."""
        record = self.document.current
        if record is not None and record.id == self._opened[0] and record.view != self._opened[1]:
            self._open_current()

    @property
    def picture(self) -> Picture | LargePicture | None:
        """The picture on the canvas."""
        return self.showing.picture

    @Slot(object)
    def _picture_shown(self, picture: Picture | LargePicture) -> None:
        waiting, self._encoded_later = self._encoded_later, None
        if waiting is not None and waiting.job and isinstance(picture, LargePicture):
            job = replace(waiting.job, pixels=TiledView(picture.pyramid))
            self.inference.submit(replace(waiting, job=job))
        self.picture_shown.emit(picture)

    @Slot(int, str)
    def set_image_state(self, image_id: int, state: str) -> None:
        """Commit a state from the image list's menu; ``excluded`` toggles training use."""
        record = self.document.image(image_id)
        if record is None:
            return
        if state == "excluded":
            fields: dict[str, object] = {"excluded": not record.excluded}
        else:
            fields = {"state": state, "fully_labelled": state in ("done", "empty")}
        self.document.guarded(self.document.update_image, image_id, **fields)

    # model -------------------------------------------------------------------------------

    @Slot(object)
    def _model_state(self, state: ModelState) -> None:
        self.model_phase = state.phase
        self.status.show_model(state)
        if state.problem:
            self.toast.tell(state.problem, kind="error")
        if state.phase == "failed":
            return
        if state.phase == "ready":
            self.drafting.looking.input_size = state.input_size
            self.drafting.ask_again()
            self.look_closer()
            self.model_ready.emit(state)

    @Slot()
    def look_closer(self) -> None:
        """Choose the part of the image that the model looks at from what is in view."""
        image_id = self.document.current_id
        looking = self.drafting.looking
        input_size = looking.input_size
        if image_id is None or not input_size or not self.view.image_size[0]:
            return
        seen = self.view.visible_rect()
        edges = (seen.left(), seen.top(), seen.right(), seen.bottom())
        region = None
        if looking.closely:
            region = choose_region(edges, *self.view.image_size, input_size)
        if region != looking.region:
            looking.region = region
            self.status.show_region(region)
            self.inference.submit(SetRegion(image_id, region))

    @Slot(object)
    def _encode_state(self, state: EncodeState) -> None:
        if state.current and state.image_id == self.document.current_id:
            self.status.show_encoding(state)
            if state.region is not None:
                return
            if state.phase == "ready":
                self.ready_image = state.image_id
                self.image_ready.emit(state.image_id)
            elif state.phase == "failed":
                self.toast.tell(state.problem, kind="error")

    @Slot(str, str)
    def tell(self, text: str, kind: str) -> None:
        """A message from a part of the workbench."""
        self.toast.tell(text, kind=kind)

    @Slot(object)
    def _adapted(self, ended: Ended) -> None:
        if ended.result is None:
            if not ended.cancelled:
                self.toast.tell(ended.problem, kind="warning" if ended.offered else "error")
            return
        name = ended.result["adapter"]
        if ended.offered:
            self.model_panel.raise_()
            self.toast.tell(f"{name} was finished while nobody looked: see the Model panel.")
        elif self.adapting.in_use == name:
            text = f"{name} is in use: {gain_in_clicks(ended.result)}"
            self.toast.tell(text, action="roll_back", label="Roll back")
        else:
            self.toast.tell(f"{name} stays unused: the Model panel says why.")

    # draft -------------------------------------------------------------------------------

    @Slot()
    def _show_draft(self) -> None:
        self.options.show_draft(self.drafting.draft, self.drafting.count)

    @Slot(object)
    def _show_answer(self, answer: Answer) -> None:
        self.status.show_latency(answer.milliseconds)
        self.mask_shown.emit(answer)

    @Slot(str)
    def _complain(self, text: str) -> None:
        self.toast.tell(text, kind="error")

    @Slot(str)
    def _note(self, text: str) -> None:
        self.toast.tell(text)

    # tools -------------------------------------------------------------------------------

    @Slot(object)
    def _tool_changed(self, tool: Tool) -> None:
        self.options.show_tool(tool.hint, brush=tool.has_size, hover=tool.name == "prompt")
        if isinstance(tool, BrushTool):
            self.options.show_brush_size(tool.size)

    @Slot(bool)
    def _set_hover(self, enabled: bool) -> None:
        self.settings.setValue("hover", "true" if enabled else "false")
        tool = self.tools["prompt"]
        if isinstance(tool, PromptTool):
            tool.set_hover(enabled)

    @Slot(int)
    def _set_brush_size(self, size: int) -> None:
        """Brush and eraser share their size."""
        for tool in self.tools.all():
            if isinstance(tool, BrushTool) and tool.size != size:
                tool.set_size(size)

    # selection ---------------------------------------------------------------------------

    @Slot()
    def delete_selected(self) -> None:
        """Delete the selected objects (undo brings them back)."""
        selected = self.document.selected
        if selected:
            self.document.guarded(self.document.delete_objects, selected)
            many = f"{len(selected)} objects" if len(selected) > 1 else "Object"
            self.toast.tell(f"{many} deleted.", action="undo", label="Undo")

    @Slot()
    def zoom_to_selected(self) -> None:
        """Show the selected objects large."""
        rect = self.layers.rect_of(self.document.selected)
        if not rect.isEmpty():
            self.view.fit_rect(rect)

    def focus_canvas(self) -> None:
        """Give the keyboard to the canvas."""
        self.view.setFocus(Qt.FocusReason.OtherFocusReason)
