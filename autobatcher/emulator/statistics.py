"""A frozen snapshot of an emulator's activity, for tests and the demo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .batch import Batch
from .ledger import Billed
from .lines import Line


@dataclass(frozen=True, slots=True)
class LineView:
    """A line of a batch.

    `billed`: it was executed and answered with a 2xx, whether or not the answer was delivered.
    """

    batch_id: str
    custom_id: str
    url: str
    model: str
    raw_body: bytes = field(repr=False)
    billed: bool

    @property
    def body(self) -> dict[str, Any]:
        content: dict[str, Any] = msgspec.json.decode(self.raw_body)
        return content


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch. `custom_ids` are in the order of the input file, and empty until it was validated."""

    id: str
    status: str
    endpoint: str
    models: tuple[str, ...]
    custom_ids: tuple[str, ...]
    metadata: Mapping[str, str]
    input_file_id: str
    completion_window: str
    completed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot. Lines and custom_ids cover the last 256 MB of request bodies."""

    realtime_calls: Mapping[str, int]
    """Calls answered at the price of real time, by endpoint."""
    flex_calls: Mapping[str, int]
    """Calls answered on the flex tier, by endpoint."""
    most_calls_at_once: Mapping[str, int]
    """The most that ran at once, by lane, of real-time calls that take time."""
    http_calls: Mapping[str, int]
    """All calls, by operation: "files.create", "batches.retrieve", ..."""
    http_statuses: Mapping[int, int]
    """Answers given, by HTTP status."""
    lost_connections: int
    """Calls that ended without a complete response."""
    uploads: int
    batches_created: int
    batches: tuple[BatchView, ...]
    """In the order of their creation."""
    running_batch_ids: tuple[str, ...]
    """Those that have not ended."""
    file_ids: tuple[str, ...]
    """The current number of files: input, output and error files."""
    input_file_ids: tuple[str, ...]
    """Those of them that were uploaded for a batch."""
    lines: tuple[LineView, ...]
    billed: Mapping[str, int]
    """How many times each custom_id was executed and billed."""


def view_batch(batch: Batch) -> BatchView:
    return BatchView(
        id=batch.id,
        status=batch.status,
        endpoint=batch.order.endpoint,
        models=batch.models,
        custom_ids=tuple(line.custom_id for line in batch.lines),
        metadata=dict(batch.order.metadata or {}),
        input_file_id=batch.order.input_file_id,
        completion_window=batch.order.completion_window,
        completed=batch.outcomes.completed,
        failed=batch.outcomes.failed,
    )


def view_lines(batch: Batch) -> list[LineView]:
    return [_view_line(batch, line) for line in batch.lines]


def _view_line(batch: Batch, line: Line) -> LineView:
    billed = line.number in batch.outcomes.billed
    return LineView(batch.id, line.custom_id, line.url, line.model, line.body, billed)


def billed_lines(batches: Iterable[Batch], spell: Callable[[str], str]) -> list[Billed]:
    """The lines that were billed. `spell` gives OpenAI's spelling of a line's url."""
    return [
        Billed(
            lane="batch",
            endpoint=spell(line.url),
            model=line.model,
            raw_body=line.body,
            at=batch.outcomes.billed[line.number],
            batch_id=batch.id,
            custom_id=line.custom_id,
        )
        for batch in batches
        for line in batch.lines
        if line.number in batch.outcomes.billed
    ]


def count_billed(lines: tuple[LineView, ...]) -> Mapping[str, int]:
    return Counter(line.custom_id for line in lines if line.billed)
