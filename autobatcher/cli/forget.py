"""`autobatcher forget`: delete batches or answers from the journal."""

from __future__ import annotations

import time
from typing import Annotated

from ..engine.journal import BatchRecord
from .batch_table import counted, name_of
from .flags import COMMAND_LINE_ONLY, JournalPlace, Seconds, Switch, UsageError
from .journal_flags import All, AsJson, BatchNames, chosen, journal_to_edit, required
from .output import print_json, print_text

EXAMPLES = """
**Examples**

    # answers that were delivered
    autobatcher forget --taken --journal journal.sqlite3

    # batches older than a month
    autobatcher forget --older-than 30d --journal journal.sqlite3

    # everything, and shrink the file
    autobatcher forget --all --journal journal.sqlite3
"""

_NOT_READ = ("creating", "created")

_KEPT = (
    "it may still be running, or have unread answers. Run `autobatcher cancel` or `autobatcher reconcile` first, or "
    "give --force."
)
_KEPT_IN_USE = "an engine runs it. Stop that one first, or `autobatcher cancel` the batch."
_KEPT_CALL = "it may have been billed, and a rerun is told so. Give --force if it may pay for it again."


def forget(
    *batches: BatchNames,
    every: All = False,
    older_than: Annotated[Seconds | None, COMMAND_LINE_ONLY] = None,
    taken: Annotated[Switch, COMMAND_LINE_ONLY] = False,
    force: Annotated[Switch, COMMAND_LINE_ONLY] = False,
    journal: JournalPlace | None = None,
    as_json: AsJson = False,
) -> int:
    """Delete batches, with their prompts and answers, from a journal that no engine uses.

    Engines may use a shared journal meanwhile: the batches that they run are kept.
    Batches that may still be running, or were not read yet, are kept: `autobatcher cancel` or `autobatcher reconcile`
    them first, or give --force. So are calls on other lanes that may have been billed. Nothing changes upstream. A
    rerun sends and pays for forgotten requests again. --all and --older-than also forget background responses of the
    proxy that have ended; with --force those that have not, too.

    Exit codes: 0, 1 if a batch was kept, or 2 if there is no such journal or batch.

    Args:
        batches: Ids or idempotency keys of batches.
        every: Forget all batches, and shrink the file so that no trace of them remains.
        older_than: Forget batches created longer ago than this.
        taken: Forget delivered answers, and batches that have nothing else.
        force: Also forget unfinished batches. They keep running upstream and nobody reads them.
        journal: The journal: its file, or its URL.
        as_json: Print one JSON object with the forgotten and the kept batches.
    """
    ways = (bool(batches), every, older_than is not None, taken)
    if sum(ways) != 1:
        raise UsageError(
            "forget what? Give ids or idempotency keys, or exactly one of --all, --older-than and --taken."
        )
    path = required(journal)
    with journal_to_edit(path) as opened:
        if taken:
            return report([], {}, opened.forget_taken(), as_json=as_json)
        records = opened.batches()
        if not every:
            records = chosen(records, batches, path) if older_than is None else _older(records, older_than)
        kept = {} if force else {record.idempotency_key: why for record in records if (why := _why_kept(record))}
        in_use = opened.forget(record for record in records if record.idempotency_key not in kept)
        kept |= dict.fromkeys((record.idempotency_key for record in in_use), _KEPT_IN_USE)
        responses = 0
        if not batches:
            until = time.time() - (older_than or 0.0)
            responses = opened.forget_responses(until=until, open_until=until if force else 0.0)
        if every:
            opened.forget_durations()
            opened.compact()
    forgotten = [record for record in records if record.idempotency_key not in kept]
    return report(records, kept, sum(record.answered for record in forgotten), as_json=as_json, responses=responses)


def _why_kept(record: BatchRecord) -> str | None:
    """Why the batch is not forgotten without --force."""
    if record.stage == "calling":
        return _KEPT_CALL
    return _KEPT if record.stage in _NOT_READ else None


def _older(records: list[BatchRecord], seconds: float) -> list[BatchRecord]:
    until = time.time() - seconds
    return [record for record in records if record.created_at < until]


def report(records: list[BatchRecord], kept: dict[str, str], answers: int, *, as_json: bool, responses: int = 0) -> int:
    """Print what was forgotten and kept, and return the exit code.

    Args:
        kept: why, by idempotency key. The other records were forgotten.
        responses: how many background responses were forgotten.
    """
    forgotten = [record for record in records if record.idempotency_key not in kept]
    if as_json:
        print_json(
            {
                "answers": answers,
                "forgotten": [record.batch_id or record.idempotency_key for record in forgotten],
                "kept": [record.batch_id or key for record in records if (key := record.idempotency_key) in kept],
                **({"responses": responses} if responses else {}),
            }
        )
    else:
        for record in records:
            if (why := kept.get(record.idempotency_key)) is not None:
                print_text(f"{name_of(record.batch_id, record.idempotency_key)} was kept: {why}")
        what = f"{counted(len(forgotten), 'batch', 'batches')} and {counted(answers, 'answer', 'answers')}"
        if responses:
            what += f" and {counted(responses, 'background response', 'background responses')}"
        print_text(f"{what} forgotten.")
    return 1 if kept else 0
