"""Brings models and window together: the manager, switching in a project, advice at the start."""

from __future__ import annotations

from PySide6.QtCore import QObject, QSettings, Signal, Slot
from PySide6.QtWidgets import QWidget

from infosam_studio.ui.dialogs.models import ModelManager
from infosam_studio.ui.inference_messages import ModelState
from infosam_studio.ui.models import Models
from infosam_studio.ui.workbench import DEFAULT_MODEL, Workbench
from infosam_studio.ui.workers_models import Proposal

SPEED = "adapt_speed"


class ModelDesk(QObject):
    """Belongs to the window; a project comes and goes with `attach`.

    ``proposed`` carries a sentence about what suits this machine, once measured.
    """

    proposed = Signal(str)

    def __init__(self, window: QWidget, settings: QSettings) -> None:
        super().__init__(window)
        self._window, self._settings = window, settings
        self.models = Models(settings, self)
        self.models.advised.connect(self._advise)
        self.models.added.connect(self._added)
        self.manager: ModelManager | None = None
        self._bench: Workbench | None = None
        self._proposal: Proposal | None = None

    def attach(self, bench: Workbench | None) -> None:
        """A project was opened, or closed (None)."""
        self._bench = bench
        if bench is not None:
            bench.model_ready.connect(self._model_ready)
            speed = bench.document.project.setting(SPEED) or self._settings.value(SPEED, "")
            self._show_speed(str(speed))
            bench.model_panel.options.speed.currentIndexChanged.connect(self._keep_speed)
            if self._proposal is not None:
                self._advise(self._proposal)
        self._show_in_use()

    @property
    def in_use(self) -> str:
        """The base model of the open project, or the one new projects get."""
        if self._bench is not None:
            return self._bench.adapting.model
        return str(self._settings.value("model", DEFAULT_MODEL))

    @Slot()
    def open(self) -> None:
        """Show the manager."""
        if self.manager is None:
            self.manager = ModelManager(self.models, self._window)
            self.manager.use_wanted.connect(self.use)
            self.manager.proposal_wanted.connect(self.use_proposal)
        self.models.advice_was_told()
        self._proposal = None  # the manager shows it: no project has to say it once more
        self.models.refresh()
        self._show_in_use()
        self.manager.show()
        self.manager.raise_()
        self.manager.activateWindow()

    @Slot()
    def begin(self) -> None:
        """At the start of the app: find out what suits this machine, in the background."""
        self.models.measure_once()

    # switching ---------------------------------------------------------------------------

    @Slot(str)
    def use(self, name: str) -> None:
        """Switch the open project to a base model; without one, choose it for new projects."""
        if self._bench is not None:
            self._bench.adapting.load_model(name)
        else:
            self._settings.setValue("model", name)
            self._show_in_use()

    @Slot(str, str)
    def use_proposal(self, name: str, adaptation: str) -> None:
        """The proposed model, and the speed of adaptation that goes with it."""
        self.use(name)
        if self._bench is None:
            self._settings.setValue(SPEED, adaptation)
        else:
            self._show_speed(adaptation)

    def _show_speed(self, speed: str) -> None:
        if self._bench is not None:
            box = self._bench.model_panel.options.speed
            box.setCurrentIndex(max(0, box.findData(speed)) if speed else box.currentIndex())

    @Slot()
    def _keep_speed(self) -> None:
        """The choice belongs to the project; what the recipe forces is no choice."""
        if self._bench is None or self._bench.document.project.read_only:
            return
        box = self._bench.model_panel.options.speed
        if box.isEnabled():
            document = self._bench.document
            document.guarded(document.project.set_setting, SPEED, box.currentData())

    @Slot(str)
    def _added(self, _name: str) -> None:
        if self._bench is not None:
            self._bench.adapting.store.refresh_bases()

    @Slot(object)
    def _model_ready(self, state: ModelState) -> None:
        self._show_in_use(state.name)

    def _show_in_use(self, name: str = "") -> None:
        if self.manager is not None:
            self.manager.show_in_use(name or self.in_use, project=self._bench is not None)

    # advice ------------------------------------------------------------------------------

    @Slot(object)
    def _advise(self, proposal: Proposal) -> None:
        """Said once in a project, and on the welcome page until it was seen there."""
        self._proposal = proposal
        if proposal.model == self.in_use:
            return
        text = f"{proposal.model} suits this machine: about {proposal.text}."
        if self._bench is None:
            self.proposed.emit(text)
            return
        self._proposal = None
        self.models.advice_was_told()
        self._bench.toast.tell(text, action="models", label="Models…")

    def close(self) -> None:
        """Stop downloads and end the threads."""
        if self.manager is not None:
            self.manager.close()
        self.models.close()
