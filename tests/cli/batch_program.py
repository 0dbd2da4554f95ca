"""`python -m tests.cli.batch_program ARGUMENTS`: `autobatcher batch` that looks lost creations up for 0.3 s, not 45."""

from __future__ import annotations

import sys

from autobatcher.cli import main
from tests.journal.program import shorten_lookups

if __name__ == "__main__":
    shorten_lookups()
    sys.exit(main(["batch", *sys.argv[1:]]))
