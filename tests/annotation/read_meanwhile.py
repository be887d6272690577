"""Read a project again and again while another process writes it.

Usage: read_meanwhile.py PROJECT. Every edit of the writer adds two objects or takes two away, so
an odd number would be half an edit. Prints the counts of objects it saw; ends when it sees the
class "end".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from infosam_studio.annotation.project import Project


def main(folder: Path) -> list[int]:
    seen: list[int] = []
    with Project.open(folder, read_only=True) as project:
        print("reading", flush=True)
        while not any(c.name == "end" for c in project.classes()):
            with project.snapshot() as snapshot:
                before = len(snapshot.objects())
                after = sum(snapshot.object_counts().values())
                assert before == after, "the snapshot changed"
            if not seen or seen[-1] != before:
                seen.append(before)
    return seen


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
