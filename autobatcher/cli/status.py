"""`autobatcher status`: the batches of a journal and of an upstream."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from ..engine.journal import BatchRecord
from .batch_rows import Seen, ask, rows_of
from .batch_table import batch_table, totals
from .engine_table import engine_table
from .engines import Engines, table_fields
from .flags import JournalPlace, Switch, UsageError
from .journal_flags import AllUpstream, AsJson, Wide, read_batches_and_engines
from .output import print_json, print_notice, print_text, table_room
from .signals import run_until_interrupted
from .upstream_flags import UpstreamFlags, open_upstream

_Known = tuple[list[BatchRecord] | None, Engines | None]

EXAMPLES = """
**Examples**

    # a journal, without asking the upstream
    autobatcher status --journal journal.sqlite3

    # a journal, with the upstream's status
    autobatcher status --journal journal.sqlite3 --upstream

    # all batches of the account, whoever made them, as JSON
    autobatcher status --all-upstream --json
"""


def status(
    *,
    journal: JournalPlace | None = None,
    upstream: Switch = False,
    all_upstream: AllUpstream = False,
    as_json: AsJson = False,
    wide: Wide = False,
    flags: UpstreamFlags | None = None,
) -> int:
    """Show the batches of a journal and of an upstream, and their progress.

    A batch is uploading (it does not exist upstream yet), uncertain (the outcome of its creation is unknown), read (its
    answers are in the journal), or has the status last reported by the upstream. The journal may be in use meanwhile.
    Without --upstream only the journal is read. With a journal on PostgreSQL the engines that share it are shown, too,
    and which of them runs each batch.

    Exit codes: 0, 1 if the upstream could not be asked, or 2 if there is no such journal.

    Args:
        journal: The journal: its file, or its URL.
        upstream: Ask the upstream about the unfinished batches in the journal that belong to this base URL and key, and
            for batches that autobatcher made with another journal, or without one.
        all_upstream: The same, and list batches of the account that other programs made.
        as_json: Print one JSON object per line.
        wide: Shorten nothing to the width of the terminal.
    """
    if journal is None and not (upstream or all_upstream):
        raise UsageError("--journal is missing: give a journal's file or URL, or --upstream for the list there.")
    records, engines = (None, None) if journal is None else read_batches_and_engines(journal)
    tell = partial(report, as_json=as_json, room=table_room(wide=wide))
    if not (upstream or all_upstream):
        return tell(Seen(rows_of(records or [])).with_engines(engines), with_upstream=False)
    known = records, engines
    return run_until_interrupted(
        partial(_ask_and_report, flags or UpstreamFlags(), known, tell, shows_foreign=all_upstream)
    )


async def _ask_and_report(flags: UpstreamFlags, known: _Known, tell: Callable[..., int], *, shows_foreign: bool) -> int:
    records, engines = known
    async with open_upstream(flags) as upstream:
        seen = await ask(upstream, records, shows_foreign=shows_foreign)
    return tell(seen.with_engines(engines), with_upstream=True)


def report(seen: Seen, *, as_json: bool, with_upstream: bool, room: int | None = None) -> int:
    """Print the batches and engines, and return the exit code."""
    engines = [] if seen.engines is None else seen.engines.sessions
    if as_json:
        for fields in (*(row.fields() for row in seen.rows), *map(table_fields, engines)):
            print_json(fields)
    else:
        now, is_shared = time.time(), seen.engines is not None
        if seen.rows:
            table = batch_table(seen.rows, now=now, with_upstream=with_upstream, with_engines=is_shared, room=room)
            print_text(table, wraps=False)
        if seen.rows or seen.failure is None:
            for line in totals(seen.rows, with_engines=is_shared, foreign=seen.foreign).split("\n"):
                print_text(line)
        if engines:
            print_text(engine_table(engines, now=now, room=room), wraps=False)
    if seen.failure is not None:
        print_notice(f"autobatcher status: the upstream could not be asked: {seen.failure.summary}")
    return 0 if seen.failure is None else 1
