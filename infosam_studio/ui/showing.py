"""The current image on the canvas: read, adjusted, and told about while that takes a while."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QObject, Signal, Slot

from infosam_studio.ui.adjusting import NEUTRAL, Adjuster, Values, lookup
from infosam_studio.ui.canvas.layers import CanvasLayers
from infosam_studio.ui.canvas.picture import LargePicture, Levels, Picture
from infosam_studio.ui.canvas.view import CanvasView
from infosam_studio.ui.document import Document
from infosam_studio.ui.inference_messages import ImageJob
from infosam_studio.ui.reading import Reader
from infosam_studio.ui.status import StatusLine
from infosam_studio.ui.toast import Toast


class Showing(QObject):
    """`want` asks for an image; ``shown`` tells that it is on the canvas."""

    shown = Signal(object)

    def __init__(
        self,
        document: Document,
        view: CanvasView,
        layers: CanvasLayers,
        status: StatusLine,
        toast: Toast,
        cache_dir: Path | None,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._document, self._view, self._layers = document, view, layers
        self._status, self._toast = status, toast
        self.reader = Reader(self, cache_dir=cache_dir)
        self.adjuster = Adjuster(self)
        self.picture: Picture | LargePicture | None = None
        self._telling = False
        self.reader.ready.connect(self._show)
        self.reader.failed.connect(self._show_unreadable)
        self.reader.progress.connect(self._show_progress)
        self.adjuster.ready.connect(self._show_adjusted)
        view.picture.tiles.failed.connect(self._tiles_failed)

    def want(self, job: ImageJob | None, ahead: tuple[ImageJob, ...] = ()) -> None:
        """The image to show now, None for none, and those likely to be next."""
        self._quiet()
        self.reader.want(job, ahead)
        if job is None:
            self.clear()

    def clear(self) -> None:
        """An empty canvas."""
        self.picture = None
        self._view.show_picture(None)
        self._status.show_picture(None)

    @Slot(object)
    def _show(self, picture: Picture | LargePicture) -> None:
        if picture.image_id != self._document.current_id:
            return
        self._quiet()
        # Of the same image other channels are shown: it stays where it is.
        same = self.picture is not None and self.picture.image_id == picture.image_id
        self.picture = picture
        self._view.show_picture(picture, keep_view=same)
        if self.adjuster.values != NEUTRAL:
            self._adjust_now()
        self._layers.picture_changed()
        self._status.show_picture(picture, self._view.picture.tiles.value_at)
        self._status.show_zoom(self._view.zoom)
        self.shown.emit(picture)

    @Slot(object)
    def adjust(self, values: Values) -> None:
        """Show the picture with this brightness, contrast and gamma."""
        self.adjuster.values = values
        picture = self.picture
        if picture is not None and picture.image_id == self._document.current_id:
            self._adjust_now()

    def _adjust_now(self) -> None:
        picture, values = self.picture, self.adjuster.values
        if isinstance(picture, LargePicture):
            table = None if values == NEUTRAL else lookup(values)
            self._view.picture.show_tiles(picture.pyramid, table)
        elif picture is not None:
            self.adjuster.show(picture)

    @Slot(object)
    def _show_adjusted(self, found: tuple[int, Levels]) -> None:
        image_id, levels = found
        whole = isinstance(self.picture, Picture)
        if whole and image_id == self._document.current_id and self._view.image_size[0]:
            self._view.picture.show_levels(levels, *self._view.image_size)

    # what takes a while, and what fails -----------------------------------------------------

    @Slot(int, float)
    def _show_progress(self, image_id: int, share: float) -> None:
        record = self._document.image(image_id)
        if record is None or image_id != self._document.current_id or self.picture_is(image_id):
            return
        if not self._telling:
            self._telling = True
            self.clear()  # the image before would pass for this one
        size = f"{record.width:,} × {record.height:,}".replace(",", "\N{THIN SPACE}")
        text = f"Preparing an image of {size} pixels: {share:.0%}. This happens once."
        self._toast.tell(text, kind="info")

    def picture_is(self, image_id: int) -> bool:
        """Whether this image is on the canvas."""
        return self.picture is not None and self.picture.image_id == image_id

    def _quiet(self) -> None:
        if self._telling:
            self._telling = False
            self._toast.hide()

    @Slot(int, str)
    def _show_unreadable(self, image_id: int, problem: str) -> None:
        if image_id == self._document.current_id:
            self._telling = False
            self.clear()
            self._toast.tell(problem, kind="error")

    @Slot(str)
    def _tiles_failed(self, problem: str) -> None:
        """Damaged tiles are thrown away: opening the image builds them anew."""
        picture = self.picture
        if isinstance(picture, LargePicture):
            self.reader.discard(picture)
            self.clear()
            self._toast.tell(problem, kind="error")

    def close(self) -> None:
        """End the threads."""
        self.reader.close()
        self.adjuster.close()
        self._view.picture.tiles.close()
