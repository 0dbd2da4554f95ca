"""What one run learns of how long batches and calls take, the next one plans with."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from autobatcher.engine.journal import schema
from autobatcher.engine.journal.file import edit_journal, read_journal
from autobatcher.engine.journal.store import Store
from tests.harness import Harness, ask, open_harness
from tests.journal.restarts import Restarts

pytestmark = pytest.mark.full_price

DEADLINE = 6_000.0
"""In seconds. By public figures a batch keeps it; not if batches take as long as here."""


async def test_the_next_run_plans_with_what_the_first_one_learned(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, batch_seconds=20_000) as harness:
        await _learn(restarts, harness)
        assert await _batches_for_a_deadline(restarts, harness) == 0
        restarts.clear()
        assert await _batches_for_a_deadline(restarts, harness) == 1


async def test_damaged_durations_count_as_none(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, batch_seconds=20_000) as harness:
        await _learn(restarts, harness)
        with closing(sqlite3.connect(restarts.path)) as connection, connection:
            connection.execute("UPDATE durations SET content = ?", (b"{garbage",))
        assert await _batches_for_a_deadline(restarts, harness) == 1


async def test_forgetting_all_forgets_them(restarts: Restarts) -> None:
    async with open_harness(has_lanes=True, batch_seconds=20_000) as harness:
        await _learn(restarts, harness)
        with edit_journal(restarts.path) as journal:
            journal.forget_durations()
        assert await _batches_for_a_deadline(restarts, harness) == 1


def test_a_file_without_them_is_read_and_brought_up_to_date(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        Store(restarts.path).close()
    with read_journal(restarts.path) as journal:
        assert journal.batches() == []
    with closing(Store(restarts.path)) as store, store.transaction():
        store.begin_session("p", now=1.0)
        store.keep_durations(b"{}")
        assert store.contents("p", now=1.0).durations == b"{}"


async def _learn(restarts: Restarts, harness: Harness) -> None:
    async with restarts.program(harness, lanes=("batch", "realtime"), poll_interval_seconds=600.0) as program:
        for number in range(12):
            await ask(program.client, f"patient {number}")


async def _batches_for_a_deadline(restarts: Restarts, harness: Harness) -> int:
    """How many batches a program makes for one call with a deadline."""
    before = harness.emulator.statistics().batches_created
    async with restarts.program(
        harness, lanes=("batch", "realtime"), poll_interval_seconds=600.0, deadline=DEADLINE
    ) as program:
        await ask(program.client, "hurried")
    return harness.emulator.statistics().batches_created - before
