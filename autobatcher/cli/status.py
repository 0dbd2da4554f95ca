"""`autobatcher status`: the batches of a journal and of an upstream."""

from __future__ import annotations

import time
from functools import partial

from ..engine.journal import BatchRecord
from .batch_rows import Seen, ask, rows_of
from .batch_table import batch_table, totals
from .flags import JournalPlace, Switch, UsageError
from .journal_flags import AsJson, read_batches
from .output import print_json, print_notice, print_text
from .signals import run_until_interrupted
from .upstream_flags import UpstreamFlags, open_upstream

EXAMPLES = """
**Examples**

    # a journal, without asking the upstream
    autobatcher status --journal journal.sqlite3

    # a journal, with the upstream's status
    autobatcher status --journal journal.sqlite3 --upstream

    # the upstream's own list, as JSON
    autobatcher status --upstream --json
"""


def status(
    *,
    journal: JournalPlace | None = None,
    upstream: Switch = False,
    as_json: AsJson = False,
    flags: UpstreamFlags | None = None,
) -> int:
    """Show the batches of a journal and of an upstream, and their progress.

    A batch is uploading (it does not exist upstream yet), uncertain (the outcome of its creation is unknown), read (its
    answers are in the journal), or has the status last reported by the upstream. The journal may be in use meanwhile.
    Without --upstream only the journal is read.

    Exit codes: 0, or 1 if the upstream could not be asked.

    Args:
        journal: The journal: its file, or its URL.
        upstream: Ask the upstream about the unfinished batches in the journal that belong to this base URL and key, and
            for batches that autobatcher made with another journal. Without --journal: list all batches.
        as_json: Print one JSON object per line.
    """
    if journal is None and not upstream:
        raise UsageError("--journal is missing: give a journal's file or URL, or --upstream for the list there.")
    records = None if journal is None else read_batches(journal)
    if not upstream:
        return report(Seen(rows_of(records or [])), as_json=as_json, with_upstream=False)
    return run_until_interrupted(partial(_ask_and_report, flags or UpstreamFlags(), records, as_json=as_json))


async def _ask_and_report(flags: UpstreamFlags, records: list[BatchRecord] | None, *, as_json: bool) -> int:
    async with open_upstream(flags) as upstream:
        seen = await ask(upstream, records)
    return report(seen, as_json=as_json, with_upstream=True)


def report(seen: Seen, *, as_json: bool, with_upstream: bool) -> int:
    """Print the batches, and return the exit code."""
    if as_json:
        for row in seen.rows:
            print_json(row.fields())
    else:
        if seen.rows:
            print_text(batch_table(seen.rows, now=time.time(), with_upstream=with_upstream))
        for line in totals(seen.rows).split("\n"):
            print_text(line)
    if seen.failure is not None:
        print_notice(f"autobatcher status: the upstream could not be asked: {seen.failure.summary}")
    return 0 if seen.failure is None else 1
