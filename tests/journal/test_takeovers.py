"""Once a record was handed over to another `Batch`, the old one never writes it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher import BatchUnreachableError
from tests.harness import HTTP, ask, between, open_harness, outcome_of, wait_for_event
from tests.journal.restarts import Restarts, ask_all, billed
from tests.journal.test_reruns import die_when


class Upstream:
    """Refuses what it is told to refuse, and is slow to delete."""

    def __init__(self, *refused: str, delete_seconds: float = 0.0) -> None:
        self.refused = set(refused)
        self.calls: list[str] = []
        self._delete_seconds = delete_seconds

    async def __call__(self, request: Any, send: Any) -> Any:
        self.calls.append(f"{request.method} {request.url.path}")
        if request.method == "DELETE":
            await anyio.sleep(self._delete_seconds)
        if request.method == "GET" and any(text in request.url.path for text in self.refused):
            return HTTP.Response(403, json={"error": {"message": "forbidden"}})
        return await send(request)


@pytest.mark.parametrize("is_hash_only", [False, True])
@pytest.mark.parametrize("tries_again_after", [0.0, 0.1, 1.0])
async def test_a_caller_who_tries_again_while_the_old_life_cleans_up_is_billed_once(
    restarts: Restarts, is_hash_only: bool, tries_again_after: float
) -> None:
    async with open_harness(batch_seconds=5.0) as harness:
        upstream = Upstream("/content", delete_seconds=0.2)
        settings: dict[str, Any] = {"journal_hash_only": is_hash_only}
        async with (
            restarts.program(harness, **settings, http_client=between(harness, upstream)) as program,
            anyio.create_task_group() as nursery,
        ):
            assert isinstance(await outcome_of(ask(program.client, "a")), BatchUnreachableError)
            await anyio.sleep(tries_again_after)
            nursery.start_soon(ask, program.client, "a")
            await anyio.sleep(30)  # the old `Batch` has cleaned up
            program.die()
        upstream.refused.clear()
        async with restarts.program(harness, **settings) as program:
            assert "a" in await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


async def test_a_batch_whose_polls_are_refused_is_not_cancelled_while_the_client_is_open(restarts: Restarts) -> None:
    """`run --journal` sets both flags."""
    async with open_harness(batch_seconds=5000.0) as harness:
        upstream = Upstream("/batches/")
        settings: dict[str, Any] = {
            "cancel_active_batches_on_close": True,
            "http_client": between(harness, upstream),
        }
        async with restarts.program(harness, **settings) as program:
            assert isinstance(await outcome_of(ask(program.client, "a")), BatchUnreachableError)
            await anyio.sleep(100)
            assert harness.emulator.statistics().running_batch_ids
            assert not harness.events_named("batch_cancel_requested")
            upstream.refused.clear()
            assert "a" in await ask(program.client, "a")
        assert billed(harness) == {"a": 1}


async def test_a_batch_that_was_left_to_others_is_cancelled_when_the_client_closes_well(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=5000.0) as harness:
        upstream = Upstream("/batches/")
        settings: dict[str, Any] = {
            "cancel_active_batches_on_close": True,
            "http_client": between(harness, upstream),
        }
        async with restarts.program(harness, **settings) as program:
            await outcome_of(ask(program.client, "a"))
            assert harness.emulator.statistics().running_batch_ids
        assert not harness.emulator.statistics().running_batch_ids


async def test_a_batch_that_was_left_to_others_takes_up_no_place(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=5000.0) as harness:
        upstream = Upstream("/batches/")
        settings: dict[str, Any] = {"max_active_batches": 1, "http_client": between(harness, upstream)}
        async with restarts.program(harness, **settings) as program, anyio.create_task_group() as nursery:
            await outcome_of(ask(program.client, "a"))
            upstream.refused.clear()
            nursery.start_soon(ask, program.client, "b")
            await wait_for_event(harness, "batch_submitted", 2)


async def test_one_404_at_a_rerun_with_rare_polls_bills_nothing_twice(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=4 * 3600.0) as harness:
        await die_when(harness, restarts, "batch_submitted", ["a"])
        polls = 0

        async def one_404(request: Any, send: Any) -> Any:
            nonlocal polls
            if request.method == "GET" and "/batches/" in request.url.path:
                polls += 1
                if polls == 5:
                    return HTTP.Response(404, json={"error": {"message": "not found"}})
            return await send(request)

        settings: dict[str, Any] = {"poll_interval_seconds": 180.0, "http_client": between(harness, one_404)}
        async with restarts.program(harness, **settings) as program:
            assert "a" in await ask(program.client, "a")
        assert polls > 5
        assert billed(harness) == {"a": 1}


@pytest.mark.parametrize("most", [1, 2])
async def test_resumed_batches_leave_no_room_for_new_ones_beyond_the_limit(restarts: Restarts, most: int) -> None:
    old = [f"old {n}" for n in range(10)]
    async with open_harness(batch_seconds=100.0) as harness:
        async with restarts.program(harness, batch_size=1) as program, anyio.create_task_group() as nursery:
            nursery.start_soon(ask_all, program.client, old)
            await wait_for_event(harness, "batch_submitted", 10)
            program.die()
        async with (
            restarts.program(harness, batch_size=1, max_active_batches=most) as program,
            anyio.create_task_group() as nursery,
        ):
            nursery.start_soon(ask_all, program.client, old)
            nursery.start_soon(ask_all, program.client, [f"new {n}" for n in range(10)])
            await wait_for_event(harness, "batch_resumed", 10)
            await anyio.sleep(20)
            assert harness.emulator.statistics().batches_created == 10
        assert set(billed(harness).values()) == {1}


HUGE = [2**63, 2**64, 10**30, -(2**63) - 1]


@pytest.mark.parametrize("count", HUGE)
async def test_a_count_beyond_all_bounds_spoils_nothing(restarts: Restarts, count: int) -> None:
    async def odd(request: Any, send: Any) -> Any:
        response = await send(request)
        if request.method == "GET" and "/batches/" in request.url.path:
            await response.aread()
            counts = {"completed": count, "failed": count, "total": count}
            return HTTP.Response(200, json={**response.json(), "request_counts": counts})
        return response

    async with open_harness(batch_seconds=20.0) as harness:
        async with restarts.program(harness, http_client=between(harness, odd)) as program:
            assert "a" in await ask(program.client, "a")
            assert "b" in await ask(program.client, "b")  # needs a working journal
            program.die()
        async with restarts.program(harness) as program:
            assert "a" in await ask(program.client, "a")
        assert billed(harness) == {"a": 1, "b": 1}


@pytest.mark.parametrize("status", HUGE)
async def test_a_status_beyond_all_bounds_spoils_no_other_answer(restarts: Restarts, status: int) -> None:
    async def odd(request: Any, send: Any) -> Any:
        response = await send(request)
        if not request.url.path.endswith("/content"):
            return response
        lines = (await response.aread()).splitlines(keepends=True)
        spoilt = [
            line.replace(b'"status_code":200', b'"status_code":%d' % status) if b'"content":"a"' in line else line
            for line in lines
        ]
        return HTTP.Response(200, content=b"".join(spoilt))

    async with open_harness(batch_seconds=20.0) as harness:
        async with restarts.program(harness, http_client=between(harness, odd)) as program:
            await outcome_of(ask_all(program.client, ["a", "b", "c"]))
            assert "d" in await ask(program.client, "d")
            program.die()
        async with restarts.program(harness) as program:
            assert len(await ask_all(program.client, ["b", "c", "d"])) == 3
        assert {text: count for text, count in billed(harness).items() if text != "a"} == {"b": 1, "c": 1, "d": 1}
