"""The thread that supervises the child: whatever the child does, its end is told once."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infosam_studio.cli import build_parser
from infosam_studio.ui.workers_adapt import AdaptWish, Ended, Supervisor

STAND_IN = Path(__file__).with_name("stand_in_child.py")
WAIT_MS = 60_000


def supervise(qtbot: Any, tmp_path: Path, how: str) -> tuple[Supervisor, list[Ended], list[Any]]:
    """A supervisor of the stand-in, started; its ends and events as they come."""
    wish = AdaptWish(tmp_path, "starter")
    one = Supervisor(wish, program=[sys.executable, str(STAND_IN), how])
    ends: list[Ended] = []
    events: list[Any] = []
    one.ended.connect(ends.append)
    one.event_read.connect(events.append)
    one.start()
    return one, ends, events


def finish(qtbot: Any, one: Supervisor, ends: list[Ended]) -> Ended:
    qtbot.waitUntil(lambda: bool(ends), timeout=WAIT_MS)
    assert one.wait(WAIT_MS)
    qtbot.wait(1)
    assert len(ends) == 1
    return ends[0]


def test_a_good_run(qtbot: Any, tmp_path: Path) -> None:
    one, ends, events = supervise(qtbot, tmp_path, "good")
    ended = finish(qtbot, one, ends)
    assert ended.result is not None
    assert ended.result["adapter"] == "v1"
    assert not ended.interrupted
    assert "a library talks" in ended.log
    assert [event.kind for event in events] == ["progress", "finished"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fails", "cell 3.png cannot be read: put the file back."),
        ("dies", "status 7): ImportError: no torch here"),
        ("crashes", "SIGABRT"),
    ],
)
def test_every_bad_end_is_one_sentence(qtbot: Any, tmp_path: Path, how: str, words: str) -> None:
    if how == "crashes" and sys.platform == "win32":
        pytest.skip("signals have no names there")
    one, ends, _ = supervise(qtbot, tmp_path, how)
    ended = finish(qtbot, one, ends)
    assert ended.result is None
    assert not ended.cancelled
    assert words in ended.problem
    assert "\n" not in ended.problem
    assert ended.interrupted == (how != "fails")


@pytest.mark.parametrize("how", ["floods", "garbage", "leaves a child"])
def test_output_of_any_kind_does_not_block(qtbot: Any, tmp_path: Path, how: str) -> None:
    one, ends, _ = supervise(qtbot, tmp_path, how)
    ended = finish(qtbot, one, ends)
    assert ended.result is not None
    assert len(ended.log) <= 400


@pytest.mark.parametrize("how", ["obeys", "deaf"])
def test_cancelling_takes_a_second_at_most(qtbot: Any, tmp_path: Path, how: str) -> None:
    one, ends, events = supervise(qtbot, tmp_path, how)
    qtbot.waitUntil(lambda: bool(events), timeout=WAIT_MS)
    child = one.process_id
    started = time.monotonic()
    one.cancel()
    ended = finish(qtbot, one, ends)
    # The bound is a second; a machine that does other things as well gets one more.
    assert time.monotonic() - started < 2.0
    assert ended.cancelled
    assert ended.result is None
    assert child is not None
    assert not alive(child)


def test_cancelling_before_the_child_is_there(qtbot: Any, tmp_path: Path) -> None:
    wish = AdaptWish(tmp_path, "starter")
    one = Supervisor(wish, program=[sys.executable, str(STAND_IN), "deaf"])
    ends: list[Ended] = []
    one.ended.connect(ends.append)
    one.cancel()
    one.start()
    assert finish(qtbot, one, ends).cancelled


def test_a_reason_makes_it_a_problem(qtbot: Any, tmp_path: Path) -> None:
    one, ends, events = supervise(qtbot, tmp_path, "deaf")
    qtbot.waitUntil(lambda: bool(events), timeout=WAIT_MS)
    one.cancel("It fell silent.")
    ended = finish(qtbot, one, ends)
    assert not ended.cancelled
    assert ended.problem == "It fell silent."


def test_a_stopped_child_is_killed_all_the_same(qtbot: Any, tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("there is no SIGSTOP")
    one, _ends, events = supervise(qtbot, tmp_path, "deaf")
    qtbot.waitUntil(lambda: bool(events), timeout=WAIT_MS)
    child = one.process_id
    assert child is not None
    os.kill(child, signal.SIGSTOP)
    one.close()
    assert one.isFinished()
    assert not alive(child)


def test_a_program_that_is_not_there(qtbot: Any, tmp_path: Path) -> None:
    wish = AdaptWish(tmp_path, "starter")
    one = Supervisor(wish, program=[str(tmp_path / "no such program")])
    ends: list[Ended] = []
    one.ended.connect(ends.append)
    one.start()
    assert "could not be started" in finish(qtbot, one, ends).problem


def test_the_wish_is_the_command_line(tmp_path: Path) -> None:
    more = {"minutes": 2.5, "device": "cpu", "threads": 1, "pause_below": 30.0, "resume": True}
    wish = AdaptWish(tmp_path, "sam_vit_b", "full", **more)
    parsed = build_parser()[0].parse_args(wish.arguments())
    assert parsed.events
    assert parsed.resume
    assert (parsed.model, parsed.speed, parsed.minutes) == ("sam_vit_b", "full", 2.5)
    assert (parsed.device, parsed.threads, parsed.pause_below) == ("cpu", 1, 30.0)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
