"""`autobatcher watch`: `status --upstream`, repeated until all batches have ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import trio
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from ..engine.journal import BatchRecord
from ..engine.journal_url import Place
from .batch_rows import Row, Seen, ask
from .batch_table import NOTHING_THERE, batch_table, totals
from .engine_table import engine_table
from .flags import JournalPlace, PositiveSeconds
from .journal_flags import AllUpstream, AsJson, Wide, read_again, read_batches
from .output import PrintableConsole, print_json, print_notice
from .signals import run_until_interrupted
from .upstream_flags import Upstream, UpstreamFlags, open_upstream

_Asking = Callable[[Upstream, list[BatchRecord] | None], Awaitable[Seen]]

EXAMPLES = """
**Examples**

    # until all batches in a journal have ended
    autobatcher watch --journal journal.sqlite3

    # all that autobatcher made in the account, with a line for each change
    autobatcher watch --interval 60 --json
"""


def watch(
    *,
    journal: JournalPlace | None = None,
    interval: PositiveSeconds = 10.0,
    all_upstream: AllUpstream = False,
    as_json: AsJson = False,
    wide: Wide = False,
    flags: UpstreamFlags | None = None,
) -> int:
    """Poll batches until all of them have ended.

    Prints a live table on a terminal; elsewhere, and with --json, one JSON object for each batch that has changed. It
    changes nothing, neither in the journal nor upstream. Retryable errors are retried.

    Exit codes: 0 when all have ended, 1 if the upstream refuses a request, 2 if there is no such journal, 130 after
    Ctrl-C.

    Args:
        journal: The journal: its file, or its URL. Without it: all batches in the account that autobatcher made.
        interval: The time between two polls.
        all_upstream: Also show batches of the account that other programs made. Without --journal: wait for them, too.
        as_json: Print JSON lines on a terminal, too.
        wide: Shorten nothing to the width of the terminal.
    """
    is_live = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if journal is not None:
        read_batches(journal)  # refuse an unreadable journal before showing anything
    with ExitStack() as stack:
        show = stack.enter_context(LivePicture(wide=wide)) if is_live else _Changes(as_json=as_json)
        asking = partial(ask, shows_foreign=all_upstream)
        return run_until_interrupted(partial(_watch, flags or UpstreamFlags(), journal, interval, asking, show))


async def _watch(
    flags: UpstreamFlags, journal: Place | None, interval: float, asking: _Asking, show: LivePicture | _Changes
) -> int:
    async with open_upstream(flags) as upstream:
        while True:
            records, engines = (None, None) if journal is None else read_again(journal)
            seen = (await asking(upstream, records)).with_engines(engines)
            if seen.failure is not None and not seen.failure.is_retryable:
                print_notice(f"autobatcher watch: the upstream refuses: {seen.failure.summary}")
                return 1
            show.take(seen)
            if seen.failure is None:
                awaited = [row for row in seen.rows if journal is None or row.record is not None]
                if not any(row.may_run(time.time()) for row in awaited):
                    return 0
            await trio.sleep(interval)


class _Changes:
    """JSON lines: each batch once, and again whenever it changes."""

    def __init__(self, *, as_json: bool) -> None:
        self._is_for_people = not as_json
        self._told: dict[str, dict[str, Any]] = {}
        self._failure = ""

    def take(self, seen: Seen) -> None:
        if seen.failure is None:
            for row in seen.rows:
                self._tell_if_new(row)
            if self._is_for_people and not seen.rows:
                print_notice(f"autobatcher watch: {NOTHING_THERE}")
        failure = "" if seen.failure is None else seen.failure.summary
        if failure and failure != self._failure:
            print_notice(f"autobatcher watch: the upstream could not be asked: {failure}")
        self._failure = failure

    def _tell_if_new(self, row: Row) -> None:
        fields, name = row.fields(), row.idempotency_key or row.batch_id or ""
        if self._told.get(name) != fields:
            self._told[name] = fields
            print_json(fields)


class LivePicture:
    """A live table. Its last state stays."""

    def __init__(self, *, wide: bool = False) -> None:
        self._live = Live(Text("asking the upstream ..."), console=PrintableConsole(), auto_refresh=False)
        self._seen = Seen()
        self._wide = wide

    def __enter__(self) -> LivePicture:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def take(self, seen: Seen) -> None:
        """Show it."""
        if seen.failure is None:
            self._seen = seen
        self._live.update(self.picture(seen), refresh=True)

    def picture(self, seen: Seen) -> RenderableType:
        """The batches as they were last seen, and why they could not be asked for now."""
        now, rows, engines = time.time(), self._seen.rows, self._seen.engines
        is_shared, room = engines is not None, None if self._wide else self._live.console.width
        parts: list[RenderableType] = [
            batch_table(rows, now=now, with_upstream=True, with_engines=is_shared, room=room)
        ]
        if rows or seen.failure is None:
            parts.append(Text(totals(rows, with_engines=is_shared, foreign=self._seen.foreign), "dim"))
        if engines is not None and engines.sessions:
            parts.append(engine_table(engines.sessions, now=now, room=room))
        if seen.failure is not None:
            parts.append(Text(f"the upstream could not be asked: {seen.failure.summary}", "yellow"))
        return Group(*parts)
