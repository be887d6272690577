"""The command line's promises: quick help, exit status, one JSON object, one line of error."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from infosam_studio import cli
from infosam_studio.console import ProgressBar, human_lines, json_text
from infosam_studio.errors import StudioError

COMMANDS = (
    "open", "init", "import", "export", "adapt", "evaluate", "predict", "segment", "models",
    "adapters", "bench", "doctor", "relocate",
)  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infosam_studio", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, time; start = time.process_time()\n"
        "from infosam_studio.cli import main; main(['--help'])\n"
        "heavy = {'torch', 'PySide6', 'cv2', 'numpy', 'PIL'} & set(sys.modules)\n"
        "print(sorted(heavy), time.process_time() - start, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, seconds = done.stderr.rsplit(" ", 1)
    assert heavy == "[]"
    assert float(seconds) < 0.3
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["exprot"], ["init"], ["init", "p", "--images", "x", "--bad"],
     ["evaluate", "p", "--clicks", "0"],
     ["import", "p", "x", "--format", "svg"], ["export", "p"]],
)  # fmt: skip
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "usage:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("infosam-studio ")


def test_a_failure_is_one_line_and_status_1(tmp_path: Path) -> None:
    done = run("import", str(tmp_path), "labels.json", "--format", "coco", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert str(tmp_path) in done.stderr


def test_a_path_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main([str(tmp_path / "missing")]) == 1
    assert "nothing at" in capsys.readouterr().err


@pytest.fixture
def with_handler(monkeypatch: pytest.MonkeyPatch) -> object:
    """`with_handler(f)`: a command `try` that calls f."""

    def install(handler: object) -> None:
        def add_parsers(subparsers: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
            subparsers.add_parser("try").set_defaults(handler=handler)

        module = ModuleType("infosam_studio.commands.tried")
        module.add_parsers = add_parsers  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(cli, "COMMAND_MODULES", ("gone", "tried", "open"))

    return install


def test_json_is_alone_on_stdout(with_handler: object, capsys: pytest.CaptureFixture[str]) -> None:
    def handler(_args: argparse.Namespace) -> dict[str, object]:
        print("a library chats")
        return {"a": float("nan"), "b": [Path("x")], "c": "ü"}

    with_handler(handler)  # type: ignore[operator]
    assert cli.main(["try", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"a": None, "b": ["x"], "c": "ü"}
    assert captured.out.count("\n") == 1
    assert "chats" in captured.err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StudioError("The disk\nis full."), "infosam-studio: The disk is full.\n"),
        (KeyboardInterrupt(), "infosam-studio: Stopped.\n"),
        (ZeroDivisionError("oh"), "infosam-studio: ZeroDivisionError: oh (--verbose shows"),
    ],
)
def test_every_error_is_one_line(
    with_handler: object,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    line: str,
) -> None:
    def handler(_args: argparse.Namespace) -> dict[str, object]:
        raise error

    with_handler(handler)  # type: ignore[operator]
    assert cli.main(["try", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)


def test_results_for_people() -> None:
    result = {
        "summary": "All went well.",
        "noc85": 3.14159,
        "before": {"box_miou": 0.5},
        "rows": [{"name": "a", "n": 1, "sha256": "ab" * 32}, {"name": "longer", "n": None}],
        "none": None,
        "list": [1, 2],
    }
    assert human_lines(result) == [
        "All went well.",
        "noc85: 3.142",
        "before:",
        "  box miou: 0.5",
        "rows:",
        "  name    n  sha256",
        "  a       1  abababababab…",
        "  longer  -  -",
        "none: -",
        "list: 1, 2",
    ]
    assert json.loads(json_text(result)) == result


def test_what_does_not_fit_on_a_line_follows_below() -> None:
    rows = [{"name": "a", "text": "long " * 30}, {"name": "b", "text": ""}]
    assert human_lines({"rows": rows}) == [
        "rows:",
        "  a",
        f"    text: {'long ' * 30}",
        "  b",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_after_two_seconds_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    terminal, pipe = Terminal(), io.StringIO()
    bars = [ProgressBar("Reading", terminal), ProgressBar("Reading", pipe)]
    for second in range(5):
        now[0] = float(second)
        for bar in bars:
            bar(second, 8)
    for bar in bars:
        bar.close()
    assert pipe.getvalue() == ""
    assert terminal.getvalue().count("Reading [") == 3
    assert "4/8, 4 s left" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
