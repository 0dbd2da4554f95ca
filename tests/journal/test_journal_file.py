"""The journal's file: its permissions, its contents, its lock, and failures to use it."""

from __future__ import annotations

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher import BatchOpenAI, BatchOpenAISync
from autobatcher.engine.journal import schema
from autobatcher.engine.journal.file import edit_journal, read_journal
from autobatcher.engine.journal.store import Store
from autobatcher.errors import JournalError, JournalInUseError
from tests.harness import ask, open_harness, outcome_of, wait_for_event
from tests.journal.records import a_record
from tests.journal.restarts import Restarts, ask_all, billed

CHAT = "/v1/chat/completions"
SECRETS = (b"test-key", b"Bearer")


def bytes_of(path: Path) -> bytes:
    """Return all bytes of a journal on disk."""
    return b"".join(each.read_bytes() for each in sorted(path.parent.iterdir()) if each.name.startswith(path.name))


async def test_only_its_owner_may_read_it(restarts: Restarts) -> None:
    async with open_harness() as harness, restarts.program(harness) as program:
        await ask(program.client, "a")
        for each in restarts.path.parent.iterdir():
            assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


async def test_a_file_that_others_could_read_is_closed_to_them(restarts: Restarts) -> None:
    restarts.path.touch(mode=0o644)
    async with open_harness() as harness, restarts.program(harness) as program:
        await ask(program.client, "a")
    assert stat.S_IMODE(restarts.path.stat().st_mode) == 0o600


async def test_prompts_and_answers_are_in_it_and_no_key(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            answer = await ask(program.client, "the-prompt")
            program.die()
        assert b"the-prompt" in bytes_of(restarts.path)
        assert answer.encode() in bytes_of(restarts.path)
        assert not [secret for secret in SECRETS if secret in bytes_of(restarts.path)]


async def test_hash_only_keeps_neither_and_reads_answers_again(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with restarts.program(harness, journal_hash_only=True) as program:
            await ask(program.client, "the-prompt")
            program.die()
        assert b"the-prompt" not in bytes_of(restarts.path)
        async with restarts.program(harness, journal_hash_only=True) as program:
            assert "the-prompt" in await ask(program.client, "the-prompt")
        assert billed(harness) == {"the-prompt": 1}
        assert b"the-prompt" not in bytes_of(restarts.path)


async def test_hash_only_finds_a_batch_that_still_runs(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        async with restarts.program(harness, journal_hash_only=True) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(ask_all, program.client, ["a", "a"])
            await wait_for_event(harness, "batch_submitted")
            program.die()
        async with restarts.program(harness, journal_hash_only=True) as program:
            assert len(await ask_all(program.client, ["a", "a"])) == 2
        assert billed(harness) == {"a": 2}


async def test_hash_only_reads_again_what_came_while_its_caller_was_gone(restarts: Restarts) -> None:
    async with (
        open_harness(batch_seconds=60.0) as harness,
        restarts.program(harness, journal_hash_only=True) as program,
    ):

        async def leave() -> None:
            with anyio.move_on_after(20):
                await ask(program.client, "a")

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(leave)
            nursery.start_soon(ask, program.client, "b")
        await anyio.sleep(100)
        assert "a" in await ask(program.client, "a")
        assert billed(harness) == {"a": 1, "b": 1}


def age(path: Path, seconds: float) -> None:
    """Shift everything in a journal back in time."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE answers SET answered_at = answered_at - ?", (seconds,))
        older = "created_at = created_at - ?, changed_at = changed_at - ?"
        connection.execute(f"UPDATE batches SET {older}", (seconds, seconds))


@pytest.mark.parametrize(("age_seconds", "times_paid"), [(3500.0, 1), (3700.0, 2)])
async def test_answers_older_than_the_retention_are_forgotten(
    restarts: Restarts, age_seconds: float, times_paid: int
) -> None:
    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            await ask(program.client, "the-prompt")
            program.die()
        age(restarts.path, age_seconds)
        async with restarts.program(harness, journal_retention_seconds=3600.0) as program:
            await ask(program.client, "the-prompt")
        assert billed(harness) == {"the-prompt": times_paid}


async def test_a_batch_that_was_not_read_outlives_the_retention(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        async with restarts.program(harness) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(ask, program.client, "a")
            await wait_for_event(harness, "batch_submitted")
            program.die()
        age(restarts.path, 86_400.0)
        async with restarts.program(harness, journal_retention_seconds=1.0) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


# ---- one engine at a time ----


async def test_a_second_engine_is_refused_clearly_and_the_first_one_goes_on(restarts: Restarts) -> None:
    async with open_harness() as harness, restarts.program(harness) as program:
        with pytest.raises(JournalInUseError, match=r"in use by another engine \(process \d+ on .+\)"):
            async with restarts.client(harness):
                pass
        assert "a" in await ask(program.client, "a")


async def test_a_second_engine_in_a_nursery_or_bare_is_refused_too(restarts: Restarts) -> None:
    async with open_harness() as harness, restarts.program(harness):
        second = restarts.client(harness)
        with pytest.raises(JournalInUseError):
            await second.run()
        third = restarts.client(harness)
        assert isinstance(await outcome_of(ask(third, "a")), JournalInUseError)
        await third.close()


async def test_the_next_engine_may_have_it_as_soon_as_the_first_is_closed(restarts: Restarts) -> None:
    async with open_harness() as harness:
        for _ in range(3):
            async with restarts.client(harness) as client:
                await ask(client, "a")


async def test_copies_of_a_client_share_its_journal(restarts: Restarts) -> None:
    async with open_harness() as harness, restarts.program(harness) as program:
        assert "a" in await ask(program.client.with_options(max_retries=0), "a")


# ---- when it cannot be used ----


@pytest.mark.parametrize("kind", ["no directory", "a directory", "no journal", "of a later version"])
async def test_a_file_that_cannot_be_used_is_told_at_once_and_nothing_is_sent(kind: str, restarts: Restarts) -> None:
    path = restarts.path
    match kind:
        case "no directory":
            path = path / "deeper" / "journal"
        case "a directory":
            path.mkdir()
        case "no journal":
            path.write_bytes(b"my diary\n" * 1000)
        case "of a later version":
            with sqlite3.connect(path) as connection:
                connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
            connection.close()
    async with open_harness() as harness:
        with pytest.raises(JournalError):
            async with harness.client(journal=path):
                pass
        assert not harness.emulator.statistics().uploads
    if kind == "no journal":
        assert path.read_bytes() == b"my diary\n" * 1000


async def test_a_disk_that_is_full_stops_new_batches_and_not_the_answers_of_others(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with open_harness(batch_seconds=30.0) as harness, restarts.program(harness) as program:
        outcomes: list[Any] = []

        async def one(text: str) -> None:
            outcomes.append(await outcome_of(ask(program.client, text)))

        async with anyio.create_task_group() as nursery:
            nursery.start_soon(one, "a")
            await wait_for_event(harness, "batch_submitted")
            monkeypatch.setattr(Store, "intend", full)
            await one("b")
        refused, answered = outcomes
        assert isinstance(refused, JournalError)
        assert "disk is full" in refused.message
        assert "a" in answered
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize(
    "wrong", [{"journal": 3}, {"journal": ""}, {"journal_hash_only": 1}, {"journal_retention_seconds": -1.0}]
)
def test_settings_that_cannot_work_are_refused_at_construction(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        BatchOpenAI(api_key="k", **wrong)


def test_an_older_file_becomes_one_of_todays_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    store = Store(path)
    with store.transaction():
        store.begin_session("p", now=1.0)
    store.close()
    later = "ALTER TABLE sessions ADD COLUMN mood TEXT; CREATE TABLE moods (mood TEXT);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
    Store(path).close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
        assert connection.execute("SELECT process, mood FROM sessions").fetchall() == [("p", None)]
    connection.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    Store(path).close()
    before = len(schema.MIGRATIONS)
    broken = "CREATE TABLE a (b); ALTER TABLE nothing RENAME TO x;"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    with pytest.raises(JournalError):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (before,)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'a'").fetchall()
    connection.close()


async def test_an_sqlite_file_of_somebody_else_is_left_as_it_is(restarts: Restarts) -> None:
    with closing(sqlite3.connect(restarts.path)) as connection, connection:
        connection.execute("CREATE TABLE batches (mine TEXT)")
    async with open_harness() as harness:
        with pytest.raises(JournalError, match="no journal of autobatcher"):
            async with restarts.client(harness):
                pass
    with closing(sqlite3.connect(restarts.path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("batches",)]


# ---- with the real thread ----


@pytest.mark.real_time
async def test_a_file_that_could_not_be_written_for_a_while_has_everything_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autobatcher.engine.journal.sqlite_file.BUSY_SECONDS", 0.05)
    path, fast = tmp_path / "journal", {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}
    async with open_harness(batch_seconds=0.5) as harness:
        with anyio.fail_after(20):
            async with harness.client(journal=path, **fast) as client, anyio.create_task_group() as nursery:
                nursery.start_soon(ask, client, "a")
                await wait_for_event(harness, "batch_submitted")
                with closing(sqlite3.connect(path, isolation_level=None)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    assert isinstance(await outcome_of(ask(client, "b")), JournalError)
                    await wait_for_event(harness, "batch_completed")
                assert "b" in await ask(client, "b")
                client.keep_for_rerun()
            async with harness.client(journal=path, **fast) as client:
                await ask_all(client, ["a", "b"])
        assert billed(harness) == {"a": 1, "b": 1}


@pytest.mark.real_time
async def test_the_thread_that_writes_ends_with_the_client(tmp_path: Path) -> None:
    async with open_harness() as harness:
        with anyio.fail_after(20):
            fast = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}
            for _ in range(2):
                async with harness.client(journal=tmp_path / "journal", **fast) as client:
                    await ask_all(client, [f"q{number}" for number in range(50)])
                    assert "autobatcher journal" in {thread.name for thread in threading.enumerate()}
                assert "autobatcher journal" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.real_time
def test_the_sync_client_says_so_too(tmp_path: Path) -> None:
    with (
        BatchOpenAISync(api_key="k", base_url="http://127.0.0.1:9/v1", journal=tmp_path) as client,
        pytest.raises(JournalError, match="Is a directory"),
    ):
        client.responses.create(model="m", input="x")


@pytest.mark.proves("faults", "the journal is deleted or replaced while it is in use")
@pytest.mark.parametrize("what", ["deleted", "replaced"])
async def test_a_journal_that_is_taken_away_is_noticed_before_anything_more_is_sent(
    restarts: Restarts, tmp_path: Path, what: str
) -> None:
    async with open_harness() as harness, restarts.program(harness) as program:
        assert "a" in await ask(program.client, "a")
        restarts.path.unlink()
        if what == "replaced":
            restarts.path.write_bytes(b"")
        outcome = await outcome_of(ask(program.client, "b"))
        assert isinstance(outcome, JournalError)
        assert what in outcome.message
        assert harness.emulator.statistics().batches_created == 1


@pytest.mark.parametrize("ends", ["well", "badly"])
async def test_a_program_that_ends_leaves_everything_in_one_file(restarts: Restarts, ends: str) -> None:
    async with open_harness() as harness:

        async def run() -> None:
            async with restarts.program(harness) as program:
                await ask(program.client, "a")
                if ends == "badly":
                    raise ZeroDivisionError

        if ends == "badly":
            with pytest.raises(ZeroDivisionError):
                await run()
        else:
            await run()
        assert not restarts.path.with_name(f"{restarts.path.name}-wal").exists()
        copy = restarts.path.with_name("copy.sqlite3")
        copy.write_bytes(restarts.path.read_bytes())
        with closing(Store(copy, is_read_only=True)) as store:
            assert [record.answered for record in store.batches()] == [1]


def test_a_batch_that_is_forgotten_while_it_is_looked_at_has_no_results(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with closing(Store(path)) as store, store.transaction():
        store.intend(a_record("one"), [(0, "/v1/embeddings", b"{}")], is_hash_only=False)
    with read_journal(path) as journal:
        (batch,) = journal.batches()
        with edit_journal(path) as editor:
            editor.forget([batch])
        assert list(journal.results(batch)) == []
