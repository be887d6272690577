"""The app in a process of its own, adapting; somebody else kills it.

Usage: adapting_app.py PROJECT [STAGE]. Prints one JSON object per line: the child's process id,
then every stage. With STAGE the window freezes there, so that it never hears how the run ends.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from PySide6.QtCore import QTimer

from infosam_studio.ui.app import application, make_window


def say(**data: object) -> None:
    print(json.dumps(data), flush=True)


class Driver:
    """Opens the project, presses the button, and reports."""

    def __init__(self, project: Path, freeze_at: str) -> None:
        self._freeze_at, self._stage = freeze_at, ""
        self.window = make_window()
        self.window.project_opened.connect(self.start)
        self.window.open_path(project)

    def start(self, bench: object) -> None:
        assert self.window.bench is not None
        self._adapting = self.window.bench.adapting
        self._adapting.changed.connect(self.look)
        self._adapting.finished.connect(lambda ended: say(ended=ended.problem or "result"))
        assert self._adapting.start()
        self._timer = QTimer()
        self._timer.timeout.connect(self.look)
        self._timer.start(20)

    def look(self) -> None:
        child = self._adapting.process_id
        if self._timer.isActive() and child is not None:
            self._timer.stop()
            say(child=child)
        run = self._adapting.run
        if run is not None and run.stage != self._stage:
            self._stage = run.stage
            say(stage=run.stage)
            if run.stage == self._freeze_at:
                time.sleep(600)


if __name__ == "__main__":
    app = application()
    driver = Driver(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
    raise SystemExit(app.exec())
