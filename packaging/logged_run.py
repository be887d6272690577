"""Running commands quietly: their output goes to a log, only the latest news to the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

HEARTBEAT_S = 20.0


class SetupError(Exception):
    """What went wrong and what to do about it, in one line."""


def say(text: str) -> None:
    print(f"[setup] {text}", file=sys.stderr, flush=True)


def succeeds(command: Sequence[str], *, timeout: float = 60.0) -> bool:
    """Run a command silently; False also where it does not exist or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, env=clean_env())
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def clean_env() -> dict[str, str]:
    """The caller's environment without what would leak other packages into ours."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return env | {"PYTHONNOUSERSITE": "1", "PIP_USER": "0", "PYTHONUTF8": "1"}


def run_logged(command: Sequence[str], log: Path) -> bool:
    """Run a command into the log; on the terminal, only its latest news."""
    with log.open("a", encoding="utf-8") as out:
        out.write(f"\n$ {shlex.join(command)}\n")
    try:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_env(),
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as problem:
        with log.open("a", encoding="utf-8") as out:
            out.write(f"error: {problem}\n")
        return False
    news = News()
    reader = threading.Thread(target=copy_lines, args=(process, log, news), daemon=True)
    reader.start()
    try:
        while reader.is_alive():
            reader.join(0.2)
            news.show()
    except KeyboardInterrupt:
        process.terminate()
        raise
    finally:
        news.clear()
    return process.wait() == 0


def copy_lines(process: subprocess.Popen[str], log: Path, news: News) -> None:
    assert process.stdout is not None
    with log.open("a", encoding="utf-8") as out:
        for line in process.stdout:
            out.write(line)
            out.flush()
            if not line.startswith(("WARNING", "DEPRECATION")):
                news.text = line.strip()


class News:
    """The latest line of a running command: rewritten in place on a terminal, else now and then."""

    def __init__(self) -> None:
        self.text = ""
        self.terminal = sys.stderr.isatty()
        self.started = self.shown = time.monotonic()

    def show(self) -> None:
        now = time.monotonic()
        if self.terminal:
            width = max(20, shutil.get_terminal_size().columns - 1)
            line = f"        {now - self.started:4.0f} s  {self.text}"[:width]
            print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)
        elif now - self.shown > HEARTBEAT_S:
            self.shown = now
            say(f"  {now - self.started:.0f} s: {self.text[:120]}")

    def clear(self) -> None:
        if self.terminal:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def last_error(log: Path) -> str:
    """The line of pip's output that says why it failed, and where the rest is."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("ERROR:", "error:"))]
    reason = (errors or [line for line in lines if line.strip()] or ["no output"])[-1]
    return f"{reason} (all of it in {log})"
