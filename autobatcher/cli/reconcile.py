"""`autobatcher reconcile`: bring a journal up to date without the program that made it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import trio

from ..engine.journal import BatchRecord
from ..engine.journal.records import UnclaimedLine
from ..engine.journal_url import Place
from ..engine.reconciliation import Finding, Reconciling
from .batch_table import counted, name_of
from .engines import engine_words
from .flags import COMMAND_LINE_ONLY, JournalPlace, Switch
from .journal_flags import AsJson, Wide, read_again, read_batches_again, required, told_as_usage_error
from .output import print_json, print_table, print_text, table_room
from .signals import run_until_interrupted
from .table_layout import Column
from .text_table import table_lines
from .unfinished import unfinished_taken
from .upstream_flags import Upstream, UpstreamFlags, host_of, open_upstream

RUNS = "runs it, and reads it when it has ended"

EXAMPLES = """
**Examples**

    # after a crash: read batches that have ended, forget those never created
    autobatcher reconcile --journal journal.sqlite3

    # every hour, from cron
    autobatcher reconcile --journal journal.sqlite3 --json

    # also forget batches that the upstream has deleted
    autobatcher reconcile --journal journal.sqlite3 --forget-gone
"""

COLUMNS = (
    Column("batch", cut="middle", least=13),
    Column("found", least=11),
    Column("requests", leaves=1),
    Column("new answers", leaves=2),
    Column("because", cut="wrap", least=20),
)
_STYLES = {"read": "green", "failed": "red", "gone": "yellow", "another": "yellow", "uncertain": "yellow"}


def reconcile(
    *,
    journal: JournalPlace | None = None,
    forget_gone: Annotated[Switch, COMMAND_LINE_ONLY] = False,
    keep_input_files: Switch = False,
    as_json: AsJson = False,
    wide: Wide = False,
    flags: UpstreamFlags | None = None,
) -> int:
    """Check every unfinished batch of a journal once, and store the answers of those that have ended.

    A batch that was never created is forgotten, and its input file deleted upstream. A batch whose creation is
    uncertain is looked up, which takes up to a minute if it is recent. The answers of a batch that has ended go into
    the journal, where a rerun of the program finds them. A running batch is left alone. Batches of another base URL or
    key are only listed, and so are calls on other lanes that may have been billed. No engine may use a file
    meanwhile. Engines may use a shared journal: those batches are looked at that none of them runs.

    Exit codes: 0, 1 if a batch could not be checked, or 2 if there is no such journal.

    Args:
        journal: The journal: its file, or its URL.
        forget_gone: Forget batches that the upstream does not know. Their stored answers are kept.
        keep_input_files: Leave input files upstream; by default they are deleted once their batch has been read.
        as_json: Print one JSON object per line.
        wide: Shorten nothing to the width of the terminal.
    """
    path = required(journal)
    read_batches_again(path)  # a file that is not a journal must not become one
    make = partial(Reconciling, delete_input_files=not keep_input_files, forgets_gone=forget_gone)
    tell = partial(report, as_json=as_json, room=table_room(wide=wide))
    with told_as_usage_error(path):
        return run_until_interrupted(partial(_reconcile, flags or UpstreamFlags(), path, make, tell))


async def _reconcile(flags: UpstreamFlags, path: Place, make: Any, tell: Any) -> int:
    async with open_upstream(flags) as upstream:  # first: with a missing key the journal must stay closed
        findings, elsewhere = await _look_into(path, upstream, make)
    tell(findings, elsewhere)
    return 1 if any(finding.verdict == "failed" for finding in findings) else 0


async def _look_into(place: Place, upstream: Upstream, make: Any) -> tuple[list[Finding], list[BatchRecord]]:
    """The findings about this account's batches, and the batches of other accounts."""
    async with unfinished_taken(place, upstream) as taken:
        reconciling = make(taken.journal, upstream.api, upstream.account_for)
        findings = await _look_at_all(reconciling, taken.records, taken.unclaimed)
    return [*findings, *_run_elsewhere(place, taken.run)], taken.elsewhere


def _run_elsewhere(place: Place, records: list[BatchRecord]) -> list[Finding]:
    _, engines = read_again(place) if records else ([], None)
    findings = []
    for record in records:
        engine = None if engines is None else engines.of(record.idempotency_key)
        reason = f"{'an engine' if engine is None else engine_words(engine)} {RUNS}"
        findings.append(Finding(record=record, verdict="running", batch_id=record.batch_id, reason=reason))
    return findings


async def _look_at_all(
    reconciling: Reconciling, records: list[BatchRecord], unclaimed: dict[str, list[UnclaimedLine]]
) -> list[Finding]:
    findings: dict[str, Finding] = {}

    async def look(record: BatchRecord) -> None:
        findings[record.idempotency_key] = await reconciling.look_at(record, unclaimed.get(record.idempotency_key, ()))

    async with trio.open_nursery() as nursery:
        for record in records:
            nursery.start_soon(look, record)
    return [findings[record.idempotency_key] for record in records]


def report(findings: list[Finding], elsewhere: list[BatchRecord], *, as_json: bool, room: int | None = None) -> None:
    """Print the findings."""
    if as_json:
        for fields in (*map(_fields, findings), *map(_fields_elsewhere, elsewhere)):
            print_json(fields)
        return
    rows = [_cells(finding) for finding in findings] + [_cells_elsewhere(record) for record in elsewhere]
    if rows:
        print_table(table_lines(COLUMNS, rows, _STYLES, room=room))
    print_text(closing_words(findings))


def closing_words(findings: list[Finding]) -> str:
    """The last line: the totals, and what to do about the rest."""
    if not findings:
        return "Nothing to reconcile."
    answers = sum(finding.answers for finding in findings)
    line = f"{counted(len(findings), 'batch', 'batches')} looked at, {counted(answers, 'answer', 'answers')} stored."
    if any(finding.verdict in ("running", "failed") for finding in findings):
        line += " Run this again later for the rest."
    if any(finding.verdict == "gone" for finding in findings):
        line += " --forget-gone forgets the batches that are gone."
    return line


def _fields(finding: Finding) -> dict[str, Any]:
    return {
        "answers_stored": finding.answers,
        "batch_id": finding.batch_id,
        "found": finding.verdict,
        "reason": finding.reason or None,
        "request_count": finding.record.request_count,
        "stamp": finding.record.idempotency_key,
        "status": finding.status or None,
    }


def _fields_elsewhere(record: BatchRecord) -> dict[str, Any]:
    return {
        "answers_stored": 0,
        "batch_id": record.batch_id,
        "found": "another account",
        "reason": f"made with another base URL or key, at {host_of(record.base_url)}",
        "request_count": record.request_count,
        "stamp": record.idempotency_key,
        "status": None,
    }


def _cells(finding: Finding) -> list[str]:
    found = f"{finding.verdict} ({finding.status.replace('_', ' ')})" if finding.status else finding.verdict
    name = name_of(finding.batch_id, finding.record.idempotency_key)
    return [name, found, str(finding.record.request_count), str(finding.answers), finding.reason]


def _cells_elsewhere(record: BatchRecord) -> list[str]:
    fields = _fields_elsewhere(record)
    name = name_of(record.batch_id, record.idempotency_key)
    return [name, fields["found"], str(record.request_count), "0", fields["reason"]]
