"""Snapshots, and what they look like: as lines and as pictures."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from rich.console import Console

from autobatcher import events
from autobatcher.display.picture import picture
from autobatcher.display.sentence import seconds_in_words, sentence
from autobatcher.display.snapshot import SHOWN_BATCHES, ProgressSnapshot, snapshot_of
from autobatcher.progress import Progress


def with_batch(progress: Progress, batch_id: str = "b1", *, done: int = 0, begun: float = 0.0) -> None:
    """A batch of ten requests, `done` of which are done."""
    fields: dict[str, Any] = {
        "ts": 0.0,
        "batch_id": batch_id,
        "endpoint": "/v1/embeddings",
        "input_file_id": "f",
        "request_count": 10,
        "models": ["m"],
        "completion_window": "24h",
        "metadata": {},
    }
    progress.take(events.BatchSubmitted(**fields), begun)
    counts = events.RequestCounts(completed=done, total=10)
    progress.take(events.BatchProgress(**fields, status="in_progress", counts=counts, elapsed_seconds=1.0), 2.0)


def begun_before(seconds: float, requests: int | None = None) -> Progress:
    progress = Progress(requests)
    progress.started_at -= seconds
    return progress


def painted(snapshot: ProgressSnapshot, *, columns: int = 100) -> list[str]:
    console = Console(width=columns, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(picture(snapshot))
    return capture.get().splitlines()


def test_a_snapshot_has_the_calls_the_batches_and_the_time_left() -> None:
    progress = begun_before(4.0, requests=20)
    progress.answered = 5
    with_batch(progress, done=5, begun=1.0)
    snapshot = snapshot_of(progress, queued=9)
    assert (snapshot.requests, snapshot.answered, snapshot.waiting, snapshot.queued) == (20, 5, 15, 9)
    assert snapshot.remaining_seconds == pytest.approx(3.0, abs=0.2)
    assert snapshot.batches[0].remaining_seconds == snapshot.remaining_seconds
    with pytest.raises(AttributeError):
        snapshot.answered = 6  # type: ignore[misc]
    assert msgspec.json.decode(msgspec.json.encode(snapshot))["batches"][0]["status"] == "in progress"


def ended(progress: Progress) -> None:
    """All batches have ended."""
    for batch in progress.batches.values():
        batch.ended = 1.0


def test_the_time_left_is_that_of_the_slowest_batch_and_unknown_if_one_is_unknown() -> None:
    progress = begun_before(10.0)
    with_batch(progress, "b0")
    assert snapshot_of(progress, queued=0, usual_seconds={"b0": 420.0}).remaining_seconds is None
    ended(progress)
    with_batch(progress, "b1")
    with_batch(progress, "b2")
    usual = {"b1": 30.0, "b2": 600.0}
    assert snapshot_of(progress, queued=0, usual_seconds=usual).remaining_seconds == 600.0
    assert snapshot_of(progress, queued=0, usual_seconds={"b1": 30.0}).remaining_seconds is None
    assert snapshot_of(progress, queued=0, usual_seconds={"b1": 1.0, "b2": float("inf")}).remaining_seconds is None


def test_a_line_has_what_is_worth_telling() -> None:
    progress = begun_before(250.0, requests=1_000)
    assert (
        sentence(snapshot_of(progress, queued=0))
        == "0 of 1,000 calls answered, 0 batches, 0 running, 4 min 10 s so far"
    )
    progress = replace(begun_before(250.0, requests=1_000), answered=7, failed=2, input_tokens=1_234, escalated=3)
    with_batch(progress, "b0")
    ended(progress)
    with_batch(progress)
    snapshot = snapshot_of(progress, queued=9, usual_seconds={"b1": 7_200.0}, cost=Decimal("0.0123"))
    assert sentence(snapshot) == (
        "7 of 1,000 calls answered, 2 failed, 9 queued, 3 on to another lane, 2 batches, 1 running, "
        "1,234 tokens in, 0 out, $0.0123, 4 min 10 s so far, 2.2/min, about 2 h 0 min left"
    )


def test_times_are_in_the_units_that_people_use() -> None:
    assert [seconds_in_words(each) for each in (0.04, 59.9, 60, 3_599, 3_600, 90_061)] == [
        "0.0 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 1 min",
    ]  # fmt: skip


def test_the_picture_has_the_queue_the_cost_the_batches_and_the_answers() -> None:
    progress = replace(begun_before(4.0, requests=20), answered=1)
    with_batch(progress, done=5, begun=1.0)
    headline, calls, batch = painted(snapshot_of(progress, queued=9, cost=Decimal("12.5")))
    assert headline.split("   ")[:4] == ["1 of 20 calls answered", "9 queued", "$12.50", "1 batch, 1 running"]
    assert calls.split("  ")[-2].strip() == "1/20"
    assert "left" in calls
    assert batch.startswith("batch 1")
    assert batch.split()[-5:] == ["5/10", "in", "progress", "3.0", "s"]


def parts_of(lines: list[str]) -> set[str]:
    return {part for line in lines for part in line.split("   ")}


def test_on_a_narrow_terminal_the_bars_are_shorter_and_nothing_is_cut() -> None:
    progress = replace(begun_before(4_000.0, requests=123_456), answered=1, input_tokens=86_500, output_tokens=44_000)
    with_batch(progress, done=5, begun=1.0)
    for columns in (60, 80, 120):
        lines = painted(snapshot_of(progress, queued=9), columns=columns)
        assert {"1 of 123,456 calls answered", "86,500 tokens in, 44,000 out", "1 batch, 1 running"} <= parts_of(
            lines[:-2]
        )
        assert " ".join(lines[-1].split()).endswith("5/10 in progress 1 h 6 min")
        assert max(map(len, lines)) <= columns
        assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)


def test_the_picture_stays_small() -> None:
    progress = Progress(1000)
    for number in range(100):
        with_batch(progress, f"b{number}")
    lines = painted(snapshot_of(progress, queued=0))
    assert len(lines) <= SHOWN_BATCHES + 3
    assert any(line.startswith("batch 100 ") for line in lines)
    assert f"and {100 - SHOWN_BATCHES} before these" in lines[-1]
