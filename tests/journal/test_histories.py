"""Found in reviews: sequences of events in which a request was billed twice, a batch lost, or a caller misled."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault
from autobatcher.engine.journal import at_exit
from autobatcher.engine.journal.journal import Journal
from autobatcher.engine.journal.ownership import Ownership, lock_file_of
from autobatcher.engine.journal.store import Store
from autobatcher.errors import BatchSubmissionError, EngineError, JournalError
from tests.harness import HTTP, ask, between, open_harness, outcome_of, wait_for_event
from tests.journal.records import a_record
from tests.journal.restarts import Restarts, ask_all, billed
from tests.journal.test_reruns import _http_answer, die_after, die_when


class Failing:
    """While on, answers GETs whose path contains one of the texts with an error status."""

    def __init__(self, texts: Iterable[str], status: int) -> None:
        self.is_on = True
        self._texts, self._status = tuple(texts), status

    async def __call__(self, request: Any, send: Any) -> Any:
        if self.is_on and request.method == "GET" and any(text in request.url.path for text in self._texts):
            return await _http_answer(request, self._status)
        return await send(request)


async def test_a_batch_that_is_gone_does_not_take_its_stored_answers_along(restarts: Restarts) -> None:
    texts = [f"q{n}" for n in range(10)]
    async with open_harness("doubleword", batch_seconds=100.0) as harness:
        await die_after(harness, restarts, 60.0, texts)  # 5 answers are in the journal by now
        gone = Failing(harness.emulator.statistics().running_batch_ids, 404)
        async with restarts.program(harness, http_client=between(harness, gone)) as program:
            await ask_all(program.client, texts)  # 5 from the journal, 5 sent again: fine so far
            program.die()
        before = billed(harness)
        async with restarts.program(harness, http_client=between(harness, gone)) as program:
            await ask_all(program.client, texts)  # all 10 had been answered and stored
        assert billed(harness) == before


async def test_a_batch_that_is_resumed_for_one_line_keeps_the_others(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=30.0) as harness:
        forbidden = Failing([""], 403)
        async with restarts.program(harness, http_client=between(harness, forbidden)) as program:
            async with anyio.create_task_group() as n:
                n.start_soon(outcome_of, ask(program.client, "a"))
                n.start_soon(outcome_of, ask(program.client, "b"))
            await anyio.sleep(100)
            forbidden.is_on = False
            await ask(program.client, "a")  # reads the batch's results, which include b's
            await anyio.sleep(100)
            await ask(program.client, "b")
        assert billed(harness) == {"a": 1, "b": 1}


async def test_a_batch_that_all_left_and_one_came_back_to_keeps_the_others(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=75.0) as harness, restarts.program(harness) as program:

        async def cut(text: str) -> None:
            with anyio.move_on_after(15):
                await ask(program.client, text)

        async with anyio.create_task_group() as n:
            n.start_soon(cut, "a")
            n.start_soon(cut, "b")
        await anyio.sleep(70)
        await ask(program.client, "a")
        await anyio.sleep(10)
        await ask(program.client, "b")
        assert billed(harness) == {"a": 1, "b": 1}


async def test_one_404_on_the_list_repeats_no_creation(restarts: Restarts) -> None:
    faults = FaultPlan(
        (
            HttpFault(operation="batches.create", first=1, delay_seconds=5.0, after_processing=True),
            HttpFault(operation="batches.list", first=1, status=404),
        )
    )
    async with open_harness(faults=faults, batch_seconds=20.0) as harness:
        await die_after(harness, restarts, 3.0, ["a"])
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
            await anyio.sleep(60)
        assert billed(harness) == {"a": 1}


async def test_the_age_of_a_creation_counts_from_its_last_try(restarts: Restarts) -> None:
    faults = FaultPlan(
        (
            HttpFault(operation="batches.create", nth=(1,), status=503),
            HttpFault(operation="batches.create", nth=(2,), delay_seconds=10.0),
        )
    )
    async with open_harness(faults=faults) as harness, anyio.create_task_group() as outer:
        has_died = anyio.Event()

        async def first() -> None:
            async with (
                restarts.program(harness, delete_input_files=False) as program,
                anyio.create_task_group() as nursery,
            ):
                nursery.start_soon(ask_all, program.client, ["a"])
                await anyio.sleep(48.0)  # 1st POST at 1 s: 503. 2nd at 46.5 s: takes 10 s
                for writer in program.writers:
                    writer.die()
                program.is_dead = True  # killed; requests in flight still arrive
                has_died.set()
                await anyio.sleep(60)
                nursery.cancel_scope.cancel()
                program.die()

        outer.start_soon(first)
        await has_died.wait()
        async with restarts.program(harness, delete_input_files=False) as program:
            await ask(program.client, "a")
        await anyio.sleep(100)
        assert billed(harness) == {"a": 1}


@pytest.mark.parametrize("listed", [False, True])
async def test_a_line_with_a_retryable_error_claims_no_line_of_the_batch_that_has_just_ended(
    restarts: Restarts, listed: bool
) -> None:
    faults = FaultPlan(
        (BatchFault(nth=(1,), ends="expired", list_unfinished=listed, after=0.4 if not listed else 0.2),)
    )
    async with (
        open_harness(batch_seconds=100.0, faults=faults) as harness,
        restarts.program(harness, max_retries=1) as program,
    ):

        async def leave() -> None:
            with anyio.move_on_after(10):
                await ask(program.client, "a")

        got: list[Any] = []

        async def stay() -> None:
            got.append(await outcome_of(ask(program.client, "a")))

        async with anyio.create_task_group() as n:
            n.start_soon(stay)
            await anyio.sleep(0.1)
            for _ in range(3 if listed else 1):
                n.start_soon(leave)
        assert isinstance(got[0], str), repr(got[0])


async def test_a_process_older_than_the_retention_that_ended_well_has_taken_its_answers(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with restarts.program(harness, journal_retention_seconds=100.0) as program:
            await ask(program.client, "z")  # opens the journal
            await anyio.sleep(150)  # the session is older than the retention (7 days)
            await ask(program.client, "a")
        restarts.end_well()
        async with restarts.program(harness, journal_retention_seconds=100.0) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 2, "z": 1}


async def test_hash_only_finds_results_of_more_batches_than_it_remembers_as_read(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autobatcher.engine.recovery.recovery.MAX_RECORDS", 2)
    async with open_harness() as harness:
        async with restarts.program(harness, batch_size=1, journal_hash_only=True) as program:
            await ask_all(program.client, "abcd")
            program.die()
        async with restarts.program(harness, batch_size=1, journal_hash_only=True) as program:
            for text in "dcba":
                await ask(program.client, text)
        assert set(billed(harness).values()) == {1}


async def test_an_exception_counts_in_a_block_around_a_client_that_ran_before_it(restarts: Restarts) -> None:
    async with open_harness() as harness:
        restarts.new_process()
        client = restarts.client(harness)
        await ask(client, "a")  # starts the engine in the background

        async def fail() -> None:
            async with client:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with restarts.client(harness) as client:
            await ask(client, "a")
        assert billed(harness) == {"a": 1}


async def test_key_functions_are_told_apart_by_their_names(restarts: Restarts) -> None:
    async def key_a() -> str:
        return "key-a-aaaaaaaaaa"

    async def key_b() -> str:
        return "key-b-bbbbbbbbbb"

    async with open_harness(batch_seconds=300.0) as harness:
        owner: dict[str, str] = {}

        async def tenants(request: Any, send: Any) -> Any:  # no account sees batches of another one
            key = request.headers["authorization"]
            if any(batch in request.url.path and key != k for batch, k in owner.items()):
                return await _http_answer(request, 404)
            response = await send(request)
            if request.method == "POST" and request.url.path.endswith("/batches"):
                await response.aread()
                owner[response.json()["id"]] = key
            return response

        async with (
            restarts.program(harness, api_key=key_a, http_client=between(harness, tenants)) as program,
            anyio.create_task_group() as n,
        ):
            n.start_soon(ask_all, program.client, ["a"])
            await wait_for_event(harness, "batch_submitted")
            program.die()
        async with (
            restarts.program(harness, api_key=key_a, http_client=between(harness, tenants)) as program,
            anyio.create_task_group() as n,
        ):
            n.start_soon(ask, program.client.copy(api_key=key_b), "b")
            await anyio.sleep(0.1)
            n.start_soon(ask, program.client, "a")
        assert billed(harness) == {"a": 1, "b": 1}


async def test_one_who_leaves_a_resumed_batch_does_not_leave_it_for_those_who_are_yet_to_come(
    restarts: Restarts,
) -> None:
    async with open_harness(batch_seconds=1000.0) as harness:
        await die_after(harness, restarts, 900.0, ["a", "b", "c"])
        async with restarts.program(harness) as program:
            with anyio.move_on_after(5):
                await ask(program.client, "a")
            await anyio.sleep(80)
            await ask_all(program.client, ["b", "c"])  # they took 80 s to come back
        assert not harness.events_named("batch_cancel_requested")


async def test_the_minute_starts_anew_with_whoever_leaves_last(restarts: Restarts) -> None:
    async with (
        open_harness(batch_seconds=1e5) as harness,
        restarts.program(harness, poll_interval_seconds=50.0) as program,
    ):
        with anyio.move_on_after(60):
            await ask(program.client, "a")
        await anyio.sleep(20)
        with anyio.move_on_after(20):
            await ask(program.client, "a")
        left_at = anyio.current_time()
        await wait_for_event(harness, "batch_cancel_requested")
        assert anyio.current_time() - left_at >= 59.9  # 20.0


async def test_a_process_gets_no_answer_twice_although_another_one_looked_meanwhile(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        me = at_exit._IMPORT_ID
        async with restarts.program(harness) as program:  # another program, meanwhile
            await ask(program.client, "z")
        monkeypatch.setattr(at_exit, "_IMPORT_ID", me)
        async with restarts.client(harness) as client:
            await ask(client, "a")
        assert billed(harness) == {"a": 2, "z": 1}


# ---- found in a second review ----


def test_a_batch_that_could_not_be_written_down_has_no_part_in_another_ones_lines(tmp_path: Path) -> None:
    line = (0, "/v1/embeddings", b"{}")
    with closing(Store(tmp_path / "journal")) as store:

        def fail() -> None:
            with store.transaction():
                store.intend(a_record("one"), [line], is_hash_only=False)
                raise sqlite3.OperationalError("database or disk is full")

        with pytest.raises(sqlite3.OperationalError):
            fail()
        with store.transaction():
            store.intend(a_record("two"), [line], is_hash_only=False)
        with store.transaction():
            store.forget("one")
        assert len(list(store.results("two"))) == 1


@pytest.mark.parametrize("dies", [True, False])
async def test_the_hourly_sweep_leaves_lines_of_batches_that_still_run(restarts: Restarts, dies: bool) -> None:
    retention = {"journal_retention_seconds": 3000.0}
    async with open_harness(batch_seconds=20_000.0) as harness:
        if dies:
            await die_after(harness, restarts, 10.0, ["a", "b"])
        async with restarts.program(harness, **retention) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(ask, program.client, "a")
            if not dies:
                with anyio.move_on_after(100):
                    await ask(program.client, "b")
            await anyio.sleep(4000)
            nursery.start_soon(ask, program.client, "new")  # a new batch: it sweeps
            await anyio.sleep(100)
            nursery.start_soon(ask, program.client, "b")
        assert billed(harness) == {"a": 1, "b": 1, "new": 1}


async def test_an_answer_is_as_old_as_it_is_and_not_as_old_as_its_line(restarts: Restarts) -> None:
    retention = {"journal_retention_seconds": 20_000.0}
    async with open_harness(batch_seconds=20_000.0) as harness, restarts.program(harness, **retention) as program:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, program.client, "a")
            with anyio.move_on_after(100):
                await ask(program.client, "b")
            await anyio.sleep(20_500)
            nursery.start_soon(ask, program.client, "new")
            await anyio.sleep(100)
            nursery.start_soon(ask, program.client, "b")
        assert billed(harness) == {"a": 1, "b": 1, "new": 1}


async def test_an_answer_that_cannot_be_read_just_now_is_there_for_the_next_try(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(self: Journal, lines: object) -> None:
        raise JournalError("the file is locked")

    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
            program.die()
        async with restarts.program(harness) as program:
            await ask(program.client, "z")
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(Journal, "answers", locked)
                assert isinstance(await outcome_of(ask(program.client, "a")), JournalError)
            await ask(program.client, "a")
        assert billed(harness) == {"a": 1, "z": 1}


async def test_who_tries_again_after_an_uncertain_creation_keeps_the_batch(restarts: Restarts) -> None:
    faults = FaultPlan((HttpFault(operation="batches.create", first=1, lose_answer=True),))
    async with open_harness(faults=faults, batch_seconds=3000) as harness:
        down = Failing(["/batches"], 503)
        async with restarts.program(harness, http_client=between(harness, down)) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), BatchSubmissionError)

            async def heal() -> None:
                await anyio.sleep(10)
                down.is_on = False

            async with anyio.create_task_group() as nursery:
                nursery.start_soon(heal)
                nursery.start_soon(ask, program.client, "a")
        assert billed(harness) == {"a": 1}
        assert harness.emulator.statistics().batches_created == 1
        assert not harness.events_named("batch_cancel_requested")


async def test_a_creation_that_is_looked_up_again_in_the_same_process_is_as_old_as_its_last_try(
    restarts: Restarts,
) -> None:
    """A slow upload, a gateway's 503 for a creation that takes effect 20 s later, and a lookup that is refused."""
    faults = FaultPlan((HttpFault(operation="files.create", first=1, delay_seconds=100.0),))
    async with open_harness(faults=faults) as harness, anyio.create_task_group() as nursery:
        is_first = is_forbidden = True

        async def later(request: Any, send: Any) -> None:
            await anyio.sleep(20)
            await send(request)

        async def answer(request: Any, send: Any) -> Any:
            nonlocal is_first
            is_list = request.url.path.endswith("/batches")
            if request.method == "POST" and is_list and is_first:
                is_first = False
                await request.aread()
                nursery.start_soon(later, request, send)
                return await _http_answer(request, 503)
            if request.method == "GET" and is_list and is_forbidden:
                return await _http_answer(request, 403)
            return await send(request)

        options = {"http_client": between(harness, answer), "delete_input_files": False}
        async with restarts.program(harness, **options) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), BatchSubmissionError)
            is_forbidden = False
            await ask(program.client, "a")
            await anyio.sleep(200)
        assert billed(harness) == {"a": 1}


async def test_a_program_that_ended_well_leaves_nothing_unfinished_although_a_file_was_not_read_to_its_end(
    restarts: Restarts,
) -> None:
    class Trailing(HTTP.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        def __init__(self, content: bytes) -> None:
            self._content = content

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield self._content
            await anyio.sleep(0.2)

        async def aclose(self) -> None:
            pass

    async def slow_end(request: Any, send: Any) -> Any:
        response = await send(request)
        if not request.url.path.endswith("/content"):
            return response
        return HTTP.Response(200, stream=Trailing(await response.aread()))

    async with open_harness() as harness:
        async with restarts.program(harness, http_client=between(harness, slow_end)) as program:
            await ask(program.client, "a")
        assert not restarts.unfinished()


async def test_a_batch_that_one_came_back_to_in_the_same_process_is_given_up_when_that_one_leaves(
    restarts: Restarts,
) -> None:
    async with open_harness(batch_seconds=50_000.0) as harness:
        forbidden = Failing([""], 403)
        forbidden.is_on = False
        async with restarts.program(harness, http_client=between(harness, forbidden)) as program:
            async with anyio.create_task_group() as nursery:
                for text in ("a", "b"):
                    nursery.start_soon(outcome_of, ask(program.client, text))
                await anyio.sleep(10)
                forbidden.is_on = True
            forbidden.is_on = False
            with anyio.move_on_after(100):
                await ask(program.client, "a")
            await anyio.sleep(1000)
        assert harness.events_named("batch_cancel_requested")


@pytest.mark.parametrize("is_hash_only", [False, True])
@pytest.mark.parametrize("like", ["openai", "doubleword"])
@pytest.mark.parametrize("delay", [0.0, 1.0])
async def test_whoever_comes_back_at_any_moment_of_a_batchs_end_pays_once(
    restarts: Restarts, is_hash_only: bool, like: str, delay: float
) -> None:
    slow = FaultPlan(
        (
            HttpFault(operation="files.content", delay_seconds=delay, after_processing=True),
            HttpFault(operation="files.delete", delay_seconds=delay),
        )
    )
    for tenths in range(0, 60, 4):
        restarts.clear()
        async with open_harness(like, batch_seconds=30.0, faults=slow if delay else FaultPlan()) as harness:
            begun = anyio.current_time()
            async with (
                restarts.program(harness, journal_hash_only=is_hash_only) as program,
                anyio.create_task_group() as nursery,
            ):
                nursery.start_soon(ask, program.client, "b")
                with anyio.move_on_after(3):
                    await ask(program.client, "a")
                await anyio.sleep_until(begun + 28.0 + tenths / 10)
                await ask(program.client, "a")
            assert billed(harness) == {"a": 1, "b": 1}, tenths


async def test_a_process_that_only_looked_into_the_journal_takes_nothing_from_the_next_one(restarts: Restarts) -> None:
    """A client is closed in a process that keeps running; another process reads the journal; the first one exits
    cleanly."""
    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        async with restarts.program(harness):
            pass
        restarts.end_well()
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert billed(harness) == {"a": 2}


@pytest.mark.real_time
def test_who_cannot_write_the_lock_has_no_lock(tmp_path: Path) -> None:
    lock_file_of(tmp_path / "journal").write_bytes(b"no database\n" * 100)
    with pytest.raises(JournalError, match="is not an empty file"):
        Ownership(tmp_path / "journal")


async def test_a_defect_in_reading_answers_ends_the_engine_and_not_the_program(
    restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Journal, lines: object) -> None:
        raise ZeroDivisionError

    async with open_harness() as harness:
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
            program.die()
        monkeypatch.setattr(Journal, "answers", broken)
        async with restarts.program(harness) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), EngineError)


async def test_an_input_file_that_a_death_left_behind_is_deleted_by_whichever_program_has_the_time(
    restarts: Restarts,
) -> None:
    """The next program has its answer and exits before it checks on the batch. The one after it deletes the file."""
    faults = FaultPlan((HttpFault(operation="files.delete", first=1, status=503),))
    async with open_harness(faults=faults) as harness:
        await die_when(harness, restarts, "batch_completed", ["a"])
        assert harness.emulator.statistics().input_file_ids
        async with restarts.program(harness) as program:
            await ask(program.client, "a")
        assert restarts.unfinished() or not harness.emulator.statistics().input_file_ids
        async with restarts.program(harness) as program:
            await ask(program.client, "b")
        assert not harness.emulator.statistics().input_file_ids
        assert not restarts.unfinished()
