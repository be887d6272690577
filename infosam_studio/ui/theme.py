"""Light and dark: colour tokens, palette, style sheet and the live switch."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QObject, QSettings, Qt, Signal, Slot
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

from infosam_studio.ui.style_sheet import style_sheet


@dataclass(frozen=True)
class Tokens:
    """Every colour the interface uses, by meaning."""

    name: str
    window: str
    panel: str
    raised: str
    canvas: str
    text: str
    muted: str
    faint: str
    border: str
    hover: str
    pressed: str
    selected: str
    accent: str
    accent_hover: str
    on_accent: str
    good: str
    warn: str
    bad: str


LIGHT = Tokens(
    name="light",
    window="#f4f5f7",
    panel="#fbfbfc",
    raised="#ffffff",
    canvas="#d5d8dd",
    text="#1b1f24",
    muted="#5b626c",
    faint="#7a818c",
    border="#dfe2e7",
    hover="#e9ecf0",
    pressed="#dde1e7",
    selected="#dfe7fb",
    accent="#3457d5",
    accent_hover="#2a49ba",
    on_accent="#ffffff",
    good="#1a7f52",
    warn="#9a6700",
    bad="#c2303a",
)

DARK = Tokens(
    name="dark",
    window="#17191d",
    panel="#1c1f24",
    raised="#25292f",
    canvas="#0f1013",
    text="#e7e9ec",
    muted="#a0a7b1",
    faint="#7c838e",
    border="#2c3037",
    hover="#2a2e35",
    pressed="#343942",
    selected="#2b3a63",
    accent="#6d8dff",
    accent_hover="#86a1ff",
    on_accent="#0d1224",
    good="#4cc38a",
    warn="#e2a336",
    bad="#ff6b72",
)

CHOICES = ("system", "light", "dark")


class Theme(QObject):
    """The theme in force; ``changed`` tells widgets which paint themselves or hold icons."""

    changed = Signal(object)

    def __init__(self, app: QApplication, settings: QSettings) -> None:
        super().__init__(app)
        self._app = app
        self._settings = settings
        self.tokens = LIGHT
        stored = str(settings.value("theme", "system"))
        self.choice = stored if stored in CHOICES else "system"
        hints = QGuiApplication.styleHints()
        # Queued: the palette is still being replaced while this signal is delivered.
        hints.colorSchemeChanged.connect(self._system_changed, Qt.ConnectionType.QueuedConnection)
        self._apply()

    def choose(self, choice: str) -> None:
        """Switch to ``system``, ``light`` or ``dark`` at once and remember it."""
        if choice not in CHOICES:
            raise ValueError(choice)
        self.choice = choice
        self._settings.setValue("theme", choice)
        self._apply()

    def toggle(self) -> None:
        """From light to dark and back."""
        self.choose("light" if self.tokens is DARK else "dark")

    @Slot()
    def _system_changed(self) -> None:
        if self.choice == "system":
            self._apply()

    def _apply(self) -> None:
        self.tokens = DARK if self._wants_dark() else LIGHT
        self._app.setPalette(_palette(self.tokens))
        self._app.setStyleSheet(style_sheet(self.tokens))
        import qtawesome

        qtawesome.reset_cache()
        self.changed.emit(self.tokens)

    def _wants_dark(self) -> bool:
        """The choice; with ``system`` the platform's scheme, light where it tells none."""
        if self.choice != "system":
            return self.choice == "dark"
        return QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark


def _palette(tokens: Tokens) -> QPalette:
    """An own palette, since setting the colour scheme does nothing on bare X11 or offscreen."""
    role = QPalette.ColorRole
    colours = {
        role.Window: tokens.window,
        role.WindowText: tokens.text,
        role.Base: tokens.raised,
        role.AlternateBase: tokens.panel,
        role.Text: tokens.text,
        role.Button: tokens.panel,
        role.ButtonText: tokens.text,
        role.BrightText: tokens.bad,
        role.ToolTipBase: tokens.raised,
        role.ToolTipText: tokens.text,
        role.PlaceholderText: tokens.faint,
        role.Highlight: tokens.accent,
        role.HighlightedText: tokens.on_accent,
        role.Link: tokens.accent,
        role.Mid: tokens.border,
        role.Dark: tokens.border,
        role.Light: tokens.raised,
    }
    palette = QPalette()
    for key, value in colours.items():
        palette.setColor(key, QColor(value))
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, key, QColor(tokens.faint))
    return palette


_current: Theme | None = None


def install(app: QApplication, settings: QSettings) -> Theme:
    """Make the application's theme (once per application)."""
    global _current
    if _current is None or _current.parent() is not app:
        _current = Theme(app, settings)
    return _current


def theme() -> Theme:
    """The installed theme."""
    if _current is None:
        raise RuntimeError("theme.install() has not been called")
    return _current
