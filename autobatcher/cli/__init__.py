"""The command line, `autobatcher`.

__init__.py   main(): checks that the extra is installed
app.py        the commands, and their exit codes; mistyped.py: what was mistyped
emulate.py    `autobatcher emulate`
demo.py       `autobatcher demo`; demo_plan.py, demo_run.py, workload.py, live_status.py, summary.py are its parts
serve.py      `autobatcher serve`; run.py: `autobatcher run`; proxy_flags.py, event_lines.py: what they share
check.py      `autobatcher check`; check_report.py: its table; start_check.py: what `serve` and `run` check at start
run_summary.py, arrivals.py: parts of `run`
rehearsal.py  `autobatcher run --rehearse`
plan.py       `autobatcher plan`; input_file.py, plan_report.py are its parts; price_flags.py: shared with prices.py
batch.py      `autobatcher batch`; batch_*.py are its parts but batch_rows.py and batch_table.py, with ../files
status.py     `autobatcher status`; watch.py: `autobatcher watch`; batch_rows.py, batch_table.py: what they share
results.py    `autobatcher results`; excerpts.py: prompts and answers, shortened
cancel.py     `autobatcher cancel`; forget.py: `autobatcher forget`
reconcile.py  `autobatcher reconcile`; unfinished.py: what it looks at
journal.py    `autobatcher journal migrate|check`, on PostgreSQL
journal_flags.py, upstream_flags.py: shared by all commands on a journal
text_table.py, table_layout.py, wrapping.py: tables; help_format.py, flag_groups.py: `--help`
output.py     all that is printed
flags.py      types and checks of flags; settings_flags.py: the flags of the settings
config.py     flags from the environment and from --config; config_file.py: the contents of that file
signals.py    Ctrl-C, SIGTERM and SIGHUP, for commands that run until they are stopped; loopback.py: local addresses
stopping.py   how a proxy stops; command_stop.py: that of `run`; question.py: what a terminal is asked
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from importlib.util import find_spec

REQUIRED = ("trio", "quart_trio", "hypercorn", "cyclopts", "rich")
"""The import names of the extra `serve`. They must be checked before anything imports them."""

VERSION: tuple[list[str], ...] = (["--version"], ["-V"], ["version"])
HELP: tuple[list[str], ...] = ([], ["--help"], ["-h"])
"""What is answered without them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code.

    0: success. 1: the command ran and something failed. 2: wrong usage, or a missing package. 129, 130, 143:
    interrupted by SIGHUP, Ctrl-C or SIGTERM. 141: the reader of the output is gone.

    Args:
        arguments: without the program's name; None for `sys.argv`.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given in VERSION:
        print(version("autobatcher"))
        return 0
    if given[:1] == ["help"]:  # as in `autobatcher help serve`
        given = [*given[1:], "--help"]
    missing = find_missing(REQUIRED)
    if missing:
        return _say_what_is_missing(", ".join(missing).replace("_", "-"), is_help=given in HELP)

    from .app import run

    return run(given)


def _say_what_is_missing(names: str, *, is_help: bool) -> int:
    """Without its packages the command line can only say how to get them: that is all its help, then."""
    how = f"the command line needs {names}. Run: pip install 'autobatcher[serve]>=1'"
    if not is_help:
        print(f"autobatcher: {how}", file=sys.stderr)
        return 2
    print(f"autobatcher {version('autobatcher')}: ordinary OpenAI-style calls, sent through the Batch API.\n")
    print(f"Here {how}\nAfter that, `autobatcher --help` lists the commands. `import autobatcher` works without it.")
    return 0


def find_missing(names: Iterable[str]) -> list[str]:
    """The top-level packages among `names` that cannot be imported."""
    return [name for name in names if not _is_importable(name)]


def _is_importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
