"""The model manager: which models there are, what each is good for, getting and removing them."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QDialog,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from infosam_studio.ui.dialogs.model_details import ModelDetails, size_text, state_text
from infosam_studio.ui.models import Models

NAME_ROLE = int(Qt.ItemDataRole.UserRole)
FILES = "Checkpoints (*.pth *.pt *.safetensors);;All files (*)"


class ModelManager(QDialog):
    """Not modal: labelling goes on while it downloads. Shows whatever `Models` knows."""

    use_wanted = Signal(str)
    proposal_wanted = Signal(str, str)

    def __init__(self, models: Models, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Models")
        self._models = models
        self._in_use = ""
        self.list = QListWidget()
        self.list.setAccessibleName("Models")
        self.list.setFixedWidth(290)
        self.list.setSpacing(1)
        self.list.currentItemChanged.connect(self._chosen)
        self.details = ModelDetails(models)
        self.details.use_wanted.connect(self.use_wanted)
        self.advice = AdviceStrip(models)
        self.advice.get_wanted.connect(self._get)
        self.advice.use_wanted.connect(self.proposal_wanted)
        self.add_button = QPushButton("I have the file…")
        self.add_button.setToolTip("Use a .pth, .pt or .safetensors file where it lies")
        self.add_button.clicked.connect(self._ask_file)
        self.network = NetworkForm(models)
        self.network.hide()
        self._network_button = QPushButton("Proxy and mirror")
        self._network_button.setProperty("kind", "link")
        self._network_button.setCheckable(True)
        self._network_button.toggled.connect(self.network.setVisible)
        self._told, self._place = QLabel(), QLabel()
        self._lay_out()
        models.changed.connect(self._show)
        models.added.connect(self.choose)
        self.resize(980, 660)
        self._show()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 14)
        column.setSpacing(10)
        column.addWidget(self.advice)
        middle = QHBoxLayout()
        middle.setSpacing(14)
        middle.addWidget(self.list)
        room = QScrollArea()
        room.setFrameShape(QFrame.Shape.NoFrame)
        room.setWidgetResizable(True)
        room.setWidget(self.details)
        middle.addWidget(room, 1)
        column.addLayout(middle, 1)
        self._told.setWordWrap(True)
        column.addWidget(self._told)
        column.addWidget(self.network)
        foot = QHBoxLayout()
        foot.addWidget(self.add_button)
        foot.addWidget(self._network_button)
        self._place.setProperty("role", "muted")
        foot.addWidget(self._place, 1)
        close = QPushButton("Close")
        close.clicked.connect(self.close)
        foot.addWidget(close)
        column.addLayout(foot)

    def show_in_use(self, name: str, *, project: bool) -> None:
        """Which model is in use, and whether a project is open to choose for."""
        self._in_use = name
        self.details.show_in_use(name, project=project)
        self.advice.show_in_use(name)
        self._show()

    @Slot(str)
    def choose(self, name: str) -> None:
        """Show the details of a model."""
        for number in range(self.list.count()):
            if self.list.item(number).data(NAME_ROLE) == name:
                self.list.setCurrentRow(number)

    @Slot()
    def _show(self) -> None:
        listing = self._models.listing
        if listing is None:
            self._place.setText("Looking at the models…")
            return
        names = [row.name for row in listing.rows]
        if names != [self.list.item(n).data(NAME_ROLE) for n in range(self.list.count())]:
            self._fill(names)
        for number, row in enumerate(listing.rows):
            fetching = self._models.fetching.get(row.name)
            state = "in use" if row.name == self._in_use else state_text(row, fetching)
            self.list.item(number).setText(f"{row.name}\n{size_text(row.size_bytes)}  ·  {state}")
        self._place.setText(f"{size_text(listing.free_bytes)} free")
        self._place.setToolTip(str(listing.folder))
        text, kind = self._models.notes.get("", ("", ""))
        self._told.setText(self._models.busy.get("", text))
        self._told.setProperty("role", kind or "muted")
        self._told.style().polish(self._told)
        self._told.setVisible(bool(self._told.text()))
        self.advice.show_proposal()

    def _fill(self, names: list[str]) -> None:
        item = self.list.currentItem()
        chosen = item.data(NAME_ROLE) if item is not None else self._in_use
        self.list.clear()
        for name in names:
            line = QListWidgetItem(name)
            line.setData(NAME_ROLE, name)
            line.setSizeHint(QSize(0, 52))
            self.list.addItem(line)
        self.choose(chosen)
        if self.list.currentRow() < 0:
            self.list.setCurrentRow(0)

    @Slot()
    def _chosen(self) -> None:
        item = self.list.currentItem()
        self.details.show_model(item.data(NAME_ROLE) if item is not None else "")

    @Slot()
    def _ask_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Use a checkpoint", "", FILES)
        if path:
            self._models.add(Path(path))

    @Slot(str)
    def _get(self, name: str) -> None:
        self.choose(name)
        self._models.get(name)


class AdviceStrip(QFrame):
    """What suits this machine, and one button to have it so."""

    get_wanted = Signal(str)
    use_wanted = Signal(str, str)

    def __init__(self, models: Models) -> None:
        super().__init__()
        self.setObjectName("card")
        self._models, self._in_use = models, ""
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.button = QPushButton()
        self.button.clicked.connect(self._pressed)
        self.again = QPushButton("Measure again")
        self.again.setProperty("kind", "link")
        self.again.clicked.connect(models.measure)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 10, 10, 10)
        row.addWidget(self.text, 1)
        row.addWidget(self.button)
        row.addWidget(self.again)

    def show_in_use(self, name: str) -> None:
        """The model that needs no recommending."""
        self._in_use = name

    def show_proposal(self) -> None:
        """Follow what was measured."""
        models = self._models
        proposal = models.listing.proposal if models.listing else None
        self.again.setEnabled(not models.measuring)
        self.button.setVisible(proposal is not None)
        if models.measuring:
            self.text.setText("Measuring this machine for a few seconds…")
        elif proposal is None:
            self.text.setText(models.measure_problem or "This machine was not measured yet.")
        else:
            row = models.row(proposal.model)
            ready = row is not None and row.state == "ready"
            verb = "Use" if ready else "Download"
            self.button.setText(f"{verb} {proposal.model}")
            useless = proposal.model == self._in_use or proposal.model in models.fetching
            self.button.setVisible(not useless)
            self.text.setText(
                f"Suits this machine: <b>{proposal.model}</b>, {proposal.adaptation} adaptation. "
                f"It takes about {proposal.text}."
            )

    @Slot()
    def _pressed(self) -> None:
        proposal = self._models.listing.proposal if self._models.listing else None
        if proposal is None:
            return
        row = self._models.row(proposal.model)
        if row is not None and row.state == "ready":
            self.use_wanted.emit(proposal.model, proposal.adaptation)
        else:
            self.get_wanted.emit(proposal.model)


class NetworkForm(QWidget):
    """Proxy and mirror, kept as they are typed."""

    def __init__(self, models: Models) -> None:
        super().__init__()
        self._models = models
        self.proxy, self.mirror = QLineEdit(models.proxy), QLineEdit(models.mirror)
        self.proxy.setPlaceholderText("Proxy: the system's, or http://host:port")
        self.mirror.setPlaceholderText("Mirror: the publishers, or https://host/folder")
        self.proxy.setAccessibleName("Proxy")
        self.mirror.setAccessibleName("Mirror")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for field in (self.proxy, self.mirror):
            row.addWidget(field)
            field.textChanged.connect(self._keep)

    @Slot()
    def _keep(self) -> None:
        self._models.set_network(self.proxy.text(), self.mirror.text())
