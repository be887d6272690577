"""`python -m infosam_studio`: the same as the `infosam-studio` command."""

from __future__ import annotations

import multiprocessing
import sys

from infosam_studio.cli import main

if __name__ == "__main__":
    # A frozen executable is started again for every child process it makes.
    multiprocessing.freeze_support()
    sys.exit(main())
