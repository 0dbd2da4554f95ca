"""`autobatcher status`: which batches there are, and how far they are."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

from ..engine.journal import BatchRecord
from .batch_rows import Seen, ask, rows_of
from .batch_table import batch_table, totals
from .flags import Switch, UsageError
from .journal_flags import AsJson, read_batches
from .signals import run_until_interrupted
from .text_table import print_json, print_text
from .upstream_flags import UpstreamFlags, open_upstream

EXAMPLES = """
**Examples**

    # what a journal has, without asking anybody
    autobatcher status --journal journal.sqlite3

    # and what the upstream says of it
    autobatcher status --journal journal.sqlite3 --upstream

    # the upstream's own list, for programs
    autobatcher status --upstream --json
"""


def status(
    *,
    journal: Path | None = None,
    upstream: Switch = False,
    as_json: AsJson = False,
    flags: UpstreamFlags | None = None,
) -> int:
    """Show the batches of a journal, and of an upstream: how far they are, and what of them is here.

    A batch is uploading (it does not exist upstream yet), uncertain (nobody heard whether it was created), has the
    status that the upstream last told the journal's owner, or was read: its answers are here. The journal may be in use
    meanwhile. Without --upstream nobody is asked.

    Exit codes: 0, or 1 if the upstream could not be asked.

    Args:
        journal: The journal's file.
        upstream: Ask the upstream: about unfinished batches of the journal that are of this base URL and key, and for
            batches of autobatcher's that are not in this journal (there may be several journals). Without --journal:
            all batches that it lists.
        as_json: One JSON object a line.
    """
    if journal is None and not upstream:
        raise UsageError("--journal is missing: the path of a journal's file; or give --upstream, for the list there.")
    records = None if journal is None else read_batches(journal)
    if not upstream:
        return report(Seen(rows_of(records or [])), as_json=as_json, with_upstream=False)
    return run_until_interrupted(partial(_ask_and_report, flags or UpstreamFlags(), records, as_json=as_json))


async def _ask_and_report(flags: UpstreamFlags, records: list[BatchRecord] | None, *, as_json: bool) -> int:
    async with open_upstream(flags) as upstream:
        seen = await ask(upstream, records)
    return report(seen, as_json=as_json, with_upstream=True)


def report(seen: Seen, *, as_json: bool, with_upstream: bool) -> int:
    """Print it, and give the exit code."""
    if as_json:
        for row in seen.rows:
            print_json(row.fields())
    else:
        if seen.rows:
            print_text(batch_table(seen.rows, now=time.time(), with_upstream=with_upstream))
        print_text(totals(seen.rows))
    if seen.failure is not None:
        print(f"autobatcher status: the upstream could not be asked: {seen.failure.summary}", file=sys.stderr)
    return 0 if seen.failure is None else 1
