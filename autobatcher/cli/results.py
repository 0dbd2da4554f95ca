"""`autobatcher results`: the requests in a journal, and their answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any

from cyclopts import Parameter

from ..engine.journal import BatchRecord
from ..engine.journal.file import JournalReader, Result
from ..engine.journal.records import custom_id_of
from .batch_table import counted
from .excerpts import answer_excerpt, as_json_text, excerpt_of, prompt_excerpt
from .flags import COMMAND_LINE_ONLY, JournalPlace
from .journal_flags import AsJson, Wide, chosen, journal_to_read, required
from .output import print_json, print_notice, print_table, print_text, table_room
from .table_layout import Column
from .text_table import table_lines

EXAMPLES = """
**Examples**

    # a line for each request
    autobatcher results --journal journal.sqlite3

    # one batch with full bodies, as JSON
    autobatcher results batch_abc123 --journal journal.sqlite3 --json
"""

HASH_ONLY = "Some prompts and answers are missing: the journal was kept with journal_hash_only."

COLUMNS = (
    Column("custom_id", cut="middle", least=13),
    Column("endpoint", least=20, leaves=1),
    Column("status"),
    Column("taken", leaves=2),
    Column("prompt", least=14),
    Column("answer", least=14),
)


def results(
    batch: Annotated[str | None, COMMAND_LINE_ONLY, Parameter(show_default=False)] = None,
    /,
    *,
    journal: JournalPlace | None = None,
    as_json: AsJson = False,
    wide: Wide = False,
) -> int:
    """Show the requests of a journal, and their answers.

    Prompts and answers are shortened in the table and complete with --json (null where the journal has none). Delivered
    answers are kept until the program has exited cleanly and the journal is opened again. The rows are printed as they
    are read.

    Exit codes: 0, or 2 if there is no such journal or batch.

    Args:
        batch: A batch's id or idempotency key. Without it: all batches.
        journal: The journal: its file, or its URL.
        as_json: Print one JSON object per line.
        wide: Shorten nothing to the width of the terminal.
    """
    path = required(journal)
    with journal_to_read(path) as opened:
        records = opened.batches()
        wanted = records if batch is None else chosen(records, [batch], path)
        counts = _Counts()
        found = counts.counted(_found(opened, wanted))
        if as_json:
            _print_lines(found)
        else:
            print_results((result for _, result in found), room=table_room(wide=wide))
            failed = f", {counts.failed:,} failed" if counts.failed else ""
            print_text(f"{counted(counts.requests, 'request', 'requests')}, {counts.answered:,} answered{failed}")
    if counts.are_bodies_missing:
        print_notice(f"autobatcher results: {HASH_ONLY}")
    return 0


def _found(journal: JournalReader, records: list[BatchRecord]) -> Iterator[tuple[BatchRecord, Result]]:
    for record in records:
        for result in journal.results(record):
            yield record, result


class _Counts:
    """What was read so far."""

    def __init__(self) -> None:
        self.requests = 0
        self.answered = 0
        self.failed = 0
        self.are_bodies_missing = False

    def counted(self, found: Iterator[tuple[BatchRecord, Result]]) -> Iterator[tuple[BatchRecord, Result]]:
        """The same, counted as it passes."""
        for record, result in found:
            self.requests += 1
            if result.status_code is not None:
                self.answered += result.status_code < 400
                self.failed += result.status_code >= 400
            self.are_bodies_missing |= result.body is None
            yield record, result


def _print_lines(found: Iterable[tuple[BatchRecord, Result]]) -> None:
    for record, result in found:
        bodies = {"answer": as_json_text(result.answer), "request": as_json_text(result.body)}
        print_json(_fields(record, result), encoded=bodies)


def _fields(record: BatchRecord, result: Result) -> dict[str, Any]:
    return {
        "batch_id": record.batch_id,
        "custom_id": custom_id_of(result.idempotency_key, result.number),
        "endpoint": result.endpoint,
        "lane": record.lane,
        "request_id": result.request_id,
        "stamp": result.idempotency_key,
        "status_code": result.status_code,
        "taken": result.is_taken,
    }


def print_results(results: Iterable[Result], *, room: int | None) -> None:
    """Print a table with a row for each; nothing if there are none."""
    rows = map(_cells, results)
    first = next(rows, None)
    if first is not None:
        print_table(table_lines(COLUMNS, chain([first], rows), room=room))


def _cells(result: Result) -> list[str]:
    return [
        custom_id_of(result.idempotency_key, result.number),
        result.endpoint,
        "-" if result.status_code is None else str(result.status_code),
        "taken" if result.is_taken else "-",
        excerpt_of(result.body, prompt_excerpt),
        excerpt_of(result.answer, answer_excerpt),
    ]
