"""A child process that behaves like ``adapt --events``, well or badly. First argument: how."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def say(kind: str, **data: object) -> None:
    print(json.dumps({"event": kind, **data}), flush=True)


def wait_for_cancel() -> None:
    for line in sys.stdin:
        if line.strip() == "cancel":
            say("failed", text="Stopped on request.", cancelled=True)
            return


def main(how: str) -> int:
    say("progress", stage="load", step=0, of=0, left=None)
    if how == "good":
        print("a library talks", flush=True)
        say("finished", adapter="v1", promoted=True, before={}, after={})
    elif how == "obeys":
        wait_for_cancel()
    elif how == "deaf":
        time.sleep(120)
    elif how == "floods":
        for number in range(100_000):
            sys.stderr.write(f"line {number} of a very talkative library\n")
        say("finished", adapter="v1", promoted=False)
    elif how == "fails":
        say("failed", text="cell 3.png cannot be read: put the file back.", cancelled=False)
        return 1
    elif how == "dies":
        sys.stderr.write("ImportError: no torch here\n")
        return 7
    elif how == "crashes":
        os.abort()
    elif how == "leaves a child":
        # One that keeps both streams open and lives on.
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
        say("finished", adapter="v1", promoted=False)
    elif how == "garbage":
        sys.stdout.buffer.write(b'\xff\xfe{"event": "progress"\n{"event": 3}\n[]\n')
        say("finished", adapter="v1", promoted=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
