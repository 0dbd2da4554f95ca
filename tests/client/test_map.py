"""`client.map` and `client.flush`: many calls without a task or a thread for each."""

from __future__ import annotations

import gc
import itertools
import pickle
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import openai
import pytest
from anyio.lowlevel import checkpoint

from autobatcher import (
    BatchOpenAI,
    BatchTransport,
    BudgetExceededError,
    ClientClosedError,
    MapResult,
    Request,
    UnbatchableRequestError,
)
from autobatcher.client.batchable import batch_request
from autobatcher.emulator import FaultPlan, LineFault, Recorded
from tests.harness import HTTP, MODEL, ask, open_harness
from tests.journal.conftest import restarts
from tests.journal.restarts import Restarts

__all__ = ["restarts"]


def call(text: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": f"{text}."}]}


def text_of(result: MapResult) -> str:
    assert result.exception is None
    text: str = result.answer.choices[0].message.content
    return text


async def test_each_call_has_a_result_with_its_index_its_input_and_its_answer() -> None:
    async with open_harness() as harness, harness.client(batch_size=10) as client:
        calls = [call(number) for number in range(25)]
        results = [result async for result in client.map(calls)]
        assert sorted(result.index for result in results) == list(range(25))
        for result in results:
            assert result.input is calls[result.index]
            assert f"{result.index}." in text_of(result)


async def test_results_come_in_order_if_they_are_to() -> None:
    async with open_harness(batch_seconds=Recorded((9.0, 1.0))) as harness, harness.client(batch_size=5) as client:
        calls = [call(number) for number in range(10)]
        as_they_come = [result.index async for result in client.map(calls)]
        in_order = [result.index async for result in client.map(calls, ordered=True)]
        assert as_they_come != in_order == list(range(10))


async def test_a_call_that_fails_has_its_exception_in_its_result() -> None:
    faults = FaultPlan((LineFault(kind="fail", status=400, lines=(2,)),))
    async with open_harness(faults=faults) as harness, harness.client() as client:
        with_set, streamed = {**call(3), "stop": {"a"}}, {**call(4), "stream": True}
        calls: list[Any] = [
            call(0),
            call(1),
            "text",
            with_set,
            streamed,
            {**call(5), "timeout": 3},
            {**call(6), "n": 1e999},
        ]
        results = {result.index: result async for result in client.map(calls)}
        assert "0." in text_of(results[0])
        kinds = (openai.BadRequestError, TypeError, None, UnbatchableRequestError, UnbatchableRequestError, ValueError)
        for index, kind in enumerate(kinds, start=1):
            if kind is not None:
                assert isinstance(results[index].exception, kind), results[index]
                assert results[index].answer is None


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_source_is_read_no_further_ahead_than_it_may_be(is_async: bool) -> None:
    read = 0

    def endless() -> Iterator[dict[str, Any]]:
        nonlocal read
        for number in itertools.count():
            read += 1
            yield call(number)

    async def endless_async() -> AsyncIterator[dict[str, Any]]:
        for each in endless():
            yield each

    async with open_harness() as harness, harness.client(batch_window_seconds=0.1) as client:
        taken = 0
        async with client.map(endless_async() if is_async else endless(), ahead=20) as results:
            async for _ in results:
                assert read - taken <= 20
                taken += 1
                if taken == 200:
                    break
        statistics = client.batch_statistics()
        assert statistics is not None
        assert statistics.waiting_requests == 0


def requests_alive() -> int:
    """Since `tracemalloc` was started. The garbage collector knows of none."""
    made = tracemalloc.Filter(True, batch_request.__code__.co_filename)
    traces = tracemalloc.take_snapshot().filter_traces([made]).traces
    return sum(trace.size >= Request.__basicsize__ for trace in traces)


async def test_what_was_taken_leaves_no_requests_behind() -> None:
    async with open_harness() as harness, harness.client(batch_window_seconds=0.1, batch_size=50) as client:
        gc.disable()
        tracemalloc.start()
        try:
            async for result in client.map((call(number) for number in range(1000)), ahead=100):
                if result.index % 500 == 499:
                    alive = requests_alive()
                    assert 0 < alive <= 250
        finally:
            tracemalloc.stop()
            gc.enable()


@pytest.mark.parametrize("has_journal", [False, True])
async def test_batches_that_are_over_leave_nothing_for_the_garbage_collector(
    has_journal: bool, restarts: Restarts
) -> None:
    # They have a hundred bytes a line, and a process with many calls under way collects garbage rarely.
    def alive() -> Counter[str]:
        kinds = map(type, gc.get_objects())
        return Counter(kind.__name__ for kind in kinds if kind.__module__.startswith("autobatcher.engine.batch."))

    async with open_harness(faults=FaultPlan.flaky(1, 0.05)) as harness:
        make = partial(restarts.client, harness) if has_journal else harness.client
        async with make(batch_window_seconds=0.1, batch_size=50) as client:
            gc.collect()
            gc.disable()
            try:
                before = alive()
                async for _ in client.map((call(number) for number in range(500)), ahead=100):
                    pass
                del _
                await anyio.sleep(600)  # until files are deleted, and prices known
                assert alive() == before
            finally:
                gc.enable()


@pytest.mark.parametrize("way", ["break", "exception", "aclosing", "cancelled", "held"])
async def test_leaving_the_loop_withdraws_the_rest(way: str) -> None:
    async with (
        open_harness(batch_seconds=5) as harness,
        harness.client(batch_size=5, batch_window_seconds=60) as client,
    ):
        calls = [call(number) for number in range(12)]  # two batches, and two that wait in a window
        held = client.map(calls) if way == "held" else None

        async def leave() -> None:
            async for _ in held or client.map(calls):
                if way == "exception":
                    raise ZeroDivisionError
                if way == "cancelled":
                    await anyio.sleep(1)
                    continue
                break

        if way == "cancelled":
            with anyio.move_on_after(6.5):
                await leave()
        elif way == "aclosing":
            async with aclosing(client.map(calls)) as results:
                await anext(results)
        elif way == "exception":
            with pytest.raises(ZeroDivisionError):
                await leave()
        else:
            await leave()
        await anyio.sleep(0.01)
        statistics = client.batch_statistics()
        assert statistics is not None
        assert statistics.waiting_requests == statistics.queued_requests == 0
        assert len(harness.bodies_sent()) == 10
        if held is not None:
            assert [result async for result in held] == []


async def test_what_the_source_raises_comes_after_the_results_of_the_calls_before() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield call(0)
        yield call(1)
        raise ZeroDivisionError

    async with open_harness() as harness, harness.client() as client:
        results = client.map(broken())
        assert {(await anext(results)).index, (await anext(results)).index} == {0, 1}
        with pytest.raises(ZeroDivisionError):
            await anext(results)


async def test_a_slow_source_holds_up_no_results() -> None:
    async def slow() -> AsyncIterator[dict[str, Any]]:
        yield call("first")
        await anyio.sleep(10_000)
        yield call("second")

    async with open_harness() as harness, harness.client() as client, client.map(slow()) as results:
        with anyio.fail_after(100):
            assert "first" in text_of(await anext(results))


async def test_a_source_may_wait_for_results() -> None:
    send, receive = anyio.create_memory_object_stream[dict[str, Any]](1)
    async with open_harness() as harness, harness.client() as client, send, receive:
        await send.send(call("again 0"))
        count = 0
        async for result in client.map(receive):
            count += 1
            assert f"again {count - 1}" in text_of(result)
            if count == 3:
                send.close()
            else:
                await send.send(call(f"again {count}"))
        assert count == 3


async def test_calls_wait_for_the_bytes_that_may_be_queued() -> None:
    async with open_harness() as harness, harness.client(max_queued_bytes=200, batch_window_seconds=0.1) as client:
        results = [result async for result in client.map(call(number) for number in range(10))]
        assert all(result.exception is None for result in results)


async def test_a_deadline_around_a_map_holds_for_its_calls() -> None:
    async with open_harness(batch_seconds=1000) as harness, harness.client(lanes=["batch"]) as client:
        with client.deadline(100):
            results = client.map([call(0)])
        async for result in results:
            assert isinstance(result.exception, openai.APITimeoutError)


async def test_other_endpoints_have_their_own_models() -> None:
    async with open_harness() as harness, harness.client() as client:
        (result,) = [each async for each in client.map([{"model": MODEL, "input": "x"}], "/v1/embeddings")]
        assert result.answer.data[0].embedding
        (result,) = [each async for each in client.map([{"model": MODEL, "input": "x"}], endpoint="/v1/responses")]
        assert "x" in result.answer.output_text


async def test_models_in_the_arguments_are_sent_as_the_sdk_sends_them() -> None:
    async with open_harness() as harness, harness.client() as client:
        message = openai.types.chat.ChatCompletionMessage(role="assistant", content="before")
        conversation = {"model": MODEL, "messages": [message, *call("now")["messages"]], "user": openai.omit}
        assert [text_of(result) async for result in client.map([conversation])]
        assert harness.bodies_sent() == [
            {
                "model": MODEL,
                "messages": [{"role": "assistant", "content": "before"}, {"role": "user", "content": "now."}],
            }
        ]


async def test_results_that_the_loop_did_not_take_are_not_paid_for_again(restarts: Restarts) -> None:
    async with open_harness() as harness:
        async with restarts.client(harness) as client:
            async for result in client.map([call(number) for number in range(10)]):
                taken = result.index
                break
        restarts.new_process()
        restarts.end_well()
        async with restarts.client(harness) as client:
            others = [call(number) for number in range(10) if number != taken]
            assert len([each async for each in client.map(others)]) == 9
        assert len(harness.bodies_sent()) == 10


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"calls": [], "endpoint": "/v1/files"}, ValueError),
        ({"calls": [], "ahead": 0}, ValueError),
        ({"calls": "text"}, TypeError),
        ({"calls": call(0)}, TypeError),
        ({"calls": 3}, TypeError),
    ],
)
async def test_arguments_that_cannot_be_meant_are_refused_at_once(arguments: Any, kind: type[Exception]) -> None:
    async with open_harness() as harness, harness.client() as client:
        with pytest.raises(kind, match=next(reversed(arguments))):
            client.map(**arguments)


async def test_a_closed_client_is_told_in_the_results() -> None:
    async with open_harness() as harness:
        client = harness.client()
        await client.close()
        (result,) = [each async for each in client.map([call(0)])]
        assert isinstance(result.exception, ClientClosedError)


async def test_a_flush_sends_what_is_queued_at_once() -> None:
    async with open_harness(batch_seconds=0.5) as harness, harness.client(batch_window_seconds=1000) as client:
        await _is_quick_after_a_flush(client)


async def test_a_flush_counts_for_calls_that_wait_for_the_journal(restarts: Restarts) -> None:
    async with open_harness(batch_seconds=0.5) as harness:
        client = restarts.client(harness, batch_window_seconds=1000)
        await _is_quick_after_a_flush(client)
        await client.close()


async def _is_quick_after_a_flush(client: BatchOpenAI) -> None:
    with anyio.fail_after(100):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(ask, client, "x")
            await checkpoint()
            await checkpoint()
            client.flush()


async def test_a_transport_can_be_flushed() -> None:
    async with open_harness() as harness:
        upstream = harness.emulator.http_client(library=HTTP.__name__)
        transport = BatchTransport(http_client=upstream, batch_window_seconds=1000, poll_interval_seconds=1.0)
        async with HTTP.AsyncClient(transport=transport, headers={"authorization": "Bearer k"}) as http:

            async def post() -> None:
                response = await http.post("http://upstream.test/v1/chat/completions", json=call(0))
                assert response.status_code == 200

            with anyio.fail_after(100):
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(post)
                    await anyio.sleep(1)
                    transport.flush()


@pytest.mark.parametrize("ordered", [False, True])
async def test_calls_that_a_cap_has_no_room_for_wait_for_those_under_way(ordered: bool) -> None:
    limited = ({**call(number), "max_tokens": 10} for number in range(60))
    async with open_harness() as harness:
        # It has room for what five calls may cost, and for what fifty of them do.
        prices = {"m": {"input": "0", "output": "1", "batch": {"input": "0", "output": "1"}}}
        async with harness.client(prices=prices, max_cost="0.00005") as client:
            results = [result async for result in client.map(limited, ordered=ordered)]
            total = client.receipt().total
        refused = [result.exception for result in results if result.exception is not None]
        assert all(isinstance(exception, BudgetExceededError) for exception in refused)
        assert len(results) == 60
        assert 60 - len(refused) == total.requests == len(harness.bodies_sent()) == 41  # another one may cost too much
        costs = [result.cost for result in results if result.cost is not None]
        assert sum(costs) == total.cost
        assert pickle.loads(pickle.dumps(results[0]._billed)).cost() == costs[0]
