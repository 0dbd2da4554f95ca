"""Batches as a table for people, and their totals. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from ..printable import printable
from .batch_rows import Row, good
from .table_layout import Column
from .text_table import text_table

_COLUMNS = (
    Column("batch", cut="middle", least=13),
    Column("state", least=11),
    Column("requests", leaves=7),
    Column("answered", leaves=4),
    Column("taken", leaves=3),
    Column("models", leaves=2),
    Column("host", cut="middle", leaves=1),
    Column("age", leaves=5),
)
NOTHING_THERE = "there are no batches: nothing is running."
_OF_UPSTREAM = (Column("upstream says", least=13), Column("done"))
_ENGINE = Column("engine", cut="never", leaves=6)

_STYLES = {
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "cancelled": "yellow",
    "uncertain": "yellow",
    "not": "yellow",
}


def batch_table(
    rows: Sequence[Row], *, now: float, with_upstream: bool, with_engines: bool = False, room: int | None = None
) -> Text:
    """A row for each batch. With engines there is no room for the answers that were taken."""
    columns = [_ENGINE if with_engines and column.heading == "taken" else column for column in _COLUMNS]
    if with_upstream:
        columns[2:2] = _OF_UPSTREAM
    return text_table(columns, [_cells(row, now, with_upstream, with_engines) for row in rows], _STYLES, room=room)


def _cells(row: Row, now: float, with_upstream: bool, with_engines: bool) -> list[str]:
    record = row.record
    counts = ("-", "-", "-") if record is None else (record.request_count, good(record), record.taken)
    requests, answered, taken = counts
    return [
        name_of(row.batch_id, row.idempotency_key),
        row.words + ("" if record is None or not record.refused else f", {record.refused:,} failed"),
        *((row.upstream_words or "-", _done(row)) if with_upstream else ()),
        str(requests),
        str(answered),
        _engine(row) if with_engines else str(taken),
        ", ".join(record.models) if record is not None and record.models else "-",
        row.host,
        "-" if record is None else age(now - record.created_at),
    ]


def _engine(row: Row) -> str:
    """Its number in the table of engines."""
    return "-" if row.engine is None else f"{row.engine.number}{'' if row.engine.is_alive else ' gone'}"


def name_of(batch_id: str | None, idempotency_key: str | None) -> str:
    """The batch's id, or its idempotency key while it has no id; printable."""
    return printable(batch_id or f"- ({idempotency_key})")


def _done(row: Row) -> str:
    counts = None if row.state is None else row.state.counts
    return "-" if counts is None else f"{counts.completed + counts.failed}/{counts.total}"


def age(seconds: float) -> str:
    """A duration in its largest unit: "40 s", "5 min", "3 h", "2 d"."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def totals(rows: Sequence[Row], *, with_engines: bool = False, foreign: int = 0) -> str:
    """The last lines: the totals, and what to do about unfinished batches.

    Args:
        foreign: how many batches of the account are not shown.
    """
    shown = _totals(rows, with_engines) if rows else NOTHING_THERE.capitalize()
    return shown + (_foreign_words(foreign) if foreign else "")


def _foreign_words(count: int) -> str:
    batches = counted(count, "more batch", "more batches")
    return f"\nOther programs made {batches} of this account:\n--all-upstream lists them."


def _totals(rows: Sequence[Row], with_engines: bool) -> str:
    records = [row.record for row in rows if row.record is not None]
    uncertain = sum(record.stage == "creating" for record in records)
    calls = sum(record.is_call for record in records)
    unfinished = sum(record.stage != "ended" and not record.is_call for record in records)
    refused = sum(record.refused for record in records)
    line = (
        f"{counted(len(rows) - calls, 'batch', 'batches')}"
        + (f", {counted(calls, 'call', 'calls')} on other lanes" if calls else "")
        + f", {counted(sum(record.request_count for record in records), 'request', 'requests')}, "
        f"{sum(map(good, records)):,} answered, "
        + (f"{refused:,} failed, " if refused else "")
        + f"{sum(record.taken for record in records):,} taken"
    )
    if not unfinished:
        return line
    line += f"; {unfinished:,} not finished" + (f", {uncertain:,} of them uncertain" if uncertain else "")
    if with_engines:
        return f"{line}.{_left(rows)}"
    return (
        f"{line}.\n"
        "If no program uses this journal now, run the same program\n"
        "again, or `autobatcher reconcile`, which reads the batches\n"
        "that have ended."
    )


def _left(rows: Sequence[Row]) -> str:
    """What to do about the batches that no engine runs; "" if there are none."""
    unfinished = (row for row in rows if row.record is not None and row.record.stage != "ended")
    left = sum(not row.is_run for row in unfinished if row.record is not None and not row.record.is_call)
    if not left:
        return ""
    return (
        f"\nNo engine runs {left:,} of them: the next one with the same\n"
        "key does, or `autobatcher reconcile` reads those that have\n"
        "ended."
    )


def counted(number: int, one: str, more: str) -> str:
    """The number with its noun."""
    return f"{number:,} {one if number == 1 else more}"
