"""`autobatcher status`: the batches of a journal and of an upstream."""

from __future__ import annotations

import time
from functools import partial

from ..engine.journal import BatchRecord
from .batch_rows import Seen, ask, rows_of
from .batch_table import batch_table, totals
from .engine_table import engine_table
from .engines import Engines, table_fields
from .flags import JournalPlace, Switch, UsageError
from .journal_flags import AsJson, read_batches_and_engines
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
    Without --upstream only the journal is read. With a journal on PostgreSQL the engines that share it are shown, too,
    and which of them runs each batch.

    Exit codes: 0, or 1 if the upstream could not be asked.

    Args:
        journal: The journal: its file, or its URL.
        upstream: Ask the upstream about the unfinished batches in the journal that belong to this base URL and key, and
            for batches that autobatcher made with another journal. Without --journal: list all batches.
        as_json: Print one JSON object per line.
    """
    if journal is None and not upstream:
        raise UsageError("--journal is missing: give a journal's file or URL, or --upstream for the list there.")
    records, engines = (None, None) if journal is None else read_batches_and_engines(journal)
    if not upstream:
        return report(Seen(rows_of(records or [])).with_engines(engines), as_json=as_json, with_upstream=False)
    return run_until_interrupted(partial(_ask_and_report, flags or UpstreamFlags(), records, engines, as_json=as_json))


async def _ask_and_report(
    flags: UpstreamFlags, records: list[BatchRecord] | None, engines: Engines | None, *, as_json: bool
) -> int:
    async with open_upstream(flags) as upstream:
        seen = await ask(upstream, records)
    return report(seen.with_engines(engines), as_json=as_json, with_upstream=True)


def report(seen: Seen, *, as_json: bool, with_upstream: bool) -> int:
    """Print the batches and engines, and return the exit code."""
    engines = [] if seen.engines is None else seen.engines.sessions
    if as_json:
        for fields in (*(row.fields() for row in seen.rows), *map(table_fields, engines)):
            print_json(fields)
    else:
        now, is_shared = time.time(), seen.engines is not None
        if seen.rows:
            print_text(batch_table(seen.rows, now=now, with_upstream=with_upstream, with_engines=is_shared))
        for line in totals(seen.rows, with_engines=is_shared).split("\n"):
            print_text(line)
        if engines:
            print_text(engine_table(engines, now=now))
    if seen.failure is not None:
        print_notice(f"autobatcher status: the upstream could not be asked: {seen.failure.summary}")
    return 0 if seen.failure is None else 1
