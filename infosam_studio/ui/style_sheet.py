"""The one style sheet, filled with the colours of a theme."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infosam_studio.ui.theme import Tokens

_SHEET = Template(
    """
QMainWindow, QDialog { background: $window; }
QMainWindow::separator { background: $window; width: 5px; height: 5px; }
QMainWindow::separator:hover { background: $border; }
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 5px 7px; }

QDockWidget { color: $muted; font-weight: 600; }
QDockWidget > QWidget { background: $panel; }
QWidget#panelTitle { background: $panel; border-bottom: 1px solid $border; }
QWidget#panelTitle QLabel { font-weight: 600; color: $text; }
QWidget#panelTitle QLabel#count { font-weight: 400; color: $muted; }
QWidget#panelBody, QWidget#page { background: $panel; }

QToolBar { background: $panel; border: none; border-bottom: 1px solid $border;
  padding: 4px 8px; spacing: 2px; }
QToolBar#tools { border-bottom: none; border-right: 1px solid $border; padding: 8px 4px;
  spacing: 3px; }
QToolBar::separator { background: $border; width: 1px; height: 1px; margin: 6px; }
QToolButton { background: transparent; color: $text; border: 1px solid transparent;
  border-radius: 6px; padding: 5px 8px; }
QToolBar#tools QToolButton { padding: 7px; }
QToolButton:hover { background: $hover; }
QToolButton:pressed { background: $pressed; }
QToolButton:checked { background: $selected; color: $text; }
QToolButton:disabled { color: $faint; }
QToolButton:focus { border: 1px solid $accent; }
QToolButton::menu-indicator { image: none; }
QToolButton#small { padding: 3px; }

QPushButton { background: $raised; color: $text; border: 1px solid $border;
  border-radius: 6px; padding: 6px 14px; min-height: 18px; }
QPushButton:hover { background: $hover; }
QPushButton:pressed { background: $pressed; }
QPushButton:focus { border: 1px solid $accent; }
QPushButton:disabled { color: $faint; background: $panel; }
QPushButton[kind="primary"] { background: $accent; color: $on_accent; border-color: $accent;
  font-weight: 600; }
QPushButton[kind="primary"]:hover { background: $accent_hover; }
QPushButton[kind="primary"]:disabled { background: $pressed; color: $faint;
  border-color: $pressed; }
QPushButton[kind="link"] { background: transparent; border: 1px solid transparent;
  color: $accent; padding: 3px 6px; text-align: left; }
QPushButton[kind="link"]:hover { background: $hover; }
QPushButton[kind="link"]:focus { border: 1px solid $accent; }
QPushButton[kind="card"] { text-align: left; padding: 12px 16px; border-radius: 9px; }
QPushButton[kind="card"]:hover { border-color: $accent; background: $raised; }

QLineEdit, QSpinBox, QDoubleSpinBox, QComboBox, QPlainTextEdit { background: $raised;
  color: $text; border: 1px solid $border; border-radius: 6px; padding: 5px 7px;
  selection-background-color: $accent; selection-color: $on_accent; }
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus,
QPlainTextEdit:focus { border-color: $accent; }
QAbstractSpinBox::up-button, QAbstractSpinBox::down-button { width: 0; height: 0; border: none; }
QComboBox::drop-down { border: none; width: 18px; }
QComboBox::down-arrow { image: url($arrow); width: 10px; height: 10px; }
QComboBox QAbstractItemView { background: $raised; color: $text; border: 1px solid $border;
  outline: none; selection-background-color: $selected; selection-color: $text; }

QListView, QTreeView, QTableView { background: $panel; color: $text; outline: none;
  border: 1px solid transparent; border-radius: 4px;
  selection-background-color: $selected; selection-color: $text; }
QListView::item, QTreeView::item { padding: 5px 6px; border-radius: 5px; }
QListView::item:hover, QTreeView::item:hover { background: $hover; }
QListView::item:selected, QTreeView::item:selected { background: $selected; color: $text; }
QListView:focus, QTreeView:focus, QTableView:focus { border-color: $accent; }
QHeaderView::section { background: $panel; color: $muted; border: none;
  border-bottom: 1px solid $border; padding: 5px; }

QMenuBar { background: $panel; color: $text; border: none; padding: 1px 4px; }
QMenuBar::item { padding: 5px 9px; border-radius: 5px; background: transparent; }
QMenuBar::item:selected { background: $hover; }
QMenu { background: $raised; color: $text; border: 1px solid $border; padding: 5px; }
QMenu::item { padding: 6px 26px 6px 10px; border-radius: 5px; }
QMenu::item:selected { background: $selected; }
QMenu::item:disabled { color: $faint; }
QMenu::separator { height: 1px; background: $border; margin: 5px 6px; }
QMenu::icon { padding-left: 8px; }

QStatusBar { background: $panel; color: $muted; border-top: 1px solid $border; }
QStatusBar::item { border: none; }
QStatusBar QLabel { color: $muted; padding: 2px 6px; }

QScrollBar:vertical { background: transparent; width: 11px; margin: 2px; }
QScrollBar:horizontal { background: transparent; height: 11px; margin: 2px; }
QScrollBar::handle { background: $pressed; border-radius: 3px; min-height: 28px;
  min-width: 28px; }
QScrollBar::handle:hover { background: $faint; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }

QProgressBar { background: $pressed; border: none; border-radius: 3px; max-height: 6px;
  min-height: 6px; }
QProgressBar::chunk { background: $accent; border-radius: 3px; }
QSlider:horizontal { min-height: 20px; }
QSlider::groove:horizontal { background: $pressed; height: 4px; border-radius: 2px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2px; }
QSlider::handle:horizontal { background: $raised; border: 1px solid $faint; width: 14px;
  margin: -6px 0; border-radius: 7px; }
QSlider::handle:horizontal:focus { border: 2px solid $accent; }
QSlider:disabled { color: $faint; }

QTabBar::tab { background: transparent; color: $muted; padding: 6px 12px;
  border-bottom: 2px solid transparent; }
QTabBar::tab:selected { color: $text; border-bottom: 2px solid $accent; }
QTabBar::tab:hover { color: $text; }
QTabWidget::pane { border: none; }
QCheckBox, QRadioButton { color: $text; spacing: 8px; background: transparent; }
QCheckBox::indicator { width: 14px; height: 14px; border: 1px solid $faint; border-radius: 4px;
  background: $raised; }
QCheckBox::indicator:hover { border-color: $accent; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; image: url($tick); }
QCheckBox:focus, QRadioButton:focus { color: $accent; }
QGroupBox { border: 1px solid $border; border-radius: 8px; margin-top: 10px; padding: 10px; }
QLabel { background: transparent; }
QLabel[role="muted"] { color: $muted; }
QLabel[role="title"] { color: $text; font-size: 22pt; font-weight: 600; }
QLabel[role="heading"] { color: $text; font-size: 12pt; font-weight: 600; }
QLabel[role="bad"] { color: $bad; }
QLabel[role="good"] { color: $good; }
QLabel[role="warn"] { color: $warn; }
QLabel[role="key"] { background: $raised; border: 1px solid $border; border-radius: 4px;
  padding: 1px 6px; color: $text; }
QFrame#toast { background: $raised; border: 1px solid $border; border-radius: 9px; }
QFrame#options { background: $panel; border: none; border-bottom: 1px solid $border; }
QFrame#card { background: $raised; border: 1px solid $border; border-radius: 9px; }
QScrollArea, QScrollArea > QWidget > QWidget { background: $panel; }
QFrame#rule { background: $border; border: none; }
QGraphicsView { border: none; background: $canvas; }
"""
)


def style_sheet(tokens: Tokens) -> str:
    """The application's style sheet in the colours of ``tokens``."""
    from infosam_studio.ui.icons import arrow_file, tick_file

    values = {key: getattr(tokens, key) for key in tokens.__dataclass_fields__}
    return _SHEET.substitute(
        values, arrow=arrow_file(tokens.muted), tick=tick_file(tokens.on_accent)
    )
