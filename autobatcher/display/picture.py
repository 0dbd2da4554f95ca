"""A snapshot as a picture for a terminal. Pure. Text of strangers is made printable here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..printable import printable
from .sentence import batches_in_words, cost_in_words, rate_in_words, seconds_in_words
from .snapshot import BatchSnapshot, ProgressSnapshot

_BAR_WIDTH = 30
"""In columns, where there is room: the bar becomes narrower before anything else is cut."""

_BETWEEN = "   "

_STYLES = {"completed": "green", "failed": "red", "expired": "red", "cancelled": "yellow"}


def picture(snapshot: ProgressSnapshot) -> RenderableType:
    """The calls, with a bar, and the newest batches, with one each."""
    return Group(_Headline(_parts(snapshot)), _calls(snapshot), _batch_table(snapshot))


class _Headline:
    """Parts side by side, in as many lines as they need: none of them is broken while it fits into a line."""

    def __init__(self, parts: Iterable[Text]) -> None:
        self._parts = list(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        line = Text()
        for part in self._parts:
            if line and line.cell_len + len(_BETWEEN) + part.cell_len > options.max_width:
                yield line
                line = Text()
            line = Text.assemble(line, _BETWEEN if line else "", part)
        yield line


def _parts(snapshot: ProgressSnapshot) -> Iterator[Text]:
    yield Text.assemble((f"{snapshot.answered:,}", "bold green"), f" of {snapshot.requests:,} calls answered")
    yield Text.assemble((f"{snapshot.queued:,}", "bold"), " queued")
    if snapshot.failed:
        yield Text(f"{snapshot.failed:,} failed", "bold red")
    if snapshot.withdrawn:
        yield Text(f"{snapshot.withdrawn:,} withdrawn", "yellow")
    if snapshot.escalated:
        yield Text(f"{snapshot.escalated:,} on to another lane", "yellow")
    if snapshot.input_tokens or snapshot.output_tokens:
        yield Text(f"{snapshot.input_tokens:,} tokens in, {snapshot.output_tokens:,} out")
    if snapshot.cost is not None:
        yield Text(cost_in_words(snapshot.cost), "bold")
    yield Text(batches_in_words(snapshot), "dim")


def _calls(snapshot: ProgressSnapshot) -> Table:
    done = snapshot.answered + snapshot.failed + snapshot.withdrawn
    row = _grid(None, "right", "left")
    row.add_row(_bar(done, snapshot.requests), f"{done:,}/{snapshot.requests:,}", Text(_times(snapshot), "dim"))
    return row


def _times(snapshot: ProgressSnapshot) -> str:
    so_far = seconds_in_words(snapshot.seconds)
    if snapshot.per_second:
        so_far = f"{so_far}, {rate_in_words(snapshot.per_second)}"
    if snapshot.remaining_seconds is None or snapshot.is_final:
        return so_far
    return f"{so_far}, about {seconds_in_words(snapshot.remaining_seconds)} left"


def _batch_table(snapshot: ProgressSnapshot) -> Table:
    table = _grid("right", None, "right", "left", "right")
    for batch in snapshot.batches:
        table.add_row(*_batch_row(batch))
    if snapshot.submitted_batches > len(snapshot.batches):
        table.add_row("", Text(f"and {snapshot.submitted_batches - len(snapshot.batches):,} before these", "dim"))
    return table


def _batch_row(batch: BatchSnapshot) -> list[RenderableType]:
    status = Text(printable(batch.status), _STYLES.get(batch.status, "cyan"))
    done = f"{batch.done}/{batch.total}"
    return [f"batch {batch.number}", _bar(batch.done, batch.total), done, status, seconds_in_words(batch.seconds)]


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done)


def _grid(*columns: Literal["left", "right"] | None) -> Table:
    """A table with these columns; None: of bars."""
    table = Table.grid(padding=(0, 2))
    for justify in columns:
        if justify is None:
            table.add_column(max_width=_BAR_WIDTH)
        else:
            table.add_column(justify=justify, no_wrap=True)
    return table
