"""One question before something that cannot be taken back."""

from __future__ import annotations

from PySide6.QtWidgets import QMessageBox, QWidget


def confirm(parent: QWidget, title: str, text: str, *, yes: str, no: str = "Cancel") -> bool:
    """Ask; False where the user does not want it. Enter answers no."""
    box = QMessageBox(QMessageBox.Icon.Question, title, text, parent=parent)
    agreed = box.addButton(yes, QMessageBox.ButtonRole.DestructiveRole)
    refused = box.addButton(no, QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(refused)
    box.setEscapeButton(refused)
    box.exec()
    answer = box.clickedButton() is agreed
    box.deleteLater()
    return answer
