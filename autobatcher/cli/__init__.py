"""The command line, `autobatcher`.

__init__.py   main(): is everything installed that the commands need?
app.py        which commands there are; exit codes
emulate.py    `autobatcher emulate`
demo.py       `autobatcher demo`; demo_plan.py, demo_run.py, workload.py, live_status.py, summary.py are its parts
serve.py      `autobatcher serve`; run.py: `autobatcher run`; proxy_flags.py, event_lines.py: what they share
status.py     `autobatcher status`; watch.py: `autobatcher watch`; batch_rows.py, batch_table.py: what they share
results.py    `autobatcher results`; excerpts.py: a prompt and an answer in a few words
cancel.py     `autobatcher cancel`; reconcile.py: `autobatcher reconcile`; forget.py: `autobatcher forget`
journal_flags.py, upstream_flags.py, text_table.py: what all commands on a journal share
flags.py      what the commands' flags have in common; settings_flags.py: the flags of the settings
config.py     variables and the file of --config, where flags are not given; config_file.py: what the file says
signals.py    Ctrl-C and SIGTERM, for commands that run until they are told to stop
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

REQUIRED = ("trio", "quart_trio", "hypercorn", "cyclopts", "rich")
"""The import names of what the extra `serve` installs. Nothing here may import them before they are checked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code.

    0: done. 1: it ran, and something failed. 2: it was called wrongly, or something is not installed. 130, 143:
    it was interrupted by Ctrl-C or SIGTERM before it was done. 141: nobody reads its output any more.

    Args:
        arguments: without the program's name; None for those of the process.
    """
    missing = find_missing(REQUIRED)
    if missing:
        names = ", ".join(missing).replace("_", "-")
        print(
            f"autobatcher: the command line needs {names}, not installed here: pip install 'autobatcher[serve]'",
            file=sys.stderr,
        )
        return 2

    from .app import run

    return run(sys.argv[1:] if arguments is None else list(arguments))


def find_missing(names: Iterable[str]) -> list[str]:
    """Those of the top-level packages that cannot be imported."""
    return [name for name in names if not _is_importable(name)]


def _is_importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
