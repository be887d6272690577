"""Event lines: written whole, read back, and child mode that ends with its parent."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time

from infosam_studio.events import CHILD_VARIABLE, Control, Event, EventWriter, parse_line

CHILD = """
import sys, time
from infosam_studio.events import Control, EventWriter, Event, claim_stdout, watch_parent
writer = EventWriter(claim_stdout())
print("a library talks")
control = Control()
words = Event("failed", {"text": "Ended by force.", "cancelled": True})
watch_parent(control, lambda: writer(words))
writer(Event("started", {"name": "v1"}))
while not control.cancelled():
    control.wait_while_paused(0.05)
    if control.paused:
        writer(Event("warning", {"code": "paused", "text": "waiting"}))
    control.sleep(0.05)
if "stuck" in sys.argv:
    time.sleep(60)
control.acknowledge()
if "slow" in sys.argv:
    time.sleep(1)
writer(Event("failed", {"text": "Stopped on request.", "cancelled": True}))
"""


def test_round_trip_and_foreign_lines() -> None:
    event = Event("progress", {"stage": "train", "step": 1, "of": 2, "losses": {"mask": 0.5}})
    assert parse_line(event.to_line()) == event
    assert Event("progress", {"losses": {"mask": float("nan")}}).to_line().endswith("null}}")
    for line in ("", "loading…", "{broken", '{"event": "unknown"}', "[1]", '{"a": 1}'):
        assert parse_line(line) is None


def test_writer_thins_out_progress_but_keeps_the_end() -> None:
    stream = io.StringIO()
    writer = EventWriter(stream)
    for step in range(1, 101):
        writer(Event("progress", {"stage": "train", "step": step, "of": 100}))
    events = [parse_line(line) for line in stream.getvalue().splitlines()]
    steps = [event.data["step"] for event in events if event is not None]
    assert steps[0] == 1
    assert steps[-1] == 100
    assert len(steps) < 20
    stream.close()
    writer(Event("warning", {"text": "nobody reads this"}))


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, CHILD_VARIABLE: "1"},
    )


def test_child_obeys_and_keeps_its_stream_clean() -> None:
    child = start()
    assert child.stdout is not None
    assert child.stdin is not None
    first = parse_line(child.stdout.readline())
    assert first is not None
    assert first.kind == "started"
    child.stdin.write("pause\n")
    child.stdin.flush()
    waiting = parse_line(child.stdout.readline())
    assert waiting is not None
    assert waiting.data["code"] == "paused"
    child.stdin.write("resume\ncancel\n")
    child.stdin.flush()
    rest, errors = child.communicate(timeout=20)
    last = parse_line(rest.splitlines()[-1])
    assert last is not None
    assert last.kind == "failed"
    assert "a library talks" in errors
    assert "a library talks" not in rest


def test_child_ends_when_its_parent_goes_away() -> None:
    child = start("stuck")
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    child.stdin.close()
    assert child.wait(timeout=20) == 1
    child.stdout.close()
    if child.stderr is not None:
        child.stderr.close()


def test_a_run_that_does_not_listen_is_ended_within_a_second() -> None:
    child = start("stuck")
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    asked = time.monotonic()
    child.stdin.write("cancel\n")
    child.stdin.flush()
    last = parse_line(child.stdout.readlines()[-1])
    assert child.wait(timeout=20) == 1
    # Half of it is waiting; the other half is for a machine with other things to do.
    assert time.monotonic() - asked < 1
    assert last is not None
    assert last.data["text"] == "Ended by force."
    child.communicate()


def test_a_run_that_is_stopping_is_left_in_peace() -> None:
    out, _ = start("slow").communicate("cancel\n", timeout=20)
    last = parse_line(out.splitlines()[-1])
    assert last is not None
    assert last.data["text"] == "Stopped on request."


def test_control() -> None:
    control = Control()
    control.pause()
    assert control.paused
    assert not control.wait_while_paused(0.01)
    control.cancel()
    assert control.cancelled()
    assert control.wait_while_paused(0.01)
