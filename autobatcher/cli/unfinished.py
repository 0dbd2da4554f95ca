"""The unfinished batches of a journal, taken so that no engine works on them meanwhile."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NamedTuple

import trio

from ..engine.journal import BatchRecord
from ..engine.journal.file_journal import FileJournal
from ..engine.journal.journal import Journal
from ..engine.journal.records import CLOSE_SECONDS, UnclaimedLine
from ..engine.journal_url import JournalUrl, Place
from ..engine.settings import Settings
from .journal_flags import read_batches_again
from .upstream_flags import Upstream


class Taken(NamedTuple):
    """What was taken, and what was not.

    Attributes:
        journal: open.
        records: the unfinished batches of this account that no engine runs. Nobody else takes them now.
        unclaimed: their lines without a stored answer, by idempotency key.
        run: those of this account that an engine runs.
        elsewhere: those of other accounts.
    """

    journal: Journal
    records: list[BatchRecord]
    unclaimed: dict[str, list[UnclaimedLine]]
    run: list[BatchRecord]
    elsewhere: list[BatchRecord]


@asynccontextmanager
async def unfinished_taken(place: Place, upstream: Upstream) -> AsyncGenerator[Taken]:
    """Take the batches of this account. When the block ends, all that it told the journal is written.

    Raises:
        JournalError: if the journal cannot be used.
    """
    if isinstance(place, JournalUrl):
        opened = _unowned(place, upstream)
    else:
        opened = _whole_file(FileJournal(place, retention_seconds=math.inf), upstream)
    async with opened as taken:
        yield taken
        await taken.journal.answers([])  # a barrier: everything written before is on disk


@asynccontextmanager
async def _whole_file(journal: FileJournal, upstream: Upstream) -> AsyncGenerator[Taken]:
    async with _closed(journal):
        contents = await journal.open()
        unclaimed: dict[str, list[UnclaimedLine]] = {}
        for _, line in contents.unclaimed_lines:
            if not line.is_stored:
                unclaimed.setdefault(line.idempotency_key, []).append(line)
        ours, others = _by_payer(contents.batches, upstream)
        yield Taken(journal, ours, unclaimed, run=[], elsewhere=others)


@asynccontextmanager
async def _unowned(url: JournalUrl, upstream: Upstream) -> AsyncGenerator[Taken]:
    """Engines use the journal meanwhile: those batches are taken that none of them runs, as another engine would."""
    from ..engine.journal.shared_journal import SharedJournal  # imports psycopg

    ours, others = _by_payer(read_batches_again(url), upstream)
    journal = SharedJournal(url, patience_seconds=Settings.journal_patience_seconds, retention_seconds=math.inf)
    async with _closed(journal):
        await journal.open()
        adopted = await journal.adopt(list({record.account for record in ours}))
        unclaimed = {each.record.idempotency_key: [line for _, line, _ in each.lines] for each in adopted}
        run = [record for record in ours if record.idempotency_key not in unclaimed]
        yield Taken(journal, [each.record for each in adopted], unclaimed, run, others)


@asynccontextmanager
async def _closed(journal: Journal) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        with trio.CancelScope(deadline=trio.current_time() + CLOSE_SECONDS, shield=True):
            await journal.close(None)


def _by_payer(records: list[BatchRecord], upstream: Upstream) -> tuple[list[BatchRecord], list[BatchRecord]]:
    """The unfinished batches of this account, and those of others."""
    unfinished = [record for record in records if record.stage != "ended"]
    ours = [record for record in unfinished if upstream.is_payer_of(record)]
    return ours, [record for record in unfinished if not upstream.is_payer_of(record)]
