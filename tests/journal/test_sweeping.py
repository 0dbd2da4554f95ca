"""What a journal needs no longer is left out at once and deleted little by little, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from autobatcher.engine.journal import UnclaimedLine
from autobatcher.engine.journal.file_journal import FileJournal
from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.engine.journal.records import Contents
from autobatcher.engine.journal.sweep import ANSWERS_AT_ONCE
from autobatcher.engine.recovery.unclaimed import LOOKED_AT_AT_ONCE, UnclaimedLines
from tests.journal.records import a_record
from tests.operations import growth

HOUR, DAY = 3600.0, 86_400.0
PER_BATCH, BATCHES = 2_500, 2
ROWS = 2 * PER_BATCH * BATCHES
PER_STEP = 2 * ANSWERS_AT_ONCE + BATCHES + 1  # a line and its answer each, batches, a session


class Steps:
    """A journal's writer that runs statements when it is told to, and counts the rows that they change."""

    def __init__(self, open_store: Callable[[], OwnedFile]) -> None:
        self._open_store = open_store
        self.waiting: list[Callable[[OwnedFile], Any]] = []

    async def open(self) -> None:
        self.store = self._open_store()

    def tell(self, statement: Callable[[OwnedFile], Any]) -> None:
        self.waiting.append(statement)

    async def ask(self, statement: Callable[[OwnedFile], Any], *, goes_first: bool = False) -> Any:
        with self.store.transaction():
            return statement(self.store)

    async def step(self) -> int:
        """Run the next statement. Returns how many rows it changed."""
        before = self.changes
        await self.ask(self.waiting.pop(0))
        return self.changes - before

    @property
    def changes(self) -> int:
        return self.store._db.total_changes

    async def close(self) -> None:
        self.store.close()


def write(path: Path, *, is_taken: bool) -> None:
    """Write batches with answers, and end well."""
    store = OwnedFile(path)
    with store.transaction():
        store.begin_session("a process that has exited", now=0.0)
        for number in range(BATCHES):
            record = a_record(f"{number:032x}")
            store.intend(record, [(line, "/v1", b"{}") for line in range(PER_BATCH)], is_hash_only=False)
            store.answer(
                [(record.idempotency_key, line, 200, b"{}", None, is_taken) for line in range(PER_BATCH)], now=0.0
            )
            store.update(record.idempotency_key, now=0.0, stage="ended")
        store.end_session("well")
    store.close()


async def opened(path: Path, *, now: float) -> tuple[Steps, Contents, int]:
    """The journal's writer once it was opened, what was found, and how many rows that changed."""
    journal = FileJournal(path, retention_seconds=DAY, wall_clock=lambda: now, make_writer=Steps)
    contents = await journal.open()
    assert isinstance(journal._writer, Steps)
    return journal._writer, contents, journal._writer.changes


def rows(store: OwnedFile) -> int:
    found: int = store._db.execute(
        "SELECT (SELECT count(*) FROM lines) + (SELECT count(*) FROM answers) + (SELECT count(*) FROM batches)"
    ).fetchone()[0]
    return found


async def swept(writer: Steps) -> list[int]:
    """How many rows each step changed, to the end."""
    changed = []
    while writer.waiting:
        changed.append(await writer.step())
    return changed


async def test_what_a_good_end_left_is_not_delivered_and_deleted_after_the_opening(tmp_path: Path) -> None:
    write(tmp_path / "journal", is_taken=True)
    writer, contents, changed = await opened(tmp_path / "journal", now=HOUR)
    assert contents.unclaimed_lines == []
    assert changed <= 2  # sessions
    assert max(await swept(writer)) <= PER_STEP
    assert rows(writer.store) == 0
    assert writer.store._db.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    await writer.close()


async def test_a_process_that_dies_while_it_sweeps_leaves_the_rest_to_the_next_one(tmp_path: Path) -> None:
    write(tmp_path / "journal", is_taken=True)
    writer, _, _ = await opened(tmp_path / "journal", now=HOUR)
    while rows(writer.store) > ROWS / 2:
        await writer.step()
    await writer.close()
    writer, contents, _ = await opened(tmp_path / "journal", now=HOUR)
    assert contents.unclaimed_lines == []
    await swept(writer)
    assert rows(writer.store) == 0
    await writer.close()


async def test_answers_that_nobody_took_in_time_are_not_delivered_and_deleted_after_the_opening(tmp_path: Path) -> None:
    write(tmp_path / "journal", is_taken=False)
    writer, contents, _ = await opened(tmp_path / "journal", now=HOUR)
    assert len(contents.unclaimed_lines) == PER_BATCH * BATCHES
    await swept(writer)
    await writer.close()
    writer, contents, changed = await opened(tmp_path / "journal", now=HOUR + DAY)
    assert contents.unclaimed_lines == []
    assert changed == 1  # a session
    assert max(await swept(writer)) <= PER_STEP
    assert rows(writer.store) == 0
    await writer.close()


async def test_a_disk_that_is_full_for_hours_leaves_one_sweep_and_not_one_of_each_try(tmp_path: Path) -> None:
    write(tmp_path / "journal", is_taken=True)
    writer, _, _ = await opened(tmp_path / "journal", now=HOUR)
    await writer.step()  # removes markers
    first = writer.waiting[0]
    for _ in range(100):
        writer.store._db.execute("BEGIN")
        first(writer.store)
        writer.store._db.execute("ROLLBACK")
        writer.store._on_rollback()
    assert len(writer.waiting) == 2
    await swept(writer)
    assert rows(writer.store) == 0
    await writer.close()


async def test_batches_that_were_never_read_are_deleted_one_after_the_other(tmp_path: Path) -> None:
    store = OwnedFile(tmp_path / "journal")
    with store.transaction():
        for number in range(4):
            record = msgspec.structs.replace(a_record(f"{number:032x}"), request_count=ANSWERS_AT_ONCE // 2)
            lines = [(line, "/v1", b"{}") for line in range(record.request_count)]
            store.intend(record, lines, is_hash_only=False)
            store.update(record.idempotency_key, now=0.0, stage="created", batch_id="b")
    store.close()
    writer, contents, _ = await opened(tmp_path / "journal", now=40 * DAY)
    assert (contents.batches, contents.unclaimed_lines) == ([], [])
    assert max(await swept(writer)) <= ANSWERS_AT_ONCE + 2
    assert rows(writer.store) == 0
    await writer.close()


def test_an_hourly_sweep_holds_up_the_loop_no_longer_with_many_lines() -> None:
    def sweeping(count: int) -> Callable[[], None]:
        lines = UnclaimedLines()
        for number in range(count):
            lines.add(b"%d" % number, UnclaimedLine("batch", number, unclaimed_since=0.0))
        return lambda: lines.forget_old(stored_before=1.0, unread_before=1.0)

    assert growth(sweeping, few=LOOKED_AT_AT_ONCE, many=4 * LOOKED_AT_AT_ONCE) < 1.2


def test_a_sweep_goes_on_to_its_end_whatever_comes_and_goes_meanwhile() -> None:
    lines, count = UnclaimedLines(), 3 * LOOKED_AT_AT_ONCE
    for number in range(count):
        for age in (0.0, 2.0):
            lines.add(b"%d" % number, UnclaimedLine("batch", number, unclaimed_since=age))
    lines.forget_old(stored_before=1.0, unread_before=1.0)
    last = b"%d" % (count - 1)
    claimed = lines.claim(last)
    assert claimed is not None
    assert claimed.unclaimed_since == 0.0  # the oldest first, and this one was not looked at yet
    lines.add(b"new", UnclaimedLine("batch", 0, unclaimed_since=0.0))
    for _ in range(3):
        lines.forget_more()
    assert sum(1 for _ in lines) == count + 1
    assert [lines.claim(b"0"), lines.claim(b"0")][1] is None
