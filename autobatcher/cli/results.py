"""`autobatcher results`: the requests in a journal, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from ..engine.journal import BatchRecord
from ..engine.journal.file import JournalReader, Result
from ..engine.journal.records import custom_id_of
from .batch_table import counted
from .excerpts import answer_excerpt, as_json_text, excerpt_of, prompt_excerpt
from .flags import COMMAND_LINE_ONLY, JournalPlace
from .journal_flags import AsJson, chosen, journal_to_read, required
from .output import print_json, print_notice, print_text
from .text_table import text_table

EXAMPLES = """
**Examples**

    # a line for each request
    autobatcher results --journal journal.sqlite3

    # one batch with full bodies, as JSON
    autobatcher results batch_abc123 --journal journal.sqlite3 --json
"""

HASH_ONLY = "Some prompts and answers are missing: the journal was kept with journal_hash_only."

_HEADINGS = ("custom_id", "endpoint", "status", "taken", "prompt", "answer")


def results(
    batch: Annotated[str | None, COMMAND_LINE_ONLY, Parameter(show_default=False)] = None,
    /,
    *,
    journal: JournalPlace | None = None,
    as_json: AsJson = False,
) -> int:
    """Show the requests of a journal, and their answers.

    Prompts and answers are shortened in the table and complete with --json (null where the journal has none). Delivered
    answers are kept until the program has exited cleanly and the journal is opened again.

    Args:
        batch: A batch's id or idempotency key. Without it: all batches.
        journal: The journal: its file, or its URL.
        as_json: Print one JSON object per line.
    """
    path = required(journal)
    with journal_to_read(path) as opened:
        records = opened.batches()
        wanted = records if batch is None else chosen(records, [batch], path)
        show = _print_lines if as_json else _print_table
        is_hash_only = show(_found(opened, wanted))
    if is_hash_only:
        print_notice(f"autobatcher results: {HASH_ONLY}")
    return 0


def _found(journal: JournalReader, records: list[BatchRecord]) -> Iterator[tuple[BatchRecord, Result]]:
    for record in records:
        for result in journal.results(record):
            yield record, result


def _print_lines(found: Iterator[tuple[BatchRecord, Result]]) -> bool:
    """Print JSON lines. Returns whether bodies are missing."""
    is_hash_only = False
    for record, result in found:
        is_hash_only |= result.body is None
        bodies = {"answer": as_json_text(result.answer), "request": as_json_text(result.body)}
        print_json(_fields(record, result), encoded=bodies)
    return is_hash_only


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


def _print_table(found: Iterator[tuple[BatchRecord, Result]]) -> bool:
    """Print a table. Returns whether bodies are missing."""
    is_hash_only, answered = False, 0
    rows: list[list[str]] = []
    for _, result in found:
        is_hash_only |= result.body is None
        answered += result.status_code is not None
        rows.append(_cells(result))
    if rows:
        print_text(text_table(_HEADINGS, rows))
    print_text(f"{counted(len(rows), 'request', 'requests')}, {answered:,} answered")
    return is_hash_only


def _cells(result: Result) -> list[str]:
    return [
        custom_id_of(result.idempotency_key, result.number),
        result.endpoint,
        "-" if result.status_code is None else str(result.status_code),
        "taken" if result.is_taken else "-",
        excerpt_of(result.body, prompt_excerpt),
        excerpt_of(result.answer, answer_excerpt),
    ]
