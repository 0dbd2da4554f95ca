"""What was paid for is looked for, read, and not paid for again, whatever the upstream says meanwhile."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.engine.journal.sqlite_file import SQLiteFile
from autobatcher.engine.journal.transactions import Job, Transactions
from autobatcher.engine.recovery.recovery import Recovery
from autobatcher.upstream.output_line import parse_output_line
from tests.harness import HTTP, Send, ask, between, open_harness, outcome_of, pause_process, wait_for_event
from tests.journal.records import a_record
from tests.journal.restarts import Restarts, ask_all, billed
from tests.journal.test_reruns import die_when

DAY = 86_400.0


def is_poll(request: Any) -> bool:
    return request.method == "GET" and "/batches/" in request.url.path


async def test_a_stale_poll_does_not_revive_a_batch_that_was_seen_to_end(restarts: Restarts) -> None:
    polls = 0

    async def stale(request: Any, send: Send) -> Any:
        nonlocal polls
        response = await send(request)
        if is_poll(request):
            await response.aread()
            batch = response.json()
            polls += 1
            if batch["status"] == "completed" and polls > 1:
                batch.update(status="in_progress", output_file_id=None)
            return HTTP.Response(200, json=batch)
        if request.url.path.endswith("/content"):
            return HTTP.Response(200, content=b"")
        return response

    async with open_harness(batch_seconds=10) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a", "b"])
        await anyio.sleep(60)
        async with restarts.program(harness, http_client=between(harness, stale)) as program:
            with anyio.move_on_after(300):
                await outcome_of(ask_all(program.client, ["a", "b"]))
        assert billed(harness) == {"a": 1, "b": 1}


@pytest.mark.parametrize("late", [90.0, 400.0, 100_000.0])
async def test_lines_that_the_counts_name_as_done_are_never_resent_by_themselves(late: float) -> None:
    """The batch expired half-way, and its output file is empty for a while, or for ever."""
    plan = FaultPlan((BatchFault(nth=(1,), ends="expired", after=0.5),))
    expired_at: list[float] = []

    async def empty(request: Any, send: Send) -> Any:
        response = await send(request)
        await response.aread()
        if is_poll(request) and response.json()["status"] == "expired":
            expired_at.append(anyio.current_time())
        if request.url.path.endswith("/content") and expired_at and anyio.current_time() < expired_at[0] + late:
            return HTTP.Response(200, content=b"")
        return response

    async with (
        open_harness(faults=plan, batch_seconds=10) as harness,
        harness.client(http_client=between(harness, empty), max_retries=2) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in "abcd":
            nursery.start_soon(outcome_of, ask(client, text))
    assert max(billed(harness).values()) == 1


@pytest.mark.parametrize("late", [50.0, 90.0, 500.0])
async def test_a_results_file_that_is_empty_for_minutes_costs_nobody_their_answer(
    restarts: Restarts, late: float
) -> None:
    begun: list[float] = []

    async def empty(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            begun.append(anyio.current_time())
            if begun[-1] < begun[0] + late:
                return HTTP.Response(200, content=b"")
        return response

    async with open_harness(batch_seconds=10) as harness:
        async with restarts.program(harness, http_client=between(harness, empty)) as program:
            assert len(await ask_all(program.client, ["a", "b"])) == 2
        assert billed(harness) == {"a": 1, "b": 1}


async def test_an_outage_around_the_deadline_loses_no_batch_that_completed() -> None:
    async def down(request: Any, send: Send) -> Any:
        if DAY - 600 <= anyio.current_time() < DAY + 600:
            return HTTP.Response(503, text="down")
        return await send(request)

    async with (
        open_harness(batch_seconds=DAY - 300) as harness,
        harness.client(http_client=between(harness, down), deadline_slack_seconds=0.0) as client,
    ):
        assert "x" in await ask(client, "x")


async def test_a_network_that_comes_back_minutes_after_waking_loses_no_batch_that_completed() -> None:
    woken_at: list[float] = []

    async def no_network(request: Any, send: Send) -> Any:
        if woken_at and anyio.current_time() < woken_at[0] + 120:
            raise HTTP.ConnectError("no network")
        return await send(request)

    async with (
        open_harness(batch_seconds=600) as harness,
        harness.client(http_client=between(harness, no_network), deadline_slack_seconds=0.0) as client,
        anyio.create_task_group() as nursery,
    ):
        outcomes: list[Any] = []

        async def one() -> None:
            outcomes.append(await outcome_of(ask(client, "x")))

        nursery.start_soon(one)
        await wait_for_event(harness, "batch_progress")
        pause_process(2 * DAY)
        woken_at.append(anyio.current_time())
    assert outcomes == ["x"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("depth", [100, 700, 3000, 30_000])
async def test_one_line_that_is_nested_too_deeply_fails_nobody_else(depth: int) -> None:
    nested = b'{"error":' * depth + b'"x"' + b"}" * depth

    async def odd(request: Any, send: Send) -> Any:
        response = await send(request)
        if request.url.path.endswith("/content"):
            await response.aread()
            first, *others = response.content.split(b"\n")
            custom_id = json.loads(first)["custom_id"].encode()
            line = b'{"custom_id":"%s","response":null,"error":%s}' % (custom_id, nested)
            parse_output_line(line)  # never raises
            return HTTP.Response(200, content=b"\n".join([line, *others]))
        return response

    async with open_harness(batch_seconds=10) as harness:
        outcomes: list[Any] = []

        async def one(text: str) -> None:
            outcomes.append(await outcome_of(ask(client, text)))

        async with (
            harness.client(http_client=between(harness, odd)) as client,
            anyio.create_task_group() as nursery,
        ):
            for text in "abc":
                nursery.start_soon(one, text)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 2


async def test_a_bad_line_is_isolated_while_its_kind_is_throttled() -> None:
    uploads = 0

    async def answer(request: Any, send: Send) -> Any:
        nonlocal uploads
        if request.method == "POST" and request.url.path.endswith("/files"):
            uploads += 1
            if b"BAD" in await request.aread() and uploads > 1:
                return HTTP.Response(400, json={"error": {"message": "invalid input"}})
        return await send(request)

    plan = FaultPlan((BatchFault(nth=(1,), ends="failed", error_code="token_limit_exceeded"),))
    async with open_harness(faults=plan, batch_seconds=10) as harness:
        outcomes: list[Any] = []

        async def one(text: str) -> None:
            outcomes.append(await outcome_of(ask(client, text)))

        async with (
            harness.client(http_client=between(harness, answer), batch_size=16) as client,
            anyio.create_task_group() as nursery,
        ):
            for text in [*(f"good {number}" for number in range(15)), "BAD"]:
                nursery.start_soon(one, text)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 15


async def test_a_poll_that_trickles_for_ever_holds_nobody_beyond_the_deadline() -> None:
    class Trickle(HTTP.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
        async def __aiter__(self) -> Any:
            while True:
                yield b" "
                await anyio.sleep(30)

        async def aclose(self) -> None:
            pass

    async def answer(request: Any, send: Send) -> Any:
        return HTTP.Response(200, stream=Trickle()) if is_poll(request) else await send(request)

    async with (
        open_harness() as harness,
        harness.client(http_client=between(harness, answer), deadline_slack_seconds=0.0) as client,
    ):
        with anyio.fail_after(2 * DAY):
            assert isinstance(await outcome_of(ask(client, "x")), Exception)


@pytest.mark.parametrize("is_hash_only", [False, True])
async def test_a_caller_who_comes_back_stops_the_cancellation_of_their_batch(
    restarts: Restarts, is_hash_only: bool
) -> None:
    is_down = True

    async def no_cancelling(request: Any, send: Send) -> Any:
        if request.url.path.endswith("/cancel") and is_down:
            return HTTP.Response(503, text="down")
        return await send(request)

    settings: dict[str, Any] = {"journal_hash_only": is_hash_only}
    async with open_harness(batch_seconds=3000) as harness:
        async with restarts.program(harness, http_client=between(harness, no_cancelling), **settings) as program:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(ask, program.client, "a")
                await wait_for_event(harness, "batch_submitted")
                nursery.cancel_scope.cancel()
            await wait_for_event(harness, "batch_cancel_requested")
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(ask, program.client, "a")
                await anyio.sleep(300)
                is_down = False
        assert harness.emulator.statistics().batches_created == 1
        assert billed(harness) == {"a": 1}


async def test_lines_that_are_gone_do_not_stay_in_memory(restarts: Restarts) -> None:
    plan = FaultPlan((HttpFault(operation="files.create", status=401),))
    async with (
        open_harness(faults=plan) as harness,
        restarts.program(harness, journal_retention_seconds=3600.0) as program,
    ):
        for day in range(4):
            async with anyio.create_task_group() as nursery:
                for number in range(20):
                    nursery.start_soon(outcome_of, ask(program.client, f"{day} {number}"))
            await anyio.sleep(2 * DAY)
        batcher = program.client._engine.host.batcher
        assert batcher is not None
        assert isinstance(batcher.recovery, Recovery)
        assert len(batcher.recovery._unclaimed_lines._lines) <= 20


def test_a_commit_that_fails_leaves_nothing_of_its_transaction_behind(tmp_path: Path) -> None:
    """The number of a batch that was not written is given again, to another one."""
    path = tmp_path / "journal"

    class Full(OwnedFile):
        """Has no room when it commits."""

        is_full = False

        def _prepare(self) -> None:
            super()._prepare()
            self._db.close()
            self._db = sqlite3.connect(path, isolation_level=None, factory=Connection)

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and Full.is_full:
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *arguments)

    def intend(name: str) -> Job:
        record, lines = a_record(name), [(0, "/v1/embeddings", b"{}")]
        return Job(lambda store: store.intend(record, lines, is_hash_only=False), is_awaited=True)

    assert issubclass(Full, SQLiteFile)
    with closing(Full(path)) as store:
        doing = Transactions(store)
        Full.is_full = True
        doing.do([big := intend("big")])
        assert big.failure is not None
        Full.is_full = False
        doing.do([small := intend("small")])
        assert small.failure is None
        doing.do([Job(lambda store: store.forget("big"))])
        assert len(list(store.results("small"))) == 1


async def test_lines_of_somebody_else_account_for_none_of_ours() -> None:
    """The batch expired; its file has foreign lines at first, as many as the counts name."""
    plan = FaultPlan((BatchFault(nth=(1,), ends="expired", after=0.5),))
    ended: list[float] = []

    async def foreign(request: Any, send: Send) -> Any:
        response = await send(request)
        await response.aread()
        if is_poll(request) and response.json()["status"] == "expired":
            ended.append(anyio.current_time())
        if request.url.path.endswith("/content") and ended and anyio.current_time() < ended[0] + 90:
            line = b'{"custom_id":"foreign-%d","response":{"status_code":200,"body":{}}}'
            return HTTP.Response(200, content=b"\n".join(line % number for number in range(4)))
        return response

    async with (
        open_harness(faults=plan, batch_seconds=10) as harness,
        harness.client(http_client=between(harness, foreign), max_retries=2) as client,
        anyio.create_task_group() as nursery,
    ):
        for text in "abcd":
            nursery.start_soon(outcome_of, ask(client, text))
    assert max(billed(harness).values()) == 1


async def test_an_answer_without_a_status_is_not_resent_with_the_rest_of_a_batch_that_expired_meanwhile(
    restarts: Restarts,
) -> None:
    fault = LineFault(kind="status", status=42, batches=(1,))
    plan = FaultPlan((BatchFault(nth=(1,), ends="expired", after=0.5), fault))
    async with open_harness(faults=plan, batch_seconds=10) as harness:
        await die_when(harness, restarts, "batch_submitted", list("abcd"))
        await anyio.sleep(60)
        async with restarts.program(harness) as program, anyio.create_task_group() as nursery:
            for text in "abcd":
                nursery.start_soon(outcome_of, ask(program.client, text))
        assert sorted(billed(harness).values()) == [1, 1, 1, 1]
        assert harness.emulator.statistics().batches_created == 2
